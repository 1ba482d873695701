using LoraNotebooks.Data;
using LoraNotebooks.Tensors;
using static TorchSharp.torch;

namespace LoraNotebooks.Training.Pretraining;

/// <summary>The portraits in memory: pixels as bytes, tags, split. 25,000 portraits of 64×64 take 300 MB.</summary>
internal sealed class PortraitCorpus : IDisposable
{
    private PortraitCorpus(Tensor pixels, string[][] tags)
    {
        Pixels = pixels;
        Tags = tags;
    }

    /// <summary>The pixels, uint8 [N, 3, H, W].</summary>
    public Tensor Pixels { get; }

    /// <summary>Each portrait's tags, the style first.</summary>
    public string[][] Tags { get; }

    /// <summary>The number of portraits.</summary>
    public int Count => Tags.Length;

    /// <summary>Reads the portraits of some splits.</summary>
    /// <param name="folder">The folder with metadata.jsonl.</param>
    /// <param name="splits">The splits to take: train, test, vae, character.</param>
    public static PortraitCorpus Load(string folder, params string[] splits)
    {
        using var scope = NewDisposeScope();
        var dataset = ImageDataset.Open(folder, new ImageDatasetOptions { Checks = ImageChecks.None }).Where(item => splits.Contains(item.Field("split")));
        if (dataset.Count == 0)
        {
            throw new InvalidDataException($"{folder} has no portraits of the splits {string.Join(", ", splits)}. Make the corpus anew (datasets/README.md).");
        }

        var pixels = dataset.LoadPixels().permute(0, 3, 1, 2).contiguous();
        return new PortraitCorpus(pixels.DetachFromDisposeScope(), [.. dataset.Items.Select(static item => item.Caption.Split(", "))]);
    }

    /// <summary>Some portraits as float32 in [-1, 1].</summary>
    public Tensor Batch(Tensor indices)
    {
        using var scope = NewDisposeScope();
        return Pixels.index_select(0, indices).to(ScalarType.Float32).Over_(127.5).Minus_(1).MoveToOuterDisposeScope();
    }

    /// <summary>A random generator that depends on the seed and the step alone, so that a resumed run draws what an uninterrupted one would.</summary>
    public static Generator StepGenerator(long seed, string stage, long step)
    {
        var mixed = unchecked(seed * 1_000_003 + step);
        foreach (var letter in stage)
        {
            mixed = unchecked(mixed * 31 + letter);
        }

        return new Generator((ulong)mixed);
    }

    public void Dispose() => Pixels.Dispose();
}
