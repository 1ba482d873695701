// TorchSharp 0.107 may free the scalar of an operation such as a + b while libtorch still reads it, if another thread's garbage is collected in
// that moment (src/README.md). The library holds its scalars; the tests' own formulas do not. Where one test computes at a time, no other collects.
[assembly: CollectionBehavior(DisableTestParallelization = true)]
