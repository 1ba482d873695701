using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Foundation;
using LoraNotebooks.Kernel.Sessions;
using LoraNotebooks.Tensors;
using LoraNotebooks.Tensors.Convolutions;
using LoraNotebooks.Tensors.Kernels;
using TorchSharp;

namespace LoraNotebooks.Kernel.Doctoring;

/// <summary>Looks at everything that the toolkit needs from the machine, and says what to do where something is missing.</summary>
public static class Doctor
{
    private const int NeededSdk = 10;
    private const long ComfortableMemory = 4_000_000_000;

    private static readonly string[] ThreadVariables = ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_PROC_BIND", "OMP_WAIT_POLICY", "KMP_AFFINITY"];

    /// <summary>Runs all checks, the quick ones first.</summary>
    /// <param name="measure">Whether to measure the speed of matrix products, which takes about a second.</param>
    public static IEnumerable<Check> Examine(bool measure = true)
    {
        yield return new Check(
            "System",
            Health.Ok,
            $"{RuntimeInformation.OSDescription}, {RuntimeInformation.ProcessArchitecture}, .NET {Environment.Version}");
        yield return Sdk();
        yield return Memory();
        yield return ProcessorFeatures.Check();
        var (natives, loaded) = Natives();
        yield return natives;
        if (loaded)
        {
            yield return Convolutions();
            yield return Kernels();
            yield return Threads();
            yield return Device();
            if (measure)
            {
                yield return Speed(torch.ScalarType.Float32, "fp32");
                yield return Speed(torch.ScalarType.BFloat16, "bf16");
            }
        }

        yield return EmbeddedModel();
    }

    private static Check Sdk()
    {
        const string advice = "Install the .NET 10 SDK (https://dotnet.microsoft.com/download). Without it, #r \"nuget: …\" cannot restore packages.";
        try
        {
            var start = new ProcessStartInfo(DotnetHost.Path, ["--list-sdks"]) { RedirectStandardOutput = true, RedirectStandardError = true };
            DotnetHost.CleanEnvironment(start);
            using var process = Process.Start(start)!;
            var versions = process.StandardOutput.ReadToEnd().Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => line.Split(' ')[0]).ToArray();
            process.WaitForExit();
            var newest = versions.LastOrDefault(version =>
                int.TryParse(version.Split('.')[0], CultureInfo.InvariantCulture, out var major) && major >= NeededSdk);
            return newest is not null
                ? new Check(".NET SDK", Health.Ok, newest)
                : new Check(".NET SDK", Health.Fail, versions.Length == 0 ? "none" : string.Join(", ", versions), advice);
        }
        catch (System.ComponentModel.Win32Exception error)
        {
            return new Check(".NET SDK", Health.Fail, error.Message, advice);
        }
    }

    private static Check Memory()
    {
        var available = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes;
        var found = $"{ByteSize.Text(available)} for this process";
        return available >= ComfortableMemory
            ? new Check("Memory", Health.Ok, found)
            : new Check(
                "Memory",
                Health.Warn,
                found,
                "The notebooks on the embedded model need about 2 GB; larger models need more. Close other programs or raise the container's limit.");
    }

    private static (Check Check, bool Loaded) Natives()
    {
        try
        {
            var info = NativeRuntime.Load();
            var version = torch.__version__;
            string[] details =
            [
                info.BridgeWasPatched ? "bridge adapted to this system's older C++ runtime" : "bridge as shipped",
                .. (string[])(info.NnpackWorks == false ? ["NNPACK off, which does not work here"] : []),
                .. (string[])(info.KeepsMemory ? ["freed memory is kept"] : []),
            ];
            return (new Check("libtorch", Health.Ok, $"{version} in {info.LibTorchFolder ?? "the system's folders"}; {string.Join("; ", details)}"), true);
        }
        catch (Exception error) when (error is DllNotFoundException or TypeInitializationException or BadImageFormatException)
        {
            return (new Check("libtorch", Health.Fail, error.Message,
                $"Run 'lora-notebooks doctor --fix', which fetches the package {NativeRuntime.LibTorchPackage} into NuGet's folder, "
                    + $"or name a folder with libtorch in {NativeRuntime.FolderVariable}. "
                    + "On Linux it needs glibc and libstdc++ (Alpine's musl does not do)."), false);
        }
    }

    private static Check Convolutions()
    {
        const string name = "Convolutions";
        var report = ConvolutionReport.Make();
        var limit = report.InstructionLimit is { } set ? $", instructions limited to {set}" : "";
        if (report.Wrong.Count == 0)
        {
            return new Check(
                name,
                Health.Ok,
                $"{report.Samples} samples right, forward and backward{limit}"
                    + (report.Forced is { } forced ? $"; computed the {forced} way, as {CheckedConvolution.WayVariable} says" : ""));
        }

        var found = $"libtorch computes {report.Wrong.Count} of {report.Samples} samples wrong on this processor{limit}, such as {report.Wrong[0]}";
        return report.StillWrong.Count == 0
            ? new Check(
                name,
                Health.Warn,
                found,
                $"Nothing needs to be done: the toolkit computes such convolutions another way, {report.Samples} of {report.Samples} right. "
                    + "Convolutions of other libraries' models are right if the process is started with ONEDNN_MAX_CPU_ISA=SSE41.")
            : new Check(name, Health.Fail, found, report.Forced is null
                ? $"{report.StillWrong.Count} stay wrong in the toolkit, too. "
                    + "Start the process with ONEDNN_MAX_CPU_ISA=SSE41, which is slower and mostly right."
                : $"{report.StillWrong.Count} stay wrong, because {CheckedConvolution.WayVariable} forces the {report.Forced} way. Unset it.");
    }

    /// <summary>The ways that this machine is faster with, measured now if they were not before.</summary>
    private static Check Kernels() => new(
        "Kernels",
        Health.Ok,
        string.Join("; ", KernelChoices.All.Select(static choice => choice.Verdict is { Ratio: { } ratio } measured
            ? string.Create(CultureInfo.InvariantCulture, $"{choice.Name} {measured.Way} ({choice.Other} takes {ratio:0.00} of the time of {choice.Usual})")
            : $"{choice.Name} {choice.Verdict.Way}, as {KernelChoices.Variable} says")));

    private static Check Threads()
    {
        var threads = torch.get_num_threads();
        var set = ThreadVariables
            .Where(name => Environment.GetEnvironmentVariable(name) is { Length: > 0 })
            .Select(name => $"{name}={Environment.GetEnvironmentVariable(name)}");
        var found = $"{threads} of {Environment.ProcessorCount} processors{string.Concat(set.Select(s => ", " + s))}";
        return threads >= Environment.ProcessorCount / 2
            ? new Check("Threads", Health.Ok, found)
            : new Check(
                "Threads",
                Health.Warn,
                found,
                "Training uses fewer processors than there are. Unset OMP_NUM_THREADS, or set it to the number of cores.");
    }

    private static Check Device() => torch.cuda_is_available()
        ? new Check("Device", Health.Ok, $"CUDA, {torch.cuda.device_count()} device(s)")
        : new Check("Device", Health.Ok, "CPU (the embedded model is made for it; environment.md says how to switch CUDA on)");

    /// <summary>2n³ floating-point operations of an n×n matrix product, best of several.</summary>
    private static Check Speed(torch.ScalarType type, string name)
    {
        const int n = 1024;
        using var scope = torch.NewDisposeScope();
        using var noGradient = torch.no_grad();
        using var a = torch.ones(n, n, dtype: type);
        using var b = torch.ones(n, n, dtype: type);
        var best = double.MaxValue;
        var budget = Stopwatch.StartNew();
        for (var i = 0; i < 20 && (i < 2 || budget.ElapsedMilliseconds < 500); i++)
        {
            var clock = Stopwatch.StartNew();
            torch.mm(a, b).Dispose();
            best = Math.Min(best, clock.Elapsed.TotalSeconds);
        }

        var gigaflops = 2.0 * n * n * n / best / 1e9;
        var found = string.Create(CultureInfo.InvariantCulture, $"{gigaflops:0} GFLOP/s ({n}×{n} matrix product)");
        return type == torch.ScalarType.Float32 && gigaflops < 10
            ? new Check($"Speed {name}", Health.Warn, found, "That is slow; the notebooks will take several times longer than they say. Is the machine busy?")
            : new Check($"Speed {name}", Health.Ok, found);
    }

    private static Check EmbeddedModel()
    {
        try
        {
            return new Check("Base model", Health.Ok, BaseModel.Folder);
        }
        catch (DirectoryNotFoundException error)
        {
            return new Check(
                "Base model",
                Health.Fail,
                error.Message,
                "Build the solution again. If src/LoraNotebooks/Assets/avatar-diffusion is missing too, clone the repository anew.");
        }
    }
}
