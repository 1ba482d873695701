using LoraNotebooks.Data;
using SkiaSharp;

namespace LoraNotebooks.Interactive;

/// <summary>A drawing of one's own, as it is: at its size where there is room, transparent where it is.</summary>
public sealed class PictureDisplay : RichDisplay
{
    // What is wider than two pixels for each of the page's is only heavier.
    private const int MostPixels = 2 * LineChart.Width;

    private readonly byte[] _png;
    private readonly int _width;
    private readonly int _height;
    private readonly string _facts;

    /// <summary>A picture of SkiaSharp's; it is copied.</summary>
    /// <param name="image">The picture.</param>
    /// <param name="alternative">What a reader without pictures gets; default the size.</param>
    public PictureDisplay(SKImage image, string? alternative = null)
    {
        ArgumentNullException.ThrowIfNull(image);
        (_width, _height) = (image.Width, image.Height);
        _facts = alternative ?? $"picture {_width} × {_height}";
        var scale = MostPixels / (double)Math.Max(_width, _height);
        using var small = scale < 1 ? Shrunk(image, scale) : null;
        using var data = (small ?? image).Encode(SKEncodedImageFormat.Png, 100)
            ?? throw new ArgumentException($"Got a picture {_width} × {_height} of type {image.ColorType} that SkiaSharp cannot write as PNG.", nameof(image));
        _png = data.ToArray();
    }

    /// <summary>A picture of the toolkit's.</summary>
    /// <param name="image">The picture.</param>
    /// <param name="alternative">What a reader without pictures gets; default the size.</param>
    public PictureDisplay(RgbImage image, string? alternative = null)
    {
        ArgumentNullException.ThrowIfNull(image);
        (_width, _height, _png) = (image.Width, image.Height, image.EncodePng());
        _facts = alternative ?? $"picture {_width} × {_height}";
    }

    /// <inheritdoc/>
    protected internal override Html Draw()
    {
        var scale = Math.Min(1, LineChart.Width / (double)_width);
        return Look.Page(null, null, ImageTag.OfPng(
            Convert.ToBase64String(_png),
            _facts,
            Math.Max(1, (int)(_width * scale)),
            Math.Max(1, (int)(_height * scale))));
    }

    /// <inheritdoc/>
    public override string ToText() => _facts;

    /// <inheritdoc/>
    public override MimeBundle ToMimeBundle() => base.ToMimeBundle().With(MimeTypes.Png, _png);

    /// <summary>The display of a bitmap, or what is wrong with it.</summary>
    internal static MimeBundle Of(SKBitmap bitmap)
    {
        if (bitmap.Handle == 0 || bitmap.IsEmpty || bitmap.IsNull)
        {
            return MimeBundle.FromText(bitmap.Handle == 0 ? "a disposed SKBitmap" : $"an SKBitmap without pixels ({bitmap.Width} × {bitmap.Height})");
        }

        using var image = SKImage.FromBitmap(bitmap);
        return new PictureDisplay(image).ToMimeBundle();
    }

    /// <summary>The display of an image, or what is wrong with it.</summary>
    internal static MimeBundle Of(SKImage image) => image.Handle == 0 ? MimeBundle.FromText("a disposed SKImage") : new PictureDisplay(image).ToMimeBundle();

    /// <summary>The display of what was drawn on a surface so far, or what is wrong with it.</summary>
    internal static MimeBundle Of(SKSurface surface)
    {
        if (surface.Handle == 0)
        {
            return MimeBundle.FromText("a disposed SKSurface");
        }

        using var image = surface.Snapshot();
        return new PictureDisplay(image).ToMimeBundle();
    }

    private static SKImage Shrunk(SKImage image, double scale)
    {
        var info = new SKImageInfo(Math.Max(1, (int)(image.Width * scale)), Math.Max(1, (int)(image.Height * scale)), SKColorType.Rgba8888, SKAlphaType.Premul);
        using var surface = SKSurface.Create(info);
        surface.Canvas.DrawImage(image, SKRect.Create(info.Width, info.Height), new SKSamplingOptions(SKFilterMode.Linear, SKMipmapMode.Linear));
        return surface.Snapshot();
    }
}
