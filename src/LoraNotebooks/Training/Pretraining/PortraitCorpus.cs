using System.Text.Json;
using SkiaSharp;
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
        var entries = new List<(string File, string[] Tags)>();
        foreach (var line in File.ReadLines(Path.Combine(folder, "metadata.jsonl")))
        {
            using var json = JsonDocument.Parse(line);
            var entry = json.RootElement;
            if (splits.Contains(entry.GetProperty("split").GetString()))
            {
                entries.Add((Path.Combine(folder, entry.GetProperty("file_name").GetString()!), entry.GetProperty("text").GetString()!.Split(", ")));
            }
        }

        if (entries.Count == 0)
        {
            throw new InvalidDataException($"{folder} has no portraits of the splits {string.Join(", ", splits)}. Make the corpus anew (datasets/README.md).");
        }

        using var first = SKBitmap.Decode(entries[0].File);
        var (width, height) = (first.Width, first.Height);
        var pixels = new byte[(long)entries.Count * 3 * width * height];
        Parallel.For(0, entries.Count, i =>
        {
            using var bitmap = SKBitmap.Decode(entries[i].File);
            if (bitmap is null || bitmap.Width != width || bitmap.Height != height)
            {
                throw new InvalidDataException($"{entries[i].File} is not an image of {width}×{height}. Make the corpus anew (datasets/README.md).");
            }

            var colours = bitmap.Pixels;
            var offset = (long)i * 3 * width * height;
            for (var p = 0; p < colours.Length; p++)
            {
                pixels[offset + p] = colours[p].Red;
                pixels[offset + colours.Length + p] = colours[p].Green;
                pixels[offset + 2 * colours.Length + p] = colours[p].Blue;
            }
        });

        return new PortraitCorpus(tensor(pixels, [entries.Count, 3, height, width]).DetachFromDisposeScope(), [.. entries.Select(static e => e.Tags)]);
    }

    /// <summary>Some portraits as float32 in [-1, 1].</summary>
    public Tensor Batch(Tensor indices)
    {
        using var scope = NewDisposeScope();
        return Pixels.index_select(0, indices).to(ScalarType.Float32).div_(127.5).sub_(1).MoveToOuterDisposeScope();
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
