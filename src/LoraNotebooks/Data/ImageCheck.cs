using System.Security.Cryptography;

namespace LoraNotebooks.Data;

/// <summary>Looks into image files as closely as the options ask.</summary>
internal static class ImageCheck
{
    /// <summary>The part of a picture that a crop may leave out without a word.</summary>
    private const double MostLost = 0.25;

    /// <summary>Checks one image and fills in what the check found out.</summary>
    public static ImageDatasetItem Check(ImageDatasetItem item, ImageDatasetOptions options, DatasetIssues issues) => issues.Try(item.Path, () =>
    {
        if (new FileInfo(item.Path).Length == 0)
        {
            issues.Error(DatasetFault.EmptyFile, item.Path, "got an empty file (0 bytes), expected an image. Copy it again or remove it.");
            return item;
        }

        return options.Checks == ImageChecks.None ? item : CheckContent(item, File.ReadAllBytes(item.Path), options, issues);
    }, item);

    /// <summary>What to say of an image whose shorter side lies below a resolution; null when it does not.</summary>
    public static string? TooSmall(CropRectangle? crop, int width, int height, int resolution)
    {
        var (usedWidth, usedHeight) = crop is { } part ? (part.Width, part.Height) : (width, height);
        return Math.Min(usedWidth, usedHeight) >= resolution
            ? null
            : $"{(crop is null ? "the image" : "its crop")} has {usedWidth}×{usedHeight} pixels, expected {resolution} or more on the shorter side. "
                + "Take a larger one, lower the resolution, or allow upscaling.";
    }

    /// <summary>What to say of a crop that reaches beyond its image; null when it does not.</summary>
    public static string? Outside(CropRectangle? crop, int width, int height) =>
        crop is { } part && ((long)part.X + part.Width > width || (long)part.Y + part.Height > height)
            ? $"the crop x {part.X}, y {part.Y}, {part.Width}×{part.Height} reaches beyond the image of {width}×{height}. Correct it in {MetadataFile.Name}."
            : null;

    /// <summary>What to say of an image of which the largest square leaves out more than a quarter; null when it does not.</summary>
    public static string? LostPicture(CropRectangle? crop, int width, int height)
    {
        var (usedWidth, usedHeight) = crop is { } part ? (part.Width, part.Height) : (width, height);
        var lost = 1 - ((double)Math.Min(usedWidth, usedHeight) / Math.Max(usedWidth, usedHeight));
        return lost <= MostLost
            ? null
            : $"{(int)(100 * lost)} % of {(crop is null ? "the picture" : "its crop")} is cut off: "
                + $"of {usedWidth}×{usedHeight} pixels the square in the middle is used. "
                + $"Give a crop in {MetadataFile.Name}, or cut the picture into squares.";
    }

    private static ImageDatasetItem CheckContent(ImageDatasetItem item, byte[] bytes, ImageDatasetOptions options, DatasetIssues issues)
    {
        if (ImageFormats.OfContent(bytes) is { } format && format != ImageFormats.OfName(item.Path))
        {
            var remedy = ImageFormats.Extension(format) is { } extension ? $"Rename it to end in {extension}." : "Convert it.";
            issues.Error(DatasetFault.WrongExtension, item.Path, $"the content is {format}, but the name ends in '{Path.GetExtension(item.Path)}'. {remedy}");
            if (ImageFormats.Extension(format) is null)
            {
                return item;
            }
        }

        // Decoding is the only sure check: a header is whole long before the picture is.
        var full = options.Checks == ImageChecks.Full;
        var (width, height) = full && ImageCodec.Decode(bytes, "the file") is var image ? (image.Width, image.Height) : ImageCodec.Size(bytes, "the file");
        if (Outside(item.Crop, width, height) is { } outside)
        {
            issues.Error(DatasetFault.InvalidCrop, item.Path, outside);
        }
        else if (options.Resolution is { } resolution && TooSmall(item.Crop, width, height, resolution) is { } small)
        {
            issues.Add(options.AllowUpscaling ? DatasetSeverity.Warning : DatasetSeverity.Error, DatasetFault.TooSmall, item.Path, small);
        }
        else if (LostPicture(item.Crop, width, height) is { } lost)
        {
            issues.Warning(DatasetFault.LostPicture, item.Path, lost);
        }

        if (ImageCodec.Frames(bytes, "the file") is > 1 and var frames)
        {
            issues.Warning(
                DatasetFault.MovingImage,
                item.Path,
                $"got {frames} frames, the first is used. Save the others as images of their own if they are meant.");
        }

        return item with { Width = width, Height = height, Sha256 = full ? SHA256.HashData(bytes) : null };
    }
}
