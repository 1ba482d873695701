// Compiled in place of Program.cs where the work is measured with another version of the library.
Benchmarks.Step.StepWork.Answer(args);
