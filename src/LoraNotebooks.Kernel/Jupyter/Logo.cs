using System.Globalization;
using LoraNotebooks.Foundation;
using SkiaSharp;

namespace LoraNotebooks.Kernel.Jupyter;

/// <summary>The kernel's picture in launchers and lists: two thin matrices that make a square one.</summary>
internal static class Logo
{
    private const float Side = 64;

    /// <summary>B to the left, A above, B·A at their side; in the colours of the charts, legible on any ground.</summary>
    private static readonly (SKRect Place, float Corner, string Colour, float Opacity)[] Parts =
    [
        (SKRect.Create(4, 20, 11, 40), 3, "#3b82d6", 1),
        (SKRect.Create(20, 4, 40, 11), 3, "#d08a1d", 1),
        (SKRect.Create(20, 20, 40, 40), 3, "#7d828a", 0.35f),
        .. from row in Enumerable.Range(0, 3)
            from column in Enumerable.Range(0, 3)
            select (SKRect.Create(24 + 12 * column, 24 + 12 * row, 8, 8), 1.5f, "#a45fc9", 0.8f),
    ];

    /// <summary>Writes the files that Jupyter looks for: two PNG sizes and an SVG.</summary>
    public static void WriteTo(string folder)
    {
        AtomicFile.WriteAllBytes(Path.Combine(folder, "logo-32x32.png"), Png(32));
        AtomicFile.WriteAllBytes(Path.Combine(folder, "logo-64x64.png"), Png(64));
        AtomicFile.WriteAllText(Path.Combine(folder, "logo-svg.svg"), Svg());
    }

    private static byte[] Png(int side)
    {
        using var bitmap = new SKBitmap(side, side);
        using var canvas = new SKCanvas(bitmap);
        canvas.Clear(SKColors.Transparent);
        canvas.Scale(side / Side);
        foreach (var (place, corner, colour, opacity) in Parts)
        {
            using var paint = new SKPaint { Color = SKColor.Parse(colour).WithAlpha((byte)(255 * opacity)), IsAntialias = true };
            canvas.DrawRoundRect(place, corner, corner, paint);
        }

        using var data = bitmap.Encode(SKEncodedImageFormat.Png, 100);
        return data.ToArray();
    }

    private static string Svg()
    {
        var parts = Parts.Select(part =>
            string.Create(
                CultureInfo.InvariantCulture,
                $"  <rect x=\"{part.Place.Left}\" y=\"{part.Place.Top}\" width=\"{part.Place.Width}\" height=\"{part.Place.Height}\" ")
                + string.Create(
                    CultureInfo.InvariantCulture,
                    $"rx=\"{part.Corner}\" fill=\"{part.Colour}\" fill-opacity=\"{part.Opacity}\"/>\n"));
        return $"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{Side}\" height=\"{Side}\" viewBox=\"0 0 {Side} {Side}\">\n{string.Concat(parts)}</svg>\n";
    }
}
