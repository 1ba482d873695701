using Benchmarks;
using Benchmarks.Step;

// Figures for a reader, never a test: machines differ and are noisy.
LoraNotebooks.Tensors.NativeRuntime.Prepare();
switch (args.FirstOrDefault())
{
    case "memory":
        TrainingMemory.Run(Number(1, 2_000));
        return 0;
    case "convolutions":
        ConvolutionSpeed.Run();
        return 0;
    case "allocator":
        AllocatorGain.Run();
        return 0;
    case "allocator-child":
        AllocatorGain.Measure();
        return 0;
    case "live":
        LiveCost.Run(Number(1, 200), Number(2, 4));
        return 0;
    case "kernel":
        KernelSpeed.Run();
        return 0;
    case "load" when args.Length == 3:
        LoadingMemory.Load(args[1], Enum.Parse<TorchSharp.torch.ScalarType>(args[2]));
        return 0;
    case "load":
        LoadingMemory.Run();
        return 0;
    case "plan-child" when args.Length == 4:
        PlanAccuracy.Measure(args[1], Number(2, 0), Number(3, 1));
        return 0;
    case "plan":
        PlanAccuracy.Run(
            [.. args.Skip(1).TakeWhile(static arg => !arg.StartsWith("--", StringComparison.Ordinal))],
            Option("--size") is { } size ? int.Parse(size, System.Globalization.CultureInfo.InvariantCulture) : null,
            int.Parse(Option("--batch") ?? "1", System.Globalization.CultureInfo.InvariantCulture));
        return 0;
    case "assistance":
        await EditingHelp.RunAsync();
        return 0;
    case "step-child":
        StepWork.Answer(args[1..], StepBenchmark.Answer);
        return 0;
    case "step":
        StepBenchmark.Run(StepBenchmark.Cases(name => Option(name)?.Split(',')), Option("--beside"), Option("--json"));
        return 0;
    case "scalars":
        ScalarStress.Run(Number(1, 2_000_000), Number(2, 3));
        return 0;
    default:
        Console.Error.WriteLine("""
            Usage: dotnet run --project tests/Benchmarks -c Release -- memory [steps] | convolutions | allocator | live [steps] [rounds] | kernel | assistance | load | plan [model …] [--size 512] [--batch 1] | step [--model base,sd15,xl] [--size 256,512,1024] [--dtype fp32,bf16] [--layers attention,all] [--batch 1,4] [--beside FOLDER] [--json FILE] | scalars [sums] [threads]
              memory       trains a LoRA on the embedded base and prints live tensors and resident memory as it goes
              convolutions computes convolutions by each way there is around a wrong kernel and prints times as multiples of libtorch's own
              allocator    does the same work with glibc's own allocator settings and with the toolkit's, and prints times and memory side by side
              live         trains one by turns without and with a live monitor and prints what watching costs
              kernel       starts kernels, runs a thousand cells, interrupts, and prints times and memory
              assistance   completes and inspects in sessions of growing length and prints times and resident memory
              load         loads a UNet of Stable Diffusion 1.5's size and prints seconds and the peak of resident memory over the weights
              plan         loads models, draws and trains a step, and prints what the memory plan said beside the peaks of resident memory
              scalars      adds a number while threads collect garbage, by TorchSharp's operator and by the library's, and prints how many sums fail
              step         LoRA steps and predictions: seconds, share of the fastest kernels, memory; beside another version if its folder is named (sd15 needs 8, xl 16 GB)
            """);
        return 2;
}

string? Option(string name) => Array.IndexOf(args, name) is >= 0 and var at && at + 1 < args.Length ? args[at + 1] : null;

int Number(int place, int otherwise) => args.Length > place ? int.Parse(args[place], System.Globalization.CultureInfo.InvariantCulture) : otherwise;
