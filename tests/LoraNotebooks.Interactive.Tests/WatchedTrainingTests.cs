using LoraNotebooks.Data;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Training;
using LoraNotebooks.Training.Diffusion;

namespace LoraNotebooks.Interactive.Tests;

/// <summary>Drawing while a training runs allocates and collects on other threads; not a bit of the numbers may hang on it.</summary>
public sealed class WatchedTrainingTests : IDisposable
{
    private const int Times = 10;
    private const int Steps = 4;

    private readonly string _folder = Directory.CreateTempSubdirectory("lora-watched").FullName;

    [Fact]
    public void Train_WithAndWithoutALiveChartTenTimes_GivesTheSameNumbers()
    {
        using var pipeline = StableDiffusionPipeline.FromFolder(BaseModel.Folder);
        var (losses, weights) = Train(pipeline, monitor: null);
        for (var time = 0; time < Times; time++)
        {
            var host = new RecordingHost();
            using var use = NotebookHost.Use(host);
            using var monitor = new TrainingMonitor("watched");
            var (watchedLosses, watchedWeights) = Train(pipeline, monitor);
            Assert.NotEmpty(host.Displays);
            Assert.Equal(losses, watchedLosses);
            Assert.Equal(weights, watchedWeights);

            var (plainLosses, plainWeights) = Train(pipeline, monitor: null);
            Assert.Equal(losses, plainLosses);
            Assert.Equal(weights, plainWeights);
        }
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private (double[] Numbers, byte[] Weights) Train(StableDiffusionPipeline pipeline, TrainingMonitor? monitor)
    {
        var dataset = new PreparedDataset(Enumerable.Range(0, Steps)
            .Select(static i => new PreparedImage($"image{i}", Some.Image(64, 64, (byte)(40 * i)), $"portrait {i}", $"image{i}.png")));
        var config = new DiffusionTrainingConfig
        {
            Name = "watched",
            OutputFolder = _folder,
            Epochs = 1,
            UNetLearningRate = 1e-2,
            TextEncoderLearningRate = 1e-3,
        };
        var drawing = monitor is null ? null : new Drawing(monitor);
        using var result = new LoraTrainer { Samples = monitor }.Train(config, pipeline, dataset, drawing);
        drawing?.Wait();

        // A PEFT folder holds no time of writing.
        var peft = Path.Combine(_folder, "peft");
        result.Lora.SavePeft(peft);
        var weights = Directory.EnumerateFiles(peft, "*.safetensors", SearchOption.AllDirectories)
            .Order(StringComparer.Ordinal)
            .SelectMany(File.ReadAllBytes)
            .ToArray();
        return ([.. result.Steps.SelectMany(static step => (double[])[step.Loss, step.GradientNorm])], weights);
    }

    /// <summary>Draws at each step, far more often than a chart does.</summary>
    private sealed class Drawing(TrainingMonitor monitor) : IProgress<TrainingStep>
    {
        private readonly List<Task> _tasks = [];

        public void Wait() => Task.WaitAll(_tasks);

        public void Report(TrainingStep value)
        {
            monitor.Report(value);
            _tasks.Add(Task.Run(() =>
            {
                var growing = new GrowingLossChart();
                growing.Add(value);
                growing.ToChart().ToLiveBundle();
                GC.Collect();
            }));
        }
    }
}
