using System.Diagnostics;
using LoraNotebooks.Data;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Training;
using LoraNotebooks.Training.Diffusion;
using TorchSharp;

namespace Benchmarks;

/// <summary>Does training leak? Live tensors must stay the same and resident memory within 5 % of its value at step 200.</summary>
internal static class TrainingMemory
{
    public static void Run(int steps)
    {
        var folder = Directory.CreateTempSubdirectory("lora-memory").FullName;
        try
        {
            using var pipeline = StableDiffusionPipeline.FromFolder(BaseModel.Folder);
            var images = Enumerable.Range(0, 20)
                .Select(i => new PreparedImage($"image{i}", Noise(i), $"adventurer style, long hair, picture {i}", $"image{i}.png"));
            var config = new DiffusionTrainingConfig
            {
                Name = "memory",
                OutputFolder = folder,
                Epochs = (steps + 19) / 20,
                UNetLearningRate = 1e-4,
                TextEncoderLearningRate = 1e-4,
                SaveEveryEpochs = 10,
            };
            var (tensors, memory) = (0L, 0L);
            Console.WriteLine("step   live tensors   resident MB   ratio to step 200   ms per step");
            var progress = new Immediate(step =>
            {
                if (step.Step % 200 != 0)
                {
                    return;
                }

                using var process = Process.GetCurrentProcess();
                var (live, resident) = (DisposeScopeManager.Statistics.ThreadTotalLiveCount, process.WorkingSet64);
                if (step.Step == 200)
                {
                    (tensors, memory) = (live, resident);
                }

                Console.WriteLine(
                    $"{step.Step,5}  {live,12}   {resident / 1e6,11:F0}   {(double)resident / memory,17:F3}   "
                        + $"{1000 * step.Seconds / step.Step,11:F1}{(live == tensors ? "" : "   live tensors changed")}");
            });
            using var result = new LoraTrainer().Train(config, pipeline, new PreparedDataset(images), progress);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static RgbImage Noise(int seed)
    {
        var pixels = new byte[64 * 64 * 3];
        new Random(seed).NextBytes(pixels);
        return new RgbImage(64, 64, pixels);
    }

    private sealed class Immediate(Action<TrainingStep> report) : IProgress<TrainingStep>
    {
        public void Report(TrainingStep value) => report(value);
    }
}
