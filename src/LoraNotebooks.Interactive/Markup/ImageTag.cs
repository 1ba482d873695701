using System.Globalization;
using LoraNotebooks.Data;
using SkiaSharp;

namespace LoraNotebooks.Interactive;

/// <summary>Images as data inside HTML, at a size that is good to look at and cheap to store.</summary>
internal static class ImageTag
{
    /// <summary>Up to this side, images are kept exactly, as PNG; above it JPEG of twice the shown size is ten times smaller and looks the same.</summary>
    private const int LargestExactSide = 256;

    /// <summary>The shown width and height in CSS pixels: small pictures at twice their size, large ones at most <paramref name="longest"/>.</summary>
    public static (int Width, int Height) ShownSize(int width, int height, int longest)
    {
        var scale = Math.Min(2.0, longest / (double)Math.Max(width, height));
        return (Math.Max(1, (int)Math.Round(width * scale)), Math.Max(1, (int)Math.Round(height * scale)));
    }

    /// <summary>An image element.</summary>
    /// <param name="image">The picture.</param>
    /// <param name="alternative">What a reader without pictures gets.</param>
    /// <param name="longest">The longest side as shown, in CSS pixels.</param>
    public static Html Of(RgbImage image, string? alternative, int longest = 192) => Of(image, Source(image, longest), alternative, longest);

    /// <summary>An image element of an image whose <see cref="Source"/> is known.</summary>
    public static Html Of(RgbImage image, string source, string? alternative, int longest)
    {
        var (width, height) = ShownSize(image.Width, image.Height, longest);
        return Of(source, alternative, width, height);
    }

    /// <summary>An image element from a PNG in base64.</summary>
    /// <param name="png">The file in base64.</param>
    /// <param name="alternative">What a reader without pictures gets.</param>
    /// <param name="width">The width as shown where there is room, in CSS pixels.</param>
    /// <param name="height">The height as shown, in CSS pixels.</param>
    /// <param name="least">The least width as shown: what has small letters is rather scrolled than shrunk further; default none.</param>
    public static Html OfPng(string png, string? alternative, int width, int height, int least = 0) =>
        Of("data:image/png;base64," + png, alternative, width, height, $"max-width:100%;height:auto{(least > 0 ? $";min-width:{least}px" : "")}");

    /// <summary>A pale box of the size that an image will take.</summary>
    public static Html Vacant(int width, int height, int longest)
    {
        var shown = ShownSize(width, height, longest);
        return Html.Element(
            "div",
            [("style", $"display:inline-block;width:{shown.Width}px;height:{shown.Height}px;background:rgba(128,128,128,0.12);"
                + "border-radius:6px;vertical-align:middle")]);
    }

    /// <summary>The image as a data address.</summary>
    /// <param name="image">The picture.</param>
    /// <param name="longest">The longest side as shown, in CSS pixels.</param>
    /// <param name="isBrief">Whether it will soon be replaced by a finer one: large pictures are then stored at the shown size and not at twice that.</param>
    public static string Source(RgbImage image, int longest, bool isBrief = false)
    {
        var side = Math.Max(image.Width, image.Height);
        if (side <= (isBrief ? Math.Min(longest, LargestExactSide) : LargestExactSide))
        {
            return "data:image/png;base64," + Convert.ToBase64String(image.EncodePng());
        }

        var scale = Math.Min(1.0, (isBrief ? longest : 2 * longest) / (double)side);
        using var stored = Picture.ToBitmap(image.Resize(Math.Max(1, (int)(image.Width * scale)), Math.Max(1, (int)(image.Height * scale))));
        using var data = stored.Encode(SKEncodedImageFormat.Jpeg, isBrief ? 80 : 90);
        return "data:image/jpeg;base64," + Convert.ToBase64String(data.AsSpan());
    }

    private static Html Of(
        string source,
        string? alternative,
        int width,
        int height,
        string style = "border-radius:6px;box-shadow:0 0 0 1px rgba(128,128,128,0.16)") => Html.Element("img",
    [
        ("src", source),
        ("alt", alternative ?? ""),
        ("title", string.IsNullOrEmpty(alternative) ? null : alternative),
        ("width", width.ToString(CultureInfo.InvariantCulture)),
        ("height", height.ToString(CultureInfo.InvariantCulture)),
        ("style", $"display:inline-block;margin:0;max-width:none;image-rendering:auto;{style}"),
    ]);
}
