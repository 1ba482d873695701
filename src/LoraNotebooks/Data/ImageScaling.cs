using SkiaSharp;

namespace LoraNotebooks.Data;

/// <summary>Images in another size.</summary>
internal static class ImageScaling
{
    /// <summary>Axes that shrink are averaged first; what is left to enlarge is bicubic (Mitchell and Netravali 1988, B = C = 1/3).</summary>
    public static RgbImage Resize(RgbImage image, int width, int height)
    {
        var averaged = AreaAverage(image, Math.Min(width, image.Width), Math.Min(height, image.Height));
        if (averaged.Width == width && averaged.Height == height)
        {
            return averaged;
        }

        using var bitmap = ImageCodec.ToBitmap(averaged);
        using var resized = bitmap.Resize(ImageCodec.Rgba.WithSize(width, height), new SKSamplingOptions(SKCubicResampler.Mitchell))
            ?? throw new InvalidOperationException($"The image of {image.Width}×{image.Height} could not be enlarged to {width}×{height}.");
        return ImageCodec.FromBitmap(resized);
    }

    /// <summary>
    /// Box filter: a new pixel is the mean of the area that it covers, pixels at the edge counted by their share. With s = W/w:
    /// new[x] = (1/s) ∫ old(u) du over u from x·s to (x+1)·s, first down the columns, then along the rows.
    /// </summary>
    private static RgbImage AreaAverage(RgbImage image, int width, int height)
    {
        if (width == image.Width && height == image.Height)
        {
            return image;
        }

        var result = new byte[3L * width * height];
        var (columns, rows) = (Covered(image.Width, width), Covered(image.Height, height));
        var row = new float[3 * image.Width];
        for (var y = 0; y < height; y++)
        {
            Array.Clear(row);
            foreach (var (source, share) in rows[y])
            {
                var line = image.Pixels.Slice(source * row.Length, row.Length);
                for (var i = 0; i < row.Length; i++)
                {
                    row[i] += share * line[i];
                }
            }

            for (var x = 0; x < width; x++)
            {
                var (red, green, blue) = (0f, 0f, 0f);
                foreach (var (source, share) in columns[x])
                {
                    red += share * row[3 * source];
                    green += share * row[3 * source + 1];
                    blue += share * row[3 * source + 2];
                }

                var at = 3 * (y * width + x);
                (result[at], result[at + 1], result[at + 2]) = (Round(red), Round(green), Round(blue));
            }
        }

        return new RgbImage(width, height, result);
    }

    /// <summary>For each new position the old ones that it covers, with shares that sum to 1.</summary>
    private static (int Source, float Share)[][] Covered(int oldLength, int newLength)
    {
        var step = (double)oldLength / newLength;
        return [.. Enumerable.Range(0, newLength).Select(i =>
        {
            var (from, to) = (i * step, (i + 1) * step);
            return Enumerable.Range((int)from, Math.Min(oldLength, (int)Math.Ceiling(to - 1e-9)) - (int)from)
                .Select(source => (source, (float)((Math.Min(to, source + 1) - Math.Max(from, source)) / step)))
                .ToArray();
        })];
    }

    private static byte Round(float value) => (byte)Math.Clamp((int)MathF.Round(value), 0, 255);
}
