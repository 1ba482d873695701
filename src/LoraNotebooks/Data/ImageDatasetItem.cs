using System.Text.Json;

namespace LoraNotebooks.Data;

/// <summary>A rectangle of pixels, counted from the upper left corner of the upright image.</summary>
/// <param name="X">The left edge.</param>
/// <param name="Y">The upper edge.</param>
/// <param name="Width">The width, 1 or more.</param>
/// <param name="Height">The height, 1 or more.</param>
public readonly record struct CropRectangle(int X, int Y, int Width, int Height);

/// <summary>One image of a dataset with its caption.</summary>
public sealed record ImageDatasetItem
{
    internal ImageDatasetItem()
    {
    }

    /// <summary>The image file, relative to the dataset's folder, with forward slashes.</summary>
    public required string File { get; init; }

    /// <summary>The image file's full path.</summary>
    public required string Path { get; init; }

    /// <summary>What the image shows; one line, trimmed. Empty when there is none and none was required.</summary>
    public required string Caption { get; init; }

    /// <summary>The part that is to be used, if the metadata give one.</summary>
    public CropRectangle? Crop { get; init; }

    /// <summary>How often the image is seen in an epoch: N of a folder that is called <c>N_name</c>, else 1.</summary>
    public int Repeats { get; init; } = 1;

    /// <summary>Width of the upright image in pixels; null when the images were not checked.</summary>
    public int? Width { get; init; }

    /// <summary>Height of the upright image in pixels; null when the images were not checked.</summary>
    public int? Height { get; init; }

    /// <summary>The other fields of the image's line in metadata.jsonl, for example "split"; empty without one.</summary>
    public IReadOnlyDictionary<string, JsonElement> Fields { get; init; } = new Dictionary<string, JsonElement>();

    /// <summary>
    /// Whether the image shows the class, not the subject: <c>regularization</c> of its line in metadata.jsonl; see
    /// <see cref="PreparedImage.IsRegularization"/>.
    /// </summary>
    public bool IsRegularization => Fields.TryGetValue("regularization", out var value) && value.ValueKind == JsonValueKind.True;

    /// <summary>How much the image's loss counts: <c>loss_weight</c> of its line in metadata.jsonl, else 1.</summary>
    public double LossWeight => Fields.TryGetValue("loss_weight", out var value) && value.ValueKind == JsonValueKind.Number ? value.GetDouble() : 1;

    /// <summary>The files that the caption stands in besides metadata.jsonl.</summary>
    internal IReadOnlyList<string> CaptionFiles { get; init; } = [];

    /// <summary>The metadata.jsonl that has this image, if any.</summary>
    internal string? MetadataFile { get; init; }

    /// <summary>The caption as it stands in the files.</summary>
    internal string StoredCaption { get; init; } = "";

    /// <summary>SHA-256 of the image file, if the check computed it.</summary>
    internal byte[]? Sha256 { get; init; }

    /// <summary>A text field of the image's line in metadata.jsonl; null when it is absent or no text.</summary>
    public string? Field(string name) => Fields.TryGetValue(name, out var value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;

    /// <summary>Reads the image.</summary>
    /// <exception cref="InvalidDataException">The file is damaged.</exception>
    /// <remarks>Of moving pictures the first; the dataset's report says so.</remarks>
    public RgbImage Load() => ImageCodec.Decode(System.IO.File.ReadAllBytes(Path), Path);
}
