using System.Diagnostics;
using LoraNotebooks.Data;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Interactive;
using LoraNotebooks.Training;
using LoraNotebooks.Training.Diffusion;
using TorchSharp;

namespace Benchmarks;

/// <summary>What does it cost to watch? A live monitor may take at most 1 % of the time of a training step.</summary>
/// <remarks>Beside the wall clock the process's CPU time is told, which says the same on a machine that has other things to do.</remarks>
internal static class LiveCost
{
    private const int WarmUpSteps = 10;

    public static void Run(int steps, int rounds)
    {
        Parts();
        Training(steps, rounds);
    }

    /// <summary>The pieces of one update of the chart, for runs of different length.</summary>
    private static void Parts()
    {
        Console.WriteLine("one update of the loss chart, CPU ms");
        Console.WriteLine("  steps   points   snapshot   Plotly figure   as JSON   PNG   whole bundle   host's JSON   KB");
        foreach (var steps in (int[])[100, 2_000, 20_000, 100_000])
        {
            var growing = new GrowingLossChart();
            for (var i = 1; i <= steps; i++)
            {
                growing.Add(Step(i, steps));
            }

            var chart = growing.ToChart();
            var figure = chart.Chart.ToFigure();
            var bundle = chart.ToLiveBundle();
            double[] times =
            [
                Cost(() => growing.ToChart()), Cost(() => chart.Chart.ToFigure()), Cost(() => PlotlyJson.Of(figure)),
                Cost(() => chart.Chart.ToPng(1)), Cost(() => growing.ToChart().ToLiveBundle()), Cost(() => bundle.ToJson().ToJsonString()),
            ];
            var points = chart.Chart.Series.Sum(s => s.X.Count);
            Console.WriteLine(
                $"{steps,7}  {points,7}   {times[0],8:F2}   {times[1],13:F2}   {times[2],7:F2}   {times[3],3:F1}   "
                    + $"{times[4],12:F1}   {times[5],11:F2}   {bundle.ToJson().ToJsonString().Length / 1024.0,2:F0}");
        }
    }

    /// <summary>Trains the same run by turns without and with a monitor.</summary>
    private static void Training(int steps, int rounds)
    {
        torch.set_num_threads(1);
        var folder = Directory.CreateTempSubdirectory("lora-live").FullName;
        try
        {
            using var pipeline = StableDiffusionPipeline.FromFolder(BaseModel.Folder);
            var images = Enumerable.Range(0, steps / 10)
                .Select(i => new PreparedImage($"image{i}", Noise(i), $"adventurer style, long hair, picture {i}", $"image{i}.png"));
            var dataset = new PreparedDataset(images);
            var config = new DiffusionTrainingConfig
            {
                Name = "live",
                OutputFolder = folder,
                Epochs = 10,
                UNetLearningRate = 1e-4,
                TextEncoderLearningRate = 1e-4,
            };
            var (wall, cpu) = (new List<double>(), new List<double>());
            Console.WriteLine($"\ntraining, {config.Epochs * dataset.Count} steps of batch 1, by turns without and with a monitor; ms a step");
            Console.WriteLine("  wall clock           ratio   CPU                  ratio   drawing, of one core   updates/s   KB each");
            for (var round = 0; round <= rounds; round++)
            {
                var plain = Train(config, pipeline, dataset, null);
                var host = new CountingHost();
                using var use = NotebookHost.Use(host);
                using var monitor = new TrainingMonitor("live");
                var watched = Train(config, pipeline, dataset, monitor);
                if (round == 0)
                {
                    continue; // code is loaded and compiled
                }

                wall.Add(watched.Wall / plain.Wall);
                cpu.Add(watched.Processor / plain.Processor);
                Console.WriteLine(
                    $"  {plain.Wall,7:F1} → {watched.Wall,7:F1}   {wall[^1],7:F3}   {plain.Processor,7:F1} → {watched.Processor,7:F1}   {cpu[^1],7:F3}"
                        + $"   {monitor.DrawingTime.TotalSeconds / watched.Seconds,20:P2}   {host.Updates / watched.Seconds,9:F1}"
                        + $"   {host.Bytes / 1024.0 / host.Updates,7:F0}");
            }

            Console.WriteLine($"median ratio: wall clock {Middle(wall):F3}, CPU {Middle(cpu):F3}");
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    // What a step costs after the first ones, and how long the whole run took.
    private static (double Wall, double Processor, double Seconds) Train(
        DiffusionTrainingConfig config,
        StableDiffusionPipeline pipeline,
        PreparedDataset dataset,
        TrainingMonitor? monitor)
    {
        var (first, last) = (TimeSpan.Zero, TimeSpan.Zero);
        var clock = new Relay(step =>
        {
            monitor?.Report(step);
            first = step.Step == WarmUpSteps ? ProcessorTime() : first;
            last = step.Step == step.TotalSteps - 1 ? ProcessorTime() : last;
        });
        using var result = new LoraTrainer { Samples = monitor }.Train(config, pipeline, dataset, clock);
        var (from, to) = (result.Steps[WarmUpSteps - 1], result.Steps[^2]); // before the final drawing
        var steps = to.Step - from.Step;
        return (1000 * (to.Seconds - from.Seconds) / steps, (last - first).TotalMilliseconds / steps, to.Seconds);
    }

    private static TrainingStep Step(int step, int steps) => new()
    {
        Step = step,
        TotalSteps = steps,
        Epoch = 1 + (step - 1) * 20 / steps,
        TotalEpochs = 20,
        Loss = 0.1 + 0.1 * Random.Shared.NextDouble(),
        SmoothedLoss = 0.15 + 0.1 / step,
        LearningRates = new Dictionary<string, double> { ["UNet"] = 1e-4 * (1 - (double)step / steps) },
        Unit = "image",
        GradientNorm = 0.1,
        Seconds = 0.07 * step,
        ExamplesPerSecond = 14,
        SecondsLeft = 0.07 * (steps - step),
    };

    private static double Cost(Action work)
    {
        const int times = 100;
        for (var i = 0; i < times; i++)
        {
            work();
        }

        var started = ProcessorTime();
        for (var i = 0; i < times; i++)
        {
            work();
        }

        return (ProcessorTime() - started).TotalMilliseconds / times;
    }

    private static TimeSpan ProcessorTime()
    {
        using var process = Process.GetCurrentProcess();
        return process.TotalProcessorTime;
    }

    private static double Middle(IEnumerable<double> values)
    {
        double[] sorted = [.. values.Order()];
        return sorted[sorted.Length / 2];
    }

    private static RgbImage Noise(int seed)
    {
        var pixels = new byte[64 * 64 * 3];
        new Random(seed).NextBytes(pixels);
        return new RgbImage(64, 64, pixels);
    }

    /// <summary>Does with each bundle what a Jupyter host does: writes it as JSON.</summary>
    private sealed class CountingHost : INotebookHost, IDisplayHandle
    {
        private long _bytes;
        private int _updates;

        public long Bytes => Volatile.Read(ref _bytes);

        public int Updates => Volatile.Read(ref _updates);

        public IDisplayHandle Display(MimeBundle bundle)
        {
            Update(bundle);
            return this;
        }

        public void Update(MimeBundle bundle)
        {
            Interlocked.Add(ref _bytes, bundle.ToJson().ToJsonString().Length);
            Interlocked.Increment(ref _updates);
        }
    }

    private sealed class Relay(Action<TrainingStep> report) : IProgress<TrainingStep>
    {
        public void Report(TrainingStep value) => report(value);
    }
}
