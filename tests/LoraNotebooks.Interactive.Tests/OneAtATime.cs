// TorchSharp 0.107 may free the scalar of an operation such as a + b while libtorch still reads it, if another thread's garbage is collected in
// that moment (src/README.md). Where one test computes at a time, there is no such thread.
[assembly: CollectionBehavior(DisableTestParallelization = true)]
