using System.Text.Json.Serialization;

namespace LoraNotebooks.Diffusion;

/// <summary>The settings of one text-to-image run: what decides a picture, and how many there are; the next images have the next seeds.</summary>
public sealed record GenerationOptions : ImageOptions
{
    /// <summary>A run with every default.</summary>
    public GenerationOptions()
    {
    }

    /// <summary>A run that draws one picture.</summary>
    internal GenerationOptions(ImageOptions picture)
        : base(picture)
    {
    }

    /// <summary>The number of images. Default 1.</summary>
    [JsonPropertyOrder(1)]
    public int Count { get; init; } = 1;

    /// <summary>How many images are computed at once at most. Default 4; it changes time and memory, not the images.</summary>
    [JsonPropertyOrder(1)]
    public int BatchSize { get; init; } = 4;

    /// <summary>Every fault of the settings, each with what was got and what is expected; empty when there is none.</summary>
    public IReadOnlyList<string> Validate()
    {
        var faults = CheckPicture();
        faults.Expect(double.IsFinite(Guidance), nameof(Guidance), Guidance, "a finite number; 1 is no guidance, 3 to 12 are usual");
        faults.Positive(nameof(Count), Count);
        faults.Positive(nameof(BatchSize), BatchSize);
        return faults;
    }

    /// <summary>Throws when the settings have faults.</summary>
    /// <exception cref="ArgumentException">Lists every fault.</exception>
    public void ThrowIfInvalid() => Faults.ThrowIfAny(Validate());
}
