namespace LoraNotebooks.Data;

/// <summary>Which part of an image is used.</summary>
public enum CropMode
{
    /// <summary>The largest square in the middle.</summary>
    Centre,

    /// <summary>The rectangle that the metadata give, of which the largest square in the middle; the whole image where they give none.</summary>
    Given,
}

/// <summary>How images and captions are made ready for training.</summary>
public sealed record PreparationOptions
{
    /// <summary>The side of the square images in pixels. Default 512, the training size of Stable Diffusion 1.x; the embedded base has 64.</summary>
    public int Resolution { get; init; } = 512;

    /// <summary>What the resolution must be a multiple of, in pixels. Default 64; a small model such as the embedded base allows 8.</summary>
    public int ResolutionStep { get; init; } = 64;

    /// <summary>Which part of an image is used. Default <see cref="CropMode.Given"/>: the crop of the metadata where there is one, else the centre.</summary>
    public CropMode Crop { get; init; } = CropMode.Given;

    /// <summary>Whether each image is also used mirrored. Default false; wrong for subjects that are not symmetric.</summary>
    public bool Mirror { get; init; }

    /// <summary>How often each image is seen in an epoch; multiplies the repeats of a folder called <c>N_name</c>. Default 1.</summary>
    public int Repeats { get; init; } = 1;

    /// <summary>A word put at the head of every caption, by which the learnt subject is later called. Default none.</summary>
    public string? TriggerWord { get; init; }

    /// <summary>Whether images smaller than the resolution are enlarged. Default false: they are errors, as enlarged images teach blur.</summary>
    public bool AllowUpscaling { get; init; }

    /// <summary>Every fault of the options; empty when there is none.</summary>
    public IReadOnlyList<string> Validate()
    {
        var faults = new Faults();
        faults.Expect(ResolutionStep >= 8 && ResolutionStep % 8 == 0, nameof(ResolutionStep), ResolutionStep, "a multiple of 8, usually 64");
        faults.Expect(
            Resolution > 0 && (ResolutionStep <= 0 || Resolution % ResolutionStep == 0),
            nameof(Resolution),
            Resolution,
            $"a positive multiple of {ResolutionStep} (ResolutionStep), for example {Nearest(Resolution, ResolutionStep)}");
        faults.Defined(nameof(Crop), Crop);
        faults.Expect(Repeats >= 1, nameof(Repeats), Repeats, "1 or more");
        faults.Require(TriggerWord is null || CaptionTags.Fault(TriggerWord) is null, $"TriggerWord: {CaptionTags.Fault(TriggerWord)}, or null for none");
        return faults;
    }

    /// <summary>Throws when the options have faults.</summary>
    /// <exception cref="ArgumentException">Lists every fault.</exception>
    public void ThrowIfInvalid() => Faults.ThrowIfAny(Validate(), nameof(PreparationOptions));

    private static int Nearest(int resolution, int step) => Math.Max(1, (resolution + step / 2) / Math.Max(1, step)) * step;
}
