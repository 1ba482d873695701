using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using static TorchSharp.torch;

namespace LoraNotebooks.Data;

/// <summary>
/// A folder of images with captions. Each caption is the first line of a <c>.txt</c> or <c>.caption</c> file beside the image, or stands in
/// metadata.jsonl (Hugging Face's imagefolder: <c>file_name</c>, <c>text</c>, here also <c>crop</c> as [x, y, width, height],
/// <c>regularization</c> and <c>loss_weight</c>). Subfolders called <c>N_name</c> are read too, and their images repeated N times.
/// </summary>
/// <remarks>Images are read when they are asked for. The dataset itself never changes; edits give a new one.</remarks>
public sealed class ImageDataset
{
    internal ImageDataset(string folder, IReadOnlyList<ImageDatasetItem> items, DatasetReport report)
    {
        Folder = folder;
        Items = items;
        Report = report;
    }

    /// <summary>The full path of the folder.</summary>
    public string Folder { get; }

    /// <summary>The images: those of metadata.jsonl in its order, then the others by name.</summary>
    public IReadOnlyList<ImageDatasetItem> Items { get; }

    /// <summary>The warnings that remain.</summary>
    public DatasetReport Report { get; }

    /// <summary>The number of images, not counting repeats.</summary>
    public int Count => Items.Count;

    /// <summary>How often each tag occurs.</summary>
    public TagTable Tags => new(Items.Select(static item => new CaptionedImage(item.File, item.Caption)));

    /// <summary>Opens a folder.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="options">How it is read and checked; default <see cref="ImageDatasetOptions"/>.</param>
    /// <param name="progress">Hears of each image that was checked, from several threads but one at a time.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="DirectoryNotFoundException">There is no such folder.</exception>
    /// <exception cref="DatasetException">Files cannot be used; lists all of them, and the warnings.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled before the last image was checked.</exception>
    public static ImageDataset Open(
        string folder,
        ImageDatasetOptions? options = null,
        IProgress<PreparationProgress>? progress = null,
        CancellationToken cancellationToken = default)
    {
        var (items, report) = new DatasetReader(folder, options ?? new()).Read(progress, cancellationToken);
        report.ThrowIfErrors();
        return new ImageDataset(report.Folder, items, report);
    }

    /// <summary>Looks at a folder as <see cref="Open"/> does and returns what is wrong instead of throwing it.</summary>
    /// <exception cref="DirectoryNotFoundException">There is no such folder.</exception>
    public static DatasetReport Inspect(string folder, ImageDatasetOptions? options = null) =>
        new DatasetReader(folder, options ?? new()).Read(null, default).Report;

    /// <summary>The images for which a condition holds, for example <c>item => item.Field("split") == "train"</c>.</summary>
    public ImageDataset Where(Func<ImageDatasetItem, bool> condition) => new(Folder, [.. Items.Where(condition)], Report);

    /// <summary>The dataset with the captions of a tag table; images that the table lacks keep theirs. No file changes.</summary>
    public ImageDataset WithCaptions(TagTable table)
    {
        ArgumentNullException.ThrowIfNull(table);
        var captions = table.Captions.ToDictionary(static caption => caption.File, static caption => caption.Caption);
        return new(Folder, [.. Items.Select(item => captions.TryGetValue(item.File, out var caption) ? item with { Caption = caption } : item)], Report);
    }

    /// <summary>
    /// Writes the captions that differ from the files: into metadata.jsonl where the image stands there, into the first line of the caption
    /// file, and into a new <c>.txt</c> where there was neither. Each file is replaced whole or not at all.
    /// </summary>
    /// <returns>The dataset, its captions now those of the files.</returns>
    public ImageDataset SaveCaptions()
    {
        CaptionWriter.Write(Items);
        return new(Folder, [.. Items.Select(CaptionWriter.AsStored)], Report);
    }

    /// <summary>Makes the images and captions ready for training; see <see cref="ImagePreparation"/>.</summary>
    /// <param name="options">How; default <see cref="PreparationOptions"/>.</param>
    /// <param name="progress">Hears of each image that was prepared, from several threads but one at a time.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="DatasetException">Images are too small or damaged; lists all of them.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled before the last image was prepared.</exception>
    public PreparedDataset Prepare(
        PreparationOptions? options = null, IProgress<PreparationProgress>? progress = null, CancellationToken cancellationToken = default) =>
        ImagePreparation.Prepare(this, options, progress, cancellationToken);

    /// <summary>
    /// SHA-256 over every image file's bytes, its name, caption, crop and repeats, in order, as lower-case hexadecimal text: two runs with
    /// the same hash saw the same data.
    /// </summary>
    public string ComputeHash()
    {
        var files = new byte[Items.Count][];
        Parallel.For(0, Items.Count, i =>
        {
            if (Items[i].Sha256 is { } known)
            {
                files[i] = known;
                return;
            }

            using var stream = File.OpenRead(Items[i].Path);
            files[i] = SHA256.HashData(stream);
        });

        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        Span<byte> repeats = stackalloc byte[sizeof(int)];
        foreach (var (item, file) in Items.Zip(files))
        {
            // Texts end in a zero byte, which they cannot contain, so that no two different datasets give the same bytes.
            hash.AppendData(Encoding.UTF8.GetBytes(item.File + '\0' + item.Caption + '\0' + item.Crop + '\0'));
            BinaryPrimitives.WriteInt32LittleEndian(repeats, item.Repeats);
            hash.AppendData(repeats);
            hash.AppendData(file);
        }

        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    /// <summary>Decodes images of one size in parallel, as they are: neither cropped nor scaled.</summary>
    /// <param name="indices">Which images; default null: all, in order.</param>
    /// <returns>uint8 [N, H, W, 3] on the CPU.</returns>
    /// <exception cref="DatasetException">Images are damaged or differ in size from the first; lists all of them.</exception>
    public Tensor LoadPixels(IReadOnlyList<int>? indices = null)
    {
        indices ??= [.. Enumerable.Range(0, Items.Count)];
        if (indices.Count == 0)
        {
            throw new ArgumentException("Pixels of no images were asked for, expected one index or more.", nameof(indices));
        }

        var first = FirstReadable(indices);
        using var scope = NewDisposeScope();
        var pixels = empty([indices.Count, first.Height, first.Width, 3], ScalarType.Byte, CPU);
        var issues = new DatasetIssues(Folder);
        Parallel.For(0, indices.Count, i =>
        {
            var item = Items[indices[i]];
            var image = issues.Try(item.Path, item.Load, first);
            if (image.Width != first.Width || image.Height != first.Height)
            {
                issues.Error(
                    DatasetFault.DifferentSize,
                    item.Path,
                    $"got {image.Width}×{image.Height}, expected {first.Width}×{first.Height} as {Items[indices[0]].File}. Prepare the dataset instead.");
                return;
            }

            // Dispose scopes belong to threads: this view is disposed by hand.
            using var target = pixels[i];
            image.Pixels.CopyTo(target.bytes);
        });

        issues.ToReport().ThrowIfErrors();
        return pixels.MoveToOuterDisposeScope();
    }

    private RgbImage FirstReadable(IReadOnlyList<int> indices)
    {
        var issues = new DatasetIssues(Folder);
        return indices.Select(i => issues.Try<RgbImage?>(Items[i].Path, Items[i].Load, null)).FirstOrDefault(static image => image is not null)
            ?? throw new DatasetException(issues.ToReport());
    }
}
