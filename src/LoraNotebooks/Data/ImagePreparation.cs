namespace LoraNotebooks.Data;

/// <summary>Makes images and captions ready for training: crop, scale, mirror, repeat, trigger word.</summary>
public static class ImagePreparation
{
    /// <summary>Prepares every image of a dataset; they are held in memory, 3·Resolution² bytes each.</summary>
    /// <param name="dataset">The dataset.</param>
    /// <param name="options">How; default <see cref="PreparationOptions"/>.</param>
    /// <param name="progress">Hears of each image that was prepared, from several threads but one at a time.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="ArgumentException">The options have faults; lists all of them.</exception>
    /// <exception cref="DatasetException">Images are too small or damaged; lists all of them.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled before the last image was prepared.</exception>
    public static PreparedDataset Prepare(
        ImageDataset dataset,
        PreparationOptions? options = null,
        IProgress<PreparationProgress>? progress = null,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(dataset);
        options ??= new();
        options.ThrowIfInvalid();

        var images = new PreparedImage[dataset.Count][];
        var issues = new DatasetIssues(dataset.Folder);
        if (dataset.Count == 0)
        {
            issues.Error(DatasetFault.NoImages, dataset.Folder, "got no images, expected one or more.");
        }

        var names = Names(dataset.Items);
        var counter = new PreparationCounter(dataset.Count, issues, progress);
        Parallel.For(0, dataset.Count, new ParallelOptions { CancellationToken = cancellationToken }, i =>
        {
            images[i] = issues.Try(dataset.Items[i].Path, () => Prepare(dataset.Items[i], names[i], options, issues), []);
            counter.Add(dataset.Items[i].File, images[i].FirstOrDefault());
        });
        var report = issues.ToReport();
        report.ThrowIfErrors();
        foreach (var warning in report.Summary)
        {
            Notice.Tell($"Prepared images: {warning}");
        }

        return new PreparedDataset(images.SelectMany(static pair => pair)) { Report = report };
    }

    /// <summary>The largest square in the middle of an image, or of a part of it, in another size.</summary>
    /// <param name="image">The image.</param>
    /// <param name="crop">The part; null for the whole.</param>
    /// <param name="resolution">The side of the result in pixels.</param>
    public static RgbImage Square(RgbImage image, CropRectangle? crop, int resolution)
    {
        ArgumentNullException.ThrowIfNull(image);
        return Scaled(image, SquareOf(image, crop), resolution);
    }

    private static CropRectangle SquareOf(RgbImage image, CropRectangle? crop)
    {
        var part = crop ?? new CropRectangle(0, 0, image.Width, image.Height);
        var side = Math.Min(part.Width, part.Height);
        return new CropRectangle(part.X + (part.Width - side) / 2, part.Y + (part.Height - side) / 2, side, side);
    }

    private static RgbImage Scaled(RgbImage image, CropRectangle square, int resolution) =>
        image.Crop(square.X, square.Y, square.Width, square.Height).Resize(resolution, resolution);

    private static PreparedImage[] Prepare(ImageDatasetItem item, string name, PreparationOptions options, DatasetIssues issues)
    {
        var source = item.Load();
        var crop = options.Crop == CropMode.Given ? item.Crop : null;
        if (ImageCheck.Outside(crop, source.Width, source.Height) is { } outside)
        {
            issues.Error(DatasetFault.InvalidCrop, item.Path, outside);
            return [];
        }

        if (ImageCheck.TooSmall(crop, source.Width, source.Height, options.Resolution) is { } small)
        {
            issues.Add(options.AllowUpscaling ? DatasetSeverity.Warning : DatasetSeverity.Error, DatasetFault.TooSmall, item.Path, small);
            if (!options.AllowUpscaling)
            {
                return [];
            }
        }

        if (ImageCheck.LostPicture(crop, source.Width, source.Height) is { } lost)
        {
            issues.Warning(DatasetFault.LostPicture, item.Path, lost);
        }

        var square = SquareOf(source, crop);
        var prepared = new PreparedImage(
            name,
            Scaled(source, square, options.Resolution),
            options.TriggerWord is { } word && !item.IsRegularization ? CaptionTags.WithFirst(item.Caption, word) : item.Caption,
            item.File,
            Mirrored: false,
            item.Repeats * options.Repeats)
        {
            IsRegularization = item.IsRegularization,
            LossWeight = item.LossWeight,
            Origin = ImageOrigin.Of(source, square, options.Resolution),
        };
        if (!options.Mirror)
        {
            return [prepared];
        }

        // As if the whole picture had been mirrored before it was cut: what lay right of the square lies left of it.
        var origin = ImageOrigin.Of(source, square with { X = source.Width - square.X - square.Width }, options.Resolution);
        return [prepared, prepared with { Name = name + "_mirrored", Image = prepared.Image.Mirror(), Mirrored = true, Origin = origin }];
    }

    /// <summary>A name for each image that no other has, also when folders are left out and "_mirrored" is added.</summary>
    private static string[] Names(IReadOnlyList<ImageDatasetItem> items)
    {
        var taken = new HashSet<string>(StringComparer.OrdinalIgnoreCase);
        return [.. items.Select(item =>
        {
            var plain = Path.ChangeExtension(item.File, null).Replace('/', '_');
            var name = plain;
            for (var i = 2; taken.Contains(name) || taken.Contains(name + "_mirrored"); i++)
            {
                name = $"{plain}_{i}";
            }

            taken.Add(name);
            taken.Add(name + "_mirrored");
            return name;
        })];
    }
}
