using System.Diagnostics;
using LoraNotebooks.Data;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Interactive;
using LoraNotebooks.Training;
using TorchSharp;

namespace Benchmarks;

/// <summary>What does it cost to watch? A live monitor may take at most 1 % of the time of a training step.</summary>
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
        Console.WriteLine("one update of the loss chart, median ms");
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
                Median(() => growing.ToChart()), Median(() => chart.Chart.ToFigure()), Median(() => PlotlyJson.Of(figure)),
                Median(() => chart.Chart.ToPng(1)), Median(() => growing.ToChart().ToLiveBundle()), Median(() => bundle.ToJson().ToJsonString()),
            ];
            var points = chart.Chart.Series.Sum(s => s.X.Count);
            Console.WriteLine($"{steps,7}  {points,7}   {times[0],8:F2}   {times[1],13:F2}   {times[2],7:F2}   {times[3],3:F1}   {times[4],12:F1}   {times[5],11:F2}   {bundle.ToJson().ToJsonString().Length / 1024.0,2:F0}");
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
            var images = Enumerable.Range(0, steps / 10).Select(i => new PreparedImage($"image{i}", Noise(i), $"adventurer style, long hair, picture {i}", $"image{i}.png"));
            var dataset = new PreparedDataset(images);
            var config = new TrainingConfig { Name = "live", OutputFolder = folder, Epochs = 10, UNetLearningRate = 1e-4, TextEncoderLearningRate = 1e-4 };
            var (without, with) = (new List<double>(), new List<double>());
            Console.WriteLine($"\ntraining, {config.Epochs * dataset.Count} steps of batch 1, by turns");
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

                without.Add(plain.Milliseconds);
                with.Add(watched.Milliseconds);
                Console.WriteLine(
                    $"  without {plain.Milliseconds:F1} ms, with {watched.Milliseconds:F1} ms a step, ratio {watched.Milliseconds / plain.Milliseconds:F3}; " +
                    $"drawing {monitor.DrawingTime.TotalSeconds / watched.Seconds:P2} of one core, {host.Updates / watched.Seconds:F1} updates/s of {host.Bytes / 1024.0 / host.Updates:F0} KB");
            }

            Console.WriteLine($"median: without {Middle(without):F1} ms, with {Middle(with):F1} ms a step; median ratio {Middle(with.Zip(without, (a, b) => a / b)):F3}");
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static (double Milliseconds, double Seconds) Train(TrainingConfig config, StableDiffusionPipeline pipeline, PreparedDataset dataset, TrainingMonitor? monitor)
    {
        using var result = new LoraTrainer { Samples = monitor }.Train(config, pipeline, dataset, monitor);
        var (first, last) = (result.Steps[WarmUpSteps - 1], result.Steps[^1]);
        return (1000 * (last.Seconds - first.Seconds) / (last.Step - first.Step), last.Seconds);
    }

    private static TrainingStep Step(int step, int steps) => new()
    {
        Step = step,
        TotalSteps = steps,
        Epoch = 1 + (step - 1) * 20 / steps,
        TotalEpochs = 20,
        Loss = 0.1 + 0.1 * Random.Shared.NextDouble(),
        SmoothedLoss = 0.15 + 0.1 / step,
        UNetLearningRate = 1e-4 * (1 - (double)step / steps),
        GradientNorm = 0.1,
        Seconds = 0.07 * step,
        ImagesPerSecond = 14,
        SecondsLeft = 0.07 * (steps - step),
    };

    private static double Median(Action work)
    {
        for (var i = 0; i < 60; i++)
        {
            work();
        }

        return Middle(Enumerable.Range(0, 60).Select(_ =>
        {
            var started = Stopwatch.GetTimestamp();
            work();
            return Stopwatch.GetElapsedTime(started).TotalMilliseconds;
        }));
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
}
