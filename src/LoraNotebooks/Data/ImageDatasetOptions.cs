namespace LoraNotebooks.Data;

/// <summary>How closely the images are looked at when a dataset is opened.</summary>
public enum ImageChecks
{
    /// <summary>Only that the file exists and is not empty. For large collections made by a program.</summary>
    None,

    /// <summary>Format and size are read from the file's header.</summary>
    Header,

    /// <summary>Every image is decoded whole, and identical files are found.</summary>
    Full,
}

/// <summary>How a folder of images and captions is read.</summary>
public sealed record ImageDatasetOptions
{
    /// <summary>How closely images are checked. Default <see cref="ImageChecks.Full"/>.</summary>
    public ImageChecks Checks { get; init; } = ImageChecks.Full;

    /// <summary>
    /// The side in pixels that the images will be trained at; a smaller image is reported. Default null: no limit. Needs checks of Header or Full.
    /// </summary>
    public int? Resolution { get; init; }

    /// <summary>Whether an image smaller than <see cref="Resolution"/> is only a warning. Default false: it is an error.</summary>
    public bool AllowUpscaling { get; init; }

    /// <summary>Whether an image without a caption is an error. Default true; with false its caption is empty and it is a warning.</summary>
    public bool RequireCaptions { get; init; } = true;

    /// <summary>
    /// The tokens of a caption that will be seen, without begin and end; a caption that has surely more is a warning, and of the others only a model's
    /// tokenizer can tell. Default 75, what CLIP's encoders see at once; null: no limit.
    /// </summary>
    public int? MaxTokenLength { get; init; } = 75;

    /// <summary>Every fault of the options; empty when there is none.</summary>
    public IReadOnlyList<string> Validate()
    {
        var faults = new Faults();
        faults.Expect(MaxTokenLength is null or > 0, nameof(MaxTokenLength), MaxTokenLength, "a positive number of tokens, or null for no limit");
        faults.Expect(Resolution is null or > 0, nameof(Resolution), Resolution, "a positive number of pixels, or null for no limit");
        faults.Require(
            Resolution is null || Checks != ImageChecks.None,
            "Checks: got None together with a Resolution, expected Header or Full, because sizes are not read otherwise");
        return faults;
    }

    /// <summary>Throws when the options have faults.</summary>
    /// <exception cref="ArgumentException">Lists every fault.</exception>
    public void ThrowIfInvalid() => Faults.ThrowIfAny(Validate(), nameof(ImageDatasetOptions));
}
