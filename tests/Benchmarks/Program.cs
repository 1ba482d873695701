using Benchmarks;

// Figures for a reader, never a test: machines differ and are noisy.
switch (args.FirstOrDefault())
{
    case "memory":
        TrainingMemory.Run(args.Length > 1 ? int.Parse(args[1], System.Globalization.CultureInfo.InvariantCulture) : 2_000);
        return 0;
    default:
        Console.Error.WriteLine("""
            Usage: dotnet run --project tests/Benchmarks -c Release -- memory [steps]
              memory   trains a LoRA on the embedded base and prints live tensors and resident memory as it goes
            """);
        return 2;
}
