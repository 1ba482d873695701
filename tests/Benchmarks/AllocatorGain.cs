using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using LoraNotebooks.Data;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Tensors;
using LoraNotebooks.Training;
using LoraNotebooks.Training.Diffusion;
using static TorchSharp.torch;

namespace Benchmarks;

/// <summary>
/// What keeping freed memory brings: the same work in a process with glibc's own thresholds and in one with the toolkit's,
/// side by side in one run.
/// </summary>
internal static class AllocatorGain
{
    private const int Runs = 3;

    public static void Run()
    {
        // By turns, so that whatever else the machine does meets both alike.
        var system = new List<Dictionary<string, double>>();
        var kept = new List<Dictionary<string, double>>();
        for (var run = 0; run < Runs; run++)
        {
            system.Add(Child("system"));
            kept.Add(Child(""));
        }

        Console.WriteLine($"{Processor.Current}, {get_num_threads()} threads, load {Machine.Load()}");
        Console.WriteLine("work                                                 glibc's own    kept   gain");
        foreach (var work in system[0].Keys)
        {
            var (before, after) = (Best(system, work), Best(kept, work));
            var unit = work.StartsWith("peak", StringComparison.Ordinal) ? "MB" : "ms";
            Console.WriteLine(FormattableString.Invariant($"{work,-50} {before,9:0.0} {unit} {after,9:0.0} {unit}   {before / after:0.00} x"));
        }
    }

    /// <summary>The child's part: does the work on a thread of its own, as notebooks do, and prints the best times in ms.</summary>
    public static void Measure()
    {
        var times = new Dictionary<string, double>();
        var thread = new Thread(() => Work(times));
        thread.Start();
        thread.Join();
        Console.WriteLine(JsonSerializer.Serialize(times));
    }

    private static void Work(Dictionary<string, double> times)
    {
        using (no_grad())
        {
            using var scope = NewDisposeScope();
            var (x, w) = (randn(1, 1280, 16, 16), randn(1280, 1280, 3, 3));
            times["convolution 3×3, 1280 channels, 16×16"] = Best(20, () => nn.functional.conv2d(x, w, padding: [1, 1]).Dispose());
            var (rows, weight) = (randn(4096, 320), randn(2560, 320));
            times["linear, 4096×320 → 2560"] = Best(20, () => nn.functional.linear(rows, weight).Dispose());
            var large = randn(32, 1024, 1024);
            times["exp of 134 MB"] = Best(20, () => large.exp().Dispose());
        }

        using var pipeline = StableDiffusionPipeline.FromFolder(BaseModel.Folder);
        times["15 avatar pictures, 20 steps, guidance"] = Best(2, () =>
            pipeline.Generate(new() { Prompt = "portrait, long hair", Count = 15, Steps = 20, Guidance = 3 }));

        var folder = Directory.CreateTempSubdirectory("lora-allocator").FullName;
        try
        {
            var pixels = new byte[64 * 64 * 3];
            new Random(1).NextBytes(pixels);
            var images = Enumerable.Range(0, 20).Select(i => new PreparedImage($"image{i}", new RgbImage(64, 64, pixels), "portrait", $"image{i}.png"));
            var config = new DiffusionTrainingConfig { Name = "allocator", OutputFolder = folder, Epochs = 4, BatchSize = 4, UNetLearningRate = 1e-4 };
            using var result = new LoraTrainer().Train(config, pipeline, new PreparedDataset(images));
            var seconds = result.Steps.Select(static step => step.Seconds).ToArray();
            times["LoRA step, avatar base, batch 4"] = 1000 * seconds.Zip(seconds.Skip(1), static (a, b) => b - a).Order().ElementAt(seconds.Length / 2);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }

        times["peak of resident memory"] = Machine.Peak() / 1e6;
    }

    private static double Best(int count, Action work) => Enumerable.Range(0, count).Min(_ =>
    {
        var clock = Stopwatch.StartNew();
        work();
        return clock.Elapsed.TotalMilliseconds;
    });

    private static double Best(IEnumerable<Dictionary<string, double>> runs, string work) => runs.Min(run => run[work]);

    private static Dictionary<string, double> Child(string allocator)
    {
        var start = new ProcessStartInfo(Environment.ProcessPath!) { RedirectStandardOutput = true };
        if (string.Equals(Path.GetFileNameWithoutExtension(Environment.ProcessPath), "dotnet", StringComparison.Ordinal))
        {
            start.ArgumentList.Add(typeof(AllocatorGain).Assembly.Location);
        }

        start.ArgumentList.Add("allocator-child");
        start.Environment["LORANOTEBOOKS_ALLOCATOR"] = allocator;
        using var process = Process.Start(start)!;
        var json = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return process.ExitCode == 0
            ? JsonSerializer.Deserialize<Dictionary<string, double>>(json)!
            : throw new InvalidOperationException(string.Create(CultureInfo.InvariantCulture, $"The measuring process ended with {process.ExitCode}."));
    }
}
