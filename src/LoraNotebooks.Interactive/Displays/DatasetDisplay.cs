using LoraNotebooks.Data;

namespace LoraNotebooks.Interactive;

/// <summary>The images of a dataset with their captions, and what is wrong with its files, if anything.</summary>
public sealed class DatasetDisplay : RichDisplay
{
    private readonly IReadOnlyList<(string Name, string Caption, Func<RgbImage> Load)> _images;
    private readonly DatasetReport? _report;
    private readonly string _facts;

    /// <summary>A display of a folder's images as they are, before preparation.</summary>
    public DatasetDisplay(ImageDataset dataset)
    {
        ArgumentNullException.ThrowIfNull(dataset);
        _images = [.. dataset.Items.Select(item => (item.File, item.Caption, (Func<RgbImage>)item.Load))];
        _report = dataset.Report;
        _facts = Numbers.Of(dataset.Count, "image");
        Title = Path.GetFileName(Path.TrimEndingDirectorySeparator(dataset.Folder));
    }

    /// <summary>A display of images that are ready for training.</summary>
    public DatasetDisplay(PreparedDataset dataset)
    {
        ArgumentNullException.ThrowIfNull(dataset);
        _images = [.. dataset.Images.Select(image => (image.Name, image.Caption, (Func<RgbImage>)(() => image.Image)))];
        _facts = $"{Numbers.Of(dataset.Count, "image")} of {dataset.Width} × {dataset.Height} pixels, {dataset.ImagesPerEpoch} per epoch with repeats";
        _report = dataset.Report;
        Title = "Prepared images";
    }

    /// <summary>The title; default the folder's name.</summary>
    public string Title { get; init; }

    /// <summary>The most images shown; default 40.</summary>
    public int MostImages { get; init; } = 40;

    /// <summary>Images in a row; default: as many as fit, at most 6.</summary>
    public int? Columns { get; init; }

    /// <inheritdoc/>
    protected internal override Html Draw()
    {
        var gallery = new Gallery(_images.Take(MostImages).Select(image => new GalleryItem(image.Load(), image.Caption)))
        {
            Columns = Columns,
            ImageSize = 128,
        };
        return Look.Page(
            Title,
            _images.Count > MostImages ? $"{_facts}, the first {MostImages} shown" : _facts,
            gallery.Items.Count == 0 ? Html.Empty : gallery.Table(),
            _report is { Issues.Count: > 0 } ? new DatasetReportDisplay(_report).Draw() : Html.Empty);
    }

    /// <inheritdoc/>
    public override string ToText() =>
        $"{Title}: {_facts}{string.Concat(_images.Take(MostImages).Select(image => $"\n  {image.Name}: {image.Caption}"))}"
            + (_report is { Issues.Count: > 0 } ? $"\n{_report}" : "");
}
