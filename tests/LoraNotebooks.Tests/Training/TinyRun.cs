using LoraNotebooks.Adapters;
using LoraNotebooks.Data;
using LoraNotebooks.Training;

namespace LoraNotebooks.Tests.Training;

/// <summary>A training run of the smallest size: five images of 16×16 pixels.</summary>
internal static class TinyRun
{
    public static PreparedDataset Dataset { get; } = new(Enumerable.Range(0, 5)
        .Select(i => new PreparedImage($"image{i}", Picture(i), i == 0 ? "portrait" : $"portrait, long hair {i}", $"image{i}.png")));

    /// <summary>The first images alone, for runs of few steps.</summary>
    public static PreparedDataset First(int count) => new(Dataset.Images.Take(count));

    public static DiffusionTrainingConfig Config(string folder) => new()
    {
        Name = "tiny",
        OutputFolder = folder,
        Epochs = 4,
        BatchSize = 2,
        UNetLearningRate = 1e-3,
        UNetLora = new LoraConfig { Rank = 2, Alpha = 2, TargetModules = ["to_q", "to_k", "to_v", "to_out.0"] },
        TextEncoderLora = new LoraConfig { Rank = 2, Alpha = 2, TargetModules = ["q_proj", "v_proj"] },
        Schedule = new LearningRateSchedule { Warmup = 2 },
        Seed = 3,
    };

    private static RgbImage Picture(int number)
    {
        var pixels = new byte[16 * 16 * 3];
        new Random(number).NextBytes(pixels);
        return new RgbImage(16, 16, pixels);
    }
}

/// <summary>Progress that arrives at once and in order.</summary>
internal sealed class Immediate<T>(Action<T> report) : IProgress<T>
{
    public void Report(T value) => report(value);
}
