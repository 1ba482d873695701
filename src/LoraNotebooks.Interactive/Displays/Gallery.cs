using LoraNotebooks.Data;

namespace LoraNotebooks.Interactive;

/// <summary>A picture and the text under it.</summary>
/// <param name="Image">The picture.</param>
/// <param name="Caption">The text; it is shown as it is, never as markup.</param>
public sealed record GalleryItem(RgbImage Image, string? Caption = null);

/// <summary>Pictures side by side with their captions.</summary>
public sealed class Gallery : RichDisplay
{
    /// <summary>A gallery of pictures with captions.</summary>
    public Gallery(IEnumerable<GalleryItem> items) => Items = [.. items];

    /// <summary>A gallery of pictures; <paramref name="captions"/> belong to them in order, and may be fewer.</summary>
    public Gallery(IEnumerable<RgbImage> images, IEnumerable<string?>? captions = null)
    {
        string?[] texts = [.. captions ?? []];
        Items = [.. images.Select((image, i) => new GalleryItem(image, i < texts.Length ? texts[i] : null))];
    }

    /// <summary>The pictures.</summary>
    public IReadOnlyList<GalleryItem> Items { get; }

    /// <summary>The title; default none.</summary>
    public string? Title { get; init; }

    /// <summary>Pictures in a row; default: as many as fit into about 900 pixels, at most 6.</summary>
    public int? Columns { get; init; }

    /// <summary>The longest side of a picture as shown, in CSS pixels; default 160. Small pictures are at most doubled.</summary>
    public int ImageSize { get; init; } = 160;

    /// <inheritdoc/>
    protected internal override Html Draw() => Items.Count == 0
        ? Look.Page(Title, "no images")
        : Look.Page(Title, Items.Count == 1 ? null : $"{Items.Count} images", Table());

    /// <inheritdoc/>
    public override string ToText() =>
        $"{Title ?? "gallery"}: {Numbers.Of(Items.Count, "image")}"
            + string.Concat(Items.Where(i => i.Caption is not null).Take(8).Select(i => "\n  " + i.Caption));

    /// <inheritdoc/>
    public override MimeBundle ToMimeBundle() =>
        Items.Count == 1 ? base.ToMimeBundle().With(MimeTypes.Png, Items[0].Image.EncodePng()) : base.ToMimeBundle();

    /// <summary>The pictures without a title.</summary>
    internal Html Table()
    {
        var size = Items.Max(item => ImageTag.ShownSize(item.Image.Width, item.Image.Height, ImageSize).Width);
        var columns = Math.Clamp(Columns ?? Math.Min(6, 900 / (size + 14)), 1, Items.Count);
        return Look.Flow(
            Items.Chunk(columns).Select(row => row.Select(item => Look.Td(Figure(item, size), style: Look.FlowCell("0 14px 14px 0")))),
            columns * (size + 14));
    }

    private Html Figure(GalleryItem item, int width) => Html.Concat(
    [
        ImageTag.Of(item.Image, item.Caption, ImageSize),
        string.IsNullOrEmpty(item.Caption)
            ? Html.Empty
            : Html.Element(
                "div",
                [("style", $"width:{width}px;max-width:100%;font-size:12px;line-height:1.35;margin-top:5px;"
                    + "opacity:0.8;overflow-wrap:anywhere;white-space:normal")],
                item.Caption),
    ]);
}
