using LoraNotebooks.Diffusion;

namespace LoraNotebooks.Training.Diffusion;

/// <summary>Which images of the class a base model draws to be kept from forgetting it.</summary>
public sealed record RegularizationOptions
{
    /// <summary>The class in words, without the subject's trigger, e.g. "portrait, long hair"; they take turns and become the captions. One or more.</summary>
    public required IReadOnlyList<string> Prompts { get; init; }

    /// <summary>The number of images in all. Default 100; more than the training images with their repeats are never seen.</summary>
    public int Count { get; init; } = 100;

    /// <summary>How they are drawn: size, seed of the first, steps, guidance, …; its prompt and count are not used. Default as for any picture.</summary>
    public GenerationOptions Generation { get; init; } = new();

    /// <summary>Every fault of these settings: what was got, what is expected. Empty if there is none.</summary>
    public IReadOnlyList<string> Validate()
    {
        var faults = new Faults();
        faults.Require(
            Prompts.Count > 0 && Prompts.All(prompt => prompt.AsSpan().IndexOfAny("\r\n\0") < 0),
            $"Prompts: got {Prompts.Count} with {Prompts.Count(prompt => prompt.AsSpan().IndexOfAny("\r\n\0") >= 0)} "
                + "of several lines, expected one or more of one line each");
        faults.Positive(nameof(Count), Count);
        faults.Within(nameof(Generation), Generation.Validate());
        return faults;
    }

    /// <summary>Throws if there are faults.</summary>
    /// <exception cref="ArgumentException">There are; the message lists them all.</exception>
    public void ThrowIfInvalid() => Faults.ThrowIfAny(Validate());
}
