using LoraNotebooks.Data;
using LoraNotebooks.Tests.Models;

namespace LoraNotebooks.Tests.Training.Pretraining;

/// <summary>A small corpus of portraits, of the splits train, vae and test by turns.</summary>
internal static class PortraitFiles
{
    private static readonly string[] Splits = ["train", "vae", "test"];

    public static void Write(TemporaryFolder folder, int count, int width, int height, Func<int, string>? caption = null) =>
        File.WriteAllLines(folder.In("metadata.jsonl"), Enumerable.Range(0, count).Select(i =>
        {
            new RgbImage(width, height, [.. Enumerable.Range(0, width * height * 3).Select(k => Byte(i, k))]).SavePng(folder.In($"{i:D3}.png"));
            var text = caption?.Invoke(i) ?? $"a{i} style, tag {i}, x";
            return $$"""{"file_name":"{{i:D3}}.png","text":"{{text}}","split":"{{Splits[i % 3]}}"}""";
        }));

    public static byte Byte(int portrait, int place) => (byte)((place + 3) * (portrait + 2) * 7 >> 1);
}
