using LoraNotebooks.Diffusion;
using LoraNotebooks.Models.Language;

namespace LoraNotebooks.Comparison;

/// <summary>Everything that decides one image of a grid. The axes change copies of it.</summary>
public sealed record XyzSettings
{
    /// <summary>What to paint.</summary>
    public required string Prompt { get; init; }

    /// <summary>What to keep away from; default nothing.</summary>
    public string NegativePrompt { get; init; } = "";

    /// <summary>The seed that stands for a random one, as in WebUI: a grid draws it once, for all its cells, and its index names what was drawn.</summary>
    public const long RandomSeed = -1;

    /// <summary>The seed of the initial noise; default 0.</summary>
    public long Seed { get; init; }

    /// <summary>Denoising steps; default 20.</summary>
    public int Steps { get; init; } = 20;

    /// <summary>Classifier-free guidance scale (Ho and Salimans 2022, with 1 meaning none); default 3, which suits the embedded base. Stable Diffusion is mostly run at 7.</summary>
    public double Guidance { get; init; } = 3;

    /// <summary>The sampler; default <see langword="null"/>: the model's own.</summary>
    public SamplerKind? Sampler { get; init; }

    /// <summary>How the sampler's noise levels are spaced; default <see langword="null"/>: as the model's own.</summary>
    public SigmaSpacing? Spacing { get; init; }

    /// <summary>η of DDIM, 0 (default, deterministic) to 1; other samplers have none.</summary>
    public double Eta { get; init; }

    /// <summary>Which hidden states of the text encoder are used; default 1, the last layer's.</summary>
    public int ClipSkip { get; init; } = 1;

    /// <summary>How long prompts may be and what brackets in them mean. Default one chunk of 75 tokens, and nothing.</summary>
    public PromptReading Reading { get; init; } = new();

    /// <summary>The LoRA file or folder; default <see langword="null"/>: the one that the renderer was made with, if any.</summary>
    public string? Checkpoint { get; init; }

    /// <summary>The factor on the LoRA's change of the weights; default 1. At 0 the base model paints alone.</summary>
    public double LoraWeight { get; init; } = 1;

    /// <summary>Image width in pixels; default <see langword="null"/>: the model's own.</summary>
    public int? Width { get; init; }

    /// <summary>Image height in pixels; default <see langword="null"/>: the model's own.</summary>
    public int? Height { get; init; }

    /// <summary>Every fault of the settings, each with what was got and what is expected; empty if there is none.</summary>
    public IReadOnlyList<string> Validate()
    {
        var faults = new List<string>();
        if (Prompt is null)
        {
            faults.Add("The prompt is missing (null); give a text, which may be empty.");
        }

        if (Steps < 1)
        {
            faults.Add($"Steps is {Steps}; give 1 or more, such as 20.");
        }

        if (!(Guidance >= 0 && double.IsFinite(Guidance)))
        {
            faults.Add($"Guidance is {Guidance}; give a number of at least 0, such as 3.");
        }

        if (ClipSkip < 1)
        {
            faults.Add($"Clip skip is {ClipSkip}; give 1 (the last layer) or more.");
        }

        if (Eta is not (>= 0 and <= 1))
        {
            faults.Add($"Eta is {Eta}; give 0 (deterministic) to 1.");
        }

        faults.AddRange(Reading.Validate().Select(static fault => $"Reading.{fault}"));
        if (!double.IsFinite(LoraWeight))
        {
            faults.Add($"The LoRA weight is {LoraWeight}; give a number, such as 0.8.");
        }

        return faults;
    }

    /// <summary>Seeds with random ones drawn, each another, from 0 to 2³²−1 as in WebUI.</summary>
    internal static IReadOnlyList<long> Drawn(IReadOnlyList<long> seeds)
    {
        var taken = seeds.ToHashSet();
        return [.. seeds.Select(seed => seed == RandomSeed ? Draw() : seed)];

        long Draw()
        {
            long drawn;
            do
            {
                drawn = Random.Shared.NextInt64(1L << 32);
            }
            while (!taken.Add(drawn));
            return drawn;
        }
    }

    /// <summary>
    /// The settings with what makes no difference left out, so that two cells with the same picture are recognised:
    /// at weight 0 it does not matter which LoRA is loaded, a sampler without noise levels does not space them, and only DDIM has an η.
    /// </summary>
    internal XyzSettings Canonical() => this with
    {
        Checkpoint = LoraWeight == 0 ? null : Checkpoint,
        Spacing = Sampler is { } kind && !SamplerChoice.HasLevels(kind) ? null : Spacing,
        Eta = Sampler is null or SamplerKind.Ddim ? Eta : 0,
    };
}
