using System.Buffers.Binary;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using static TorchSharp.torch;

namespace LoraNotebooks.Data;

/// <summary>Of what picture an image is a part; SDXL is told so.</summary>
/// <param name="Width">The width of the picture before it was scaled, upright and as it lay in its file, in pixels.</param>
/// <param name="Height">Its height, likewise.</param>
/// <param name="Left">What was cut off at the left of the scaled picture, in pixels of the image.</param>
/// <param name="Top">What was cut off at its top, likewise.</param>
/// <remarks>
/// Source: Podell et al. 2023 (arXiv:2307.01952), section 2.2 and algorithm 1, and diffusers' trainers. kohya-ss/sd-scripts,
/// library/train_util.py, <c>get_crop_ltrb</c>, computes the margins that the whole picture would have in the trained size instead; the two
/// agree where nothing is cut off.
/// </remarks>
public readonly record struct ImageOrigin(int Width, int Height, int Left, int Top)
{
    /// <summary>That of a square of a picture, scaled; parts of pixels are dropped.</summary>
    /// <param name="picture">The picture.</param>
    /// <param name="square">The square in it.</param>
    /// <param name="resolution">The side that the square is scaled to, in pixels.</param>
    internal static ImageOrigin Of(RgbImage picture, CropRectangle square, int resolution) =>
        new(picture.Width, picture.Height, (int)((long)square.X * resolution / square.Width), (int)((long)square.Y * resolution / square.Height));
}

/// <summary>An image as it is trained on.</summary>
/// <param name="Name">Its name among the prepared images; a file name without extension.</param>
/// <param name="Image">The pixels.</param>
/// <param name="Caption">The caption, one line.</param>
/// <param name="SourceFile">The image it was made from, relative to its dataset's folder.</param>
/// <param name="Mirrored">Whether it is the mirrored copy.</param>
/// <param name="Repeats">How often it is seen in an epoch, 1 or more.</param>
public sealed record PreparedImage(string Name, RgbImage Image, string Caption, string SourceFile, bool Mirrored = false, int Repeats = 1)
{
    /// <summary>
    /// Whether it shows the class, not the subject, so that the model keeps what it knows of it (Ruiz et al. 2022, arXiv:2208.12242, section 3.3). Default no.
    /// </summary>
    public bool IsRegularization { get; init; }

    /// <summary>How much its loss counts, 0 or more. Default 1.</summary>
    public double LossWeight { get; init; } = 1;

    /// <summary>Of what picture it is a part, a mirrored copy of the mirrored picture. Default of itself: neither scaled nor cut.</summary>
    public ImageOrigin Origin
    {
        get => field == default ? Whole : field;
        init => field = value == Whole ? default : value;
    }

    internal ImageOrigin Whole => new(Image.Width, Image.Height, 0, 0);
}

/// <summary>Images of one size with captions, ready for training. It never changes; edits give a new one.</summary>
public sealed class PreparedDataset
{
    /// <summary>[width, height, left, top] of <see cref="PreparedImage.Origin"/> in metadata.jsonl.</summary>
    private const string OriginField = "origin";

    /// <param name="images">
    /// The images: one or more, all of one size, each with a name of its own and a caption of one line, whose outer spaces are left out.
    /// </param>
    /// <exception cref="ArgumentException">The images do not fit together; lists every fault.</exception>
    public PreparedDataset(IEnumerable<PreparedImage> images)
    {
        ArgumentNullException.ThrowIfNull(images);
        Images = [.. images.Select(static image => image with { Caption = image.Caption.Trim() })];
        ThrowIfInvalid(Images);
    }

    /// <summary>What preparing the images has cut off or enlarged; nothing for images that were not prepared here.</summary>
    public DatasetReport Report { get; internal init; } = new("", []);

    /// <summary>The images, each mirrored copy after its original.</summary>
    public IReadOnlyList<PreparedImage> Images { get; }

    /// <summary>The number of images, mirrored copies counted, repeats not.</summary>
    public int Count => Images.Count;

    /// <summary>Width of every image in pixels.</summary>
    public int Width => Images[0].Image.Width;

    /// <summary>Height of every image in pixels.</summary>
    public int Height => Images[0].Image.Height;

    /// <summary>How many images an epoch shows: the sum of the repeats.</summary>
    public int ImagesPerEpoch => Images.Sum(static image => image.Repeats);

    /// <summary>How often each tag occurs.</summary>
    public TagTable Tags => new(Images.Select(static image => new CaptionedImage(image.Name, image.Caption)));

    /// <summary>The dataset with the captions of a tag table; images that the table lacks keep theirs.</summary>
    public PreparedDataset WithCaptions(TagTable table)
    {
        ArgumentNullException.ThrowIfNull(table);
        var captions = table.Captions.ToDictionary(static caption => caption.File, static caption => caption.Caption);
        return new(Images.Select(image => captions.TryGetValue(image.Name, out var caption) ? image with { Caption = caption } : image)) { Report = Report };
    }

    /// <summary>
    /// The dataset with images that keep the model from forgetting the class (prior preservation, Ruiz et al. 2022, arXiv:2208.12242, section 3.3). As many are
    /// taken as there are training images, repeats counted: of too many the last are left out, of too few the first are repeated more often.
    /// </summary>
    /// <param name="images">Images of the class, of the same size, with captions that do not name the subject.</param>
    /// <returns>Training images, then regularization images, whose names begin with "regularization-".</returns>
    /// <exception cref="ArgumentException">The images do not fit together; lists every fault.</exception>
    /// <remarks>Source: kohya-ss/sd-scripts, library/train_util.py, <c>DreamBoothDataset</c>.</remarks>
    public PreparedDataset WithRegularization(PreparedDataset images)
    {
        ArgumentNullException.ThrowIfNull(images);
        var taken = new List<PreparedImage>();
        var missing = ImagesPerEpoch;
        foreach (var image in images.Images.TakeWhile(_ => missing > 0))
        {
            taken.Add(image with { Name = "regularization-" + image.Name, IsRegularization = true });
            missing -= image.Repeats;
        }

        if (images.Count > taken.Count)
        {
            Notice.Tell(
                $"{images.Count - taken.Count} of {Listing.Count(images.Count, "regularization image")} are left out: "
                + $"as many are taken as there are training images, {ImagesPerEpoch} with repeats.");
        }

        for (var i = 0; missing > 0; i = (i + 1) % taken.Count, missing--)
        {
            taken[i] = taken[i] with { Repeats = taken[i].Repeats + 1 };
        }

        return new([.. Images, .. taken]) { Report = Report };
    }

    /// <summary>Which images an epoch shows: each as often as its repeats say.</summary>
    /// <param name="generator">A CPU generator that shuffles them; default null: in order.</param>
    public int[] EpochIndices(Generator? generator = null)
    {
        var indices = Images.SelectMany(static (image, i) => Enumerable.Repeat(i, image.Repeats)).ToArray();
        if (generator is null)
        {
            return indices;
        }

        using var scope = NewDisposeScope();
        return [.. randperm(indices.Length, ScalarType.Int64, CPU, generator: generator).data<long>().ToArray().Select(i => indices[i])];
    }

    /// <summary>The pixels of all images, float32 [N, 3, H, W] in [-1, 1].</summary>
    public Tensor Pixels() => RgbImage.ToTensor([.. Images.Select(static image => image.Image)]);

    /// <summary>The pixels of some images, float32 [N, 3, H, W] in [-1, 1].</summary>
    /// <param name="indices">Which images; one may come several times.</param>
    public Tensor Pixels(IEnumerable<int> indices) => RgbImage.ToTensor([.. indices.Select(i => Images[i].Image)]);

    /// <summary>
    /// SHA-256 over everything that training sees: size, pixels, caption, repeats and weight of each image in order, as lower-case hexadecimal
    /// text.
    /// </summary>
    /// <param name="withOrigins">Whether training sees <see cref="PreparedImage.Origin"/>, too, as that of SDXL does. Default no.</param>
    public string ComputeHash(bool withOrigins = false)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        Span<byte> numbers = stackalloc byte[3 * sizeof(int)];
        foreach (var image in Images)
        {
            BinaryPrimitives.WriteInt32LittleEndian(numbers, image.Image.Width);
            BinaryPrimitives.WriteInt32LittleEndian(numbers[4..], image.Image.Height);
            BinaryPrimitives.WriteInt32LittleEndian(numbers[8..], image.Repeats);
            hash.AppendData(numbers);
            hash.AppendData(image.Image.Pixels);
            hash.AppendData(Encoding.UTF8.GetBytes(image.Caption + '\0'));
            if (image is not { IsRegularization: false, LossWeight: 1 })
            {
                hash.AppendData(Encoding.UTF8.GetBytes(string.Create(CultureInfo.InvariantCulture, $"{image.IsRegularization} {image.LossWeight}\0")));
            }

            if (withOrigins)
            {
                var (width, height, left, top) = image.Origin;
                hash.AppendData(Encoding.UTF8.GetBytes(string.Create(CultureInfo.InvariantCulture, $"{width} {height} {left} {top}\0")));
            }
        }

        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    /// <summary>
    /// Writes a folder of <c>name.png</c>, <c>name.txt</c> and a metadata.jsonl that other programs read as well. It appears whole or not at all.
    /// </summary>
    /// <param name="folder">The folder; it must not exist, or be empty.</param>
    /// <param name="overwrite">Whether a folder that an earlier call wrote is replaced. Default false.</param>
    /// <exception cref="IOException">The folder has files, and overwriting is not allowed or some of them are not an earlier call's.</exception>
    public void Save(string folder, bool overwrite = false)
    {
        var target = Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder));
        ThrowIfOccupied(target, overwrite);
        var temporary = $"{target}.{Guid.NewGuid():N}.tmp";
        try
        {
            Parallel.ForEach(Images, image =>
            {
                image.Image.SavePng(Path.Combine(temporary, image.Name + ".png"));
                AtomicFile.WriteAllText(Path.Combine(temporary, image.Name + ".txt"), image.Caption + "\n");
            });
            AtomicFile.WriteAllText(
                Path.Combine(temporary, MetadataFile.Name),
                string.Concat(Images.Select(static image => CaptionWriter.Line(MetadataOf(image)) + "\n")));
            if (Directory.Exists(target))
            {
                Directory.Delete(target, recursive: true);
            }

            Directory.Move(temporary, target);
        }
        finally
        {
            if (Directory.Exists(temporary))
            {
                Directory.Delete(temporary, recursive: true);
            }
        }
    }

    /// <summary>Reads a folder that <see cref="Save"/> wrote; every image, caption and number is the same again.</summary>
    /// <exception cref="DirectoryNotFoundException">There is no such folder.</exception>
    /// <exception cref="DatasetException">Files are damaged or missing; lists all of them.</exception>
    public static PreparedDataset Load(string folder)
    {
        var dataset = ImageDataset.Open(folder, new() { Checks = ImageChecks.Header, RequireCaptions = false });
        var issues = new DatasetIssues(dataset.Folder);
        var images = dataset.Items.Select(item => new PreparedImage(
            Path.ChangeExtension(item.File, null),
            item.Load(),
            item.Caption,
            item.Field("source") ?? item.File,
            item.Fields.TryGetValue("mirrored", out var mirrored) && mirrored.ValueKind == JsonValueKind.True,
            item.Fields.TryGetValue("repeats", out var repeats) && repeats.TryGetInt32(out var count) ? count : item.Repeats)
        {
            IsRegularization = item.IsRegularization,
            LossWeight = item.LossWeight,
            Origin = OriginOf(item, issues),
        }).ToList();
        issues.ToReport().ThrowIfErrors();
        return new(images);
    }

    private static ImageOrigin OriginOf(ImageDatasetItem item, DatasetIssues issues)
    {
        if (!item.Fields.TryGetValue(OriginField, out var origin))
        {
            return default;
        }

        var numbers = origin.ValueKind == JsonValueKind.Array
            ? origin.EnumerateArray().Select(Number).ToList()
            : [];
        if (numbers is [> 0 and var width, > 0 and var height, >= 0 and var left, >= 0 and var top])
        {
            return new(width, height, left, top);
        }

        issues.Error(
            DatasetFault.InvalidMetadata,
            item.Path,
            $"{OriginField}: got {origin.GetRawText()}, expected [width, height, left, top] in whole pixels, width and height from 1, left and top from 0.");
        return default;

        static int Number(JsonElement number) => number.ValueKind == JsonValueKind.Number && number.TryGetInt32(out var value) ? value : -1;
    }

    private static JsonObject MetadataOf(PreparedImage image)
    {
        var line = new JsonObject
        {
            ["file_name"] = image.Name + ".png",
            ["text"] = image.Caption,
            ["source"] = image.SourceFile,
            ["mirrored"] = image.Mirrored,
            ["repeats"] = image.Repeats,
        };
        if (image.IsRegularization)
        {
            line["regularization"] = true;
        }

        if (image.LossWeight != 1)
        {
            line["loss_weight"] = image.LossWeight;
        }

        if (image.Origin != image.Whole)
        {
            line[OriginField] = new JsonArray(image.Origin.Width, image.Origin.Height, image.Origin.Left, image.Origin.Top);
        }

        return line;
    }

    private static void ThrowIfOccupied(string folder, bool overwrite)
    {
        var files = Directory.Exists(folder) ? Directory.GetFileSystemEntries(folder) : [];
        if (files.Length == 0)
        {
            return;
        }

        if (!overwrite)
        {
            throw new IOException($"{folder} has files already. Give another folder, or allow overwriting.");
        }

        var foreign = files
            .Where(file => Directory.Exists(file) || !(Path.GetFileName(file) == MetadataFile.Name || Path.GetExtension(file) is ".png" or ".txt"))
            .Select(Path.GetFileName)
            .ToList();
        if (foreign.Count > 0 || !files.Contains(Path.Combine(folder, MetadataFile.Name)))
        {
            throw new IOException(
                $"{folder} is not a folder that was saved here"
                + $"{(foreign.Count > 0 ? $": it has {string.Join(", ", foreign.Take(5))}" : ": it lacks " + MetadataFile.Name)}. Give another folder.");
        }
    }

    private static void ThrowIfInvalid(IReadOnlyList<PreparedImage> images) => Faults.ThrowIfAny(
    [
        .. (string[])(images.Count > 0 ? [] : ["Images: got none, expected one or more"]),
        .. images.Where(image => image.Image.Width != images[0].Image.Width || image.Image.Height != images[0].Image.Height)
            .Select(image => $"{image.Name}: got {image.Image.Width}×{image.Image.Height}, "
                + $"expected {images[0].Image.Width}×{images[0].Image.Height} as {images[0].Name}"),
        .. images.Where(static image => image.Caption.AsSpan().IndexOfAny("\r\n\0") >= 0)
            .Select(static image => $"{image.Name}: got a caption with line breaks or zero bytes, expected one line"),
        .. images.Where(static image => !double.IsFinite(image.LossWeight) || image.LossWeight < 0)
            .Select(static image => $"{image.Name}: got the loss weight {image.LossWeight}, expected 0 or more"),
        .. images.Where(static image => image.Origin is not { Width: > 0, Height: > 0, Left: >= 0, Top: >= 0 })
            .Select(static image => $"{image.Name}: got the origin {image.Origin}, expected a width and height from 1, left and top from 0"),
        .. images.Where(static image => image.Repeats < 1).Select(static image => $"{image.Name}: got {image.Repeats} repeats, expected 1 or more"),
        .. images.Where(static image => image.Name.Length == 0 || image.Name != Path.GetFileName(image.Name))
            .Select(static image => $"'{image.Name}': expected a file name without folder"),
        .. images.GroupBy(static image => image.Name, StringComparer.OrdinalIgnoreCase)
            .Where(static group => group.Count() > 1)
            .Select(static group => $"{group.Key}: got {group.Count()} images of this name, expected one"),
    ], nameof(PreparedDataset), Listing.Most);
}
