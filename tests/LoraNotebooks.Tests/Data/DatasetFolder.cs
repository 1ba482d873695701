using LoraNotebooks.Data;
using SkiaSharp;

namespace LoraNotebooks.Tests.Data;

/// <summary>A dataset in a temporary folder, filled by the test.</summary>
internal sealed class DatasetFolder : IDisposable
{
    public string Path { get; } = Directory.CreateTempSubdirectory("dataset-").FullName;

    public string this[string file] => System.IO.Path.Combine(Path, file);

    /// <summary>A picture that no other seed gives: a colour ramp.</summary>
    public static RgbImage Picture(int width, int height, int seed = 0)
    {
        var pixels = new byte[3 * width * height];
        for (var i = 0; i < pixels.Length; i++)
        {
            pixels[i] = (byte)((i / 3 % width * 7 + i / 3 / width * 13 + i % 3 * 50 + seed * 31) % 256);
        }

        return new RgbImage(width, height, pixels);
    }

    public static RgbImage Flat(int width, int height, byte red, byte green, byte blue) =>
        new(width, height, [.. Enumerable.Range(0, width * height).SelectMany(_ => new[] { red, green, blue })]);

    public static byte[] Encode(RgbImage image, SKEncodedImageFormat format)
    {
        using var bitmap = ImageCodec.ToBitmap(image);
        using var data = bitmap.Encode(format, 95);
        return data.ToArray();
    }

    public DatasetFolder Image(string file, string? caption = null, int width = 16, int height = 16, int seed = 0)
    {
        Picture(width, height, seed == 0 ? file.Sum(static letter => letter) : seed).SavePng(this[file]);
        return caption is null ? this : Text(System.IO.Path.ChangeExtension(file, ".txt"), caption);
    }

    public DatasetFolder Text(string file, string content) => Bytes(file, System.Text.Encoding.UTF8.GetBytes(content));

    public DatasetFolder Bytes(string file, byte[] content)
    {
        Directory.CreateDirectory(System.IO.Path.GetDirectoryName(this[file])!);
        File.WriteAllBytes(this[file], content);
        return this;
    }

    public ImageDataset Open(ImageDatasetOptions? options = null) => ImageDataset.Open(Path, options);

    public void Dispose() => Directory.Delete(Path, recursive: true);
}
