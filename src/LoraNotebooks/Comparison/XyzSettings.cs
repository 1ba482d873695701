using System.Text.Json.Serialization;
using LoraNotebooks.Diffusion;

namespace LoraNotebooks.Comparison;

/// <summary>Everything that decides one image of a grid: what decides any picture, and the LoRA. The axes change copies of it.</summary>
public sealed record XyzSettings : ImageOptions
{
    /// <summary>The seed that stands for a random one, as in WebUI: a grid draws it once, for all its cells, and its index names what was drawn.</summary>
    public const long RandomSeed = -1;

    /// <summary>Settings with a <see cref="ImageOptions.Guidance"/> of 3, which suits the embedded base. Stable Diffusion is mostly run at 7.</summary>
    public XyzSettings() => Guidance = 3;

    /// <summary>What to paint.</summary>
    public override required string Prompt { get => base.Prompt; init => base.Prompt = value; }

    /// <summary>The LoRA file or folder; default <see langword="null"/>: the one that the renderer was made with, if any.</summary>
    [JsonPropertyOrder(1)]
    public string? Checkpoint { get; init; }

    /// <summary>The factor on the LoRA's change of the weights; default 1. At 0 the base model paints alone.</summary>
    [JsonPropertyOrder(1)]
    public double LoraWeight { get; init; } = 1;

    /// <summary>Every fault of the settings, each with what was got and what is expected; empty if there is none.</summary>
    public IReadOnlyList<string> Validate()
    {
        var faults = CheckPicture();
        faults.Require(Prompt is not null, $"{nameof(Prompt)}: got null, expected a text, which may be empty");
        faults.NotNegative(nameof(Guidance), Guidance);
        faults.Expect(double.IsFinite(LoraWeight), nameof(LoraWeight), LoraWeight, "a finite number, such as 0.8");
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
    /// at weight 0 it does not matter which LoRA is loaded, a sampler without noise levels does not space them, and only some have an η.
    /// </summary>
    internal XyzSettings Canonical() => this with
    {
        Checkpoint = LoraWeight == 0 ? null : Checkpoint,
        Spacing = Sampler?.Declaration.HasLevels == false ? null : Spacing,
        Eta = Sampler?.Declaration.UsesEta == false ? 0 : Eta,
    };
}
