using LoraNotebooks.Data;

namespace LoraNotebooks.Interactive;

/// <summary>Rows of pictures, one under the other, for the eye to compare: the same prompts before and after training.</summary>
public sealed class BeforeAfter : RichDisplay
{
    /// <summary>Two rows.</summary>
    /// <param name="before">The upper row.</param>
    /// <param name="after">The lower row, each picture under the one it is compared with.</param>
    /// <param name="captions">Texts over the columns, such as the prompts; default none.</param>
    public BeforeAfter(IEnumerable<RgbImage> before, IEnumerable<RgbImage> after, IEnumerable<string>? captions = null)
        : this([("before", before), ("after", after)], captions)
    {
    }

    /// <summary>Any number of labelled rows.</summary>
    /// <exception cref="ArgumentException">Rows of different lengths.</exception>
    public BeforeAfter(IEnumerable<(string Label, IEnumerable<RgbImage> Images)> rows, IEnumerable<string>? captions = null)
    {
        Rows = [.. rows.Select(row => (row.Label, (IReadOnlyList<RgbImage>)[.. row.Images]))];
        Captions = [.. captions ?? []];
        if (Rows.Select(row => row.Images.Count).Distinct().Count() > 1)
        {
            throw new ArgumentException(
                $"Got rows of {string.Join(" and ", Rows.Select(row => row.Images.Count))} images; "
                    + "pictures are compared column by column, so give rows of the same length.",
                nameof(rows));
        }
    }

    /// <summary>The rows with their labels.</summary>
    public IReadOnlyList<(string Label, IReadOnlyList<RgbImage> Images)> Rows { get; }

    /// <summary>The texts over the columns.</summary>
    public IReadOnlyList<string> Captions { get; }

    /// <summary>The title; default none.</summary>
    public string? Title { get; init; }

    /// <summary>The longest side of a picture as shown, in CSS pixels; default 160.</summary>
    public int ImageSize { get; init; } = 160;

    /// <inheritdoc/>
    protected internal override Html Draw() => Look.Page(Title, null, ImageGrid.Of(
        null,
        Captions,
        null,
        [.. Rows.Select(row => row.Label)],
        Rows.Count == 0 ? 0 : Rows[0].Images.Count,
        ImageSize,
        (column, row) => ImageTag.Of(
            Rows[row].Images[column],
            column < Captions.Count ? $"{Rows[row].Label}: {Captions[column]}" : Rows[row].Label,
            ImageSize)));

    /// <inheritdoc/>
    public override string ToText() => $"{Title ?? "comparison"}: {string.Join(" / ", Rows.Select(row => $"{row.Images.Count} × {row.Label}"))}";
}
