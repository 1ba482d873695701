using Benchmarks;

// Figures for a reader, never a test: machines differ and are noisy.
switch (args.FirstOrDefault())
{
    case "memory":
        TrainingMemory.Run(args.Length > 1 ? int.Parse(args[1], System.Globalization.CultureInfo.InvariantCulture) : 2_000);
        return 0;
    case "assistance":
        await EditingHelp.RunAsync();
        return 0;
    default:
        Console.Error.WriteLine("""
            Usage: dotnet run --project tests/Benchmarks -c Release -- memory [steps] | assistance
              memory   trains a LoRA on the embedded base and prints live tensors and resident memory as it goes
              assistance   completes and inspects in sessions of growing length and prints times and resident memory
            """);
        return 2;
}
