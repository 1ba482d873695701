using LoraNotebooks.Data;
using SkiaSharp;

namespace LoraNotebooks.Interactive;

/// <summary>Between <see cref="RgbImage"/> and Skia.</summary>
internal static class Picture
{
    /// <summary>Sampling for photographs and portraits: bicubic, no visible pixels.</summary>
    public static SKSamplingOptions Smooth { get; } = new(SKCubicResampler.CatmullRom);

    /// <summary>A copy of the image that Skia can draw.</summary>
    public static SKBitmap ToBitmap(RgbImage image)
    {
        var bitmap = new SKBitmap(new SKImageInfo(image.Width, image.Height, SKColorType.Rgba8888, SKAlphaType.Opaque));
        var source = image.Pixels;
        var target = bitmap.GetPixelSpan();
        for (int i = 0, j = 0; i < source.Length; i += 3, j += 4)
        {
            source.Slice(i, 3).CopyTo(target[j..]);
            target[j + 3] = 255;
        }

        return bitmap;
    }

    /// <summary>The PNG file of a drawing.</summary>
    /// <param name="surface">The drawing.</param>
    /// <param name="isBrief">Whether it will soon be replaced: packed quickly then, and tightly otherwise.</param>
    public static byte[] EncodePng(SKSurface surface, bool isBrief = false)
    {
        using var image = surface.Snapshot();
        using var pixels = image.PeekPixels();
        // Charts are flat colours: without a row filter they pack faster and smaller.
        using var data = pixels!.Encode(new SKPngEncoderOptions(SKPngEncoderFilterFlags.None, isBrief ? 1 : 6))!;
        return data.ToArray();
    }
}
