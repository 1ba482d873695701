namespace LoraNotebooks.Diffusion;

/// <summary>A sampler as people name it: "DPM++ 2M Karras" is a kind and a spacing of its noise levels.</summary>
/// <param name="Kind">The sampler.</param>
/// <param name="Spacing">How its noise levels are spaced; <see langword="null"/> leaves it to the model.</param>
public readonly record struct SamplerChoice(SamplerKind Kind, SigmaSpacing? Spacing = null)
{
    // WebUI's name first; then those of ComfyUI and kohya where they are others.
    private static readonly (SamplerKind Kind, string[] Names)[] Known =
    [
        (SamplerKind.DpmPlusPlus2M, ["DPM++ 2M", "dpmsolver++"]),
        (SamplerKind.DpmPlusPlus2MSde, ["DPM++ 2M SDE"]),
        (SamplerKind.DpmPlusPlus3MSde, ["DPM++ 3M SDE"]),
        (SamplerKind.DpmPlusPlusSde, ["DPM++ SDE"]),
        (SamplerKind.DpmPlusPlus2SAncestral, ["DPM++ 2S a", "dpmpp_2s_ancestral"]),
        (SamplerKind.Dpm2, ["DPM2", "k_dpm_2"]),
        (SamplerKind.Dpm2Ancestral, ["DPM2 a", "k_dpm_2_a", "dpm_2_ancestral"]),
        (SamplerKind.EulerAncestral, ["Euler a", "k_euler_a", "euler_ancestral"]),
        (SamplerKind.Euler, ["Euler", "k_euler"]),
        (SamplerKind.Heun, ["Heun", "k_heun"]),
        (SamplerKind.Lms, ["LMS", "k_lms"]),
        (SamplerKind.UniPc, ["UniPC"]),
        (SamplerKind.Ddim, ["DDIM"]),
        (SamplerKind.Ddpm, ["DDPM"]),
        (SamplerKind.Pndm, ["PLMS", "PNDM"]),
    ];

    private static readonly (SigmaSpacing Spacing, string[] Names)[] Spacings =
    [
        (SigmaSpacing.Timesteps, ["Normal", "Uniform"]),
        (SigmaSpacing.Karras, ["Karras"]),
        (SigmaSpacing.Exponential, ["Exponential"]),
    ];

    /// <summary>
    /// The names of all samplers, as WebUI writes them; each that walks along noise levels can be followed by one of <see cref="SpacingNames"/>.
    /// </summary>
    public static IReadOnlyList<string> Names { get; } = [.. Known.Select(entry => entry.Names[0])];

    /// <summary>The names of all spacings.</summary>
    public static IReadOnlyList<string> SpacingNames { get; } = [.. Spacings.Select(entry => entry.Names[0])];

    /// <summary>
    /// Reads a name such as <c>"DPM++ 2M Karras"</c>, <c>"Euler a"</c>, <c>"dpmpp_2m_sde"</c> or <c>"UniPC"</c>; case, blanks and underscores make no
    /// difference.
    /// </summary>
    /// <param name="name">The name.</param>
    /// <exception cref="FormatException">There is no such sampler; the message lists those there are.</exception>
    public static SamplerChoice Parse(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        var key = Key(name);
        foreach (var (kind, names) in Known)
        {
            foreach (var known in names.Append(kind.ToString()).Select(Key).Where(known => key.StartsWith(known, StringComparison.Ordinal)))
            {
                if (key.Length == known.Length)
                {
                    return new SamplerChoice(kind);
                }

                if (HasLevels(kind) && SpacingOf(key[known.Length..]) is { } spacing)
                {
                    return new SamplerChoice(kind, spacing);
                }
            }
        }

        throw new FormatException(
            $"Got the sampler '{name}'; there are {string.Join(", ", Names)}, "
            + $"and all but DDIM, DDPM and PLMS also with {string.Join(", ", SpacingNames)} after the name.");
    }

    /// <summary>Reads the name of a spacing, such as <c>"Karras"</c>.</summary>
    /// <param name="name">The name.</param>
    /// <exception cref="FormatException">There is none; the message lists those there are.</exception>
    public static SigmaSpacing ParseSpacing(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        return SpacingOf(Key(name)) ?? throw new FormatException($"Got the schedule type '{name}'; there are {string.Join(", ", SpacingNames)}.");
    }

    /// <summary>The name of a spacing.</summary>
    /// <param name="spacing">The spacing.</param>
    public static string NameOf(SigmaSpacing spacing) => Array.Find(Spacings, entry => entry.Spacing == spacing).Names[0];

    /// <summary>The name that <see cref="Parse"/> reads.</summary>
    public override string ToString()
    {
        var kind = Kind;
        var name = Array.Find(Known, entry => entry.Kind == kind).Names[0];
        return Spacing is { } spacing ? $"{name} {NameOf(spacing)}" : name;
    }

    /// <summary>Whether a sampler walks along noise levels, which can be spaced, rather than along timesteps.</summary>
    internal static bool HasLevels(SamplerKind kind) => kind is not (SamplerKind.Ddim or SamplerKind.Ddpm or SamplerKind.Pndm);

    private static SigmaSpacing? SpacingOf(string key)
    {
        foreach (var (spacing, names) in Spacings)
        {
            if (names.Append(spacing.ToString()).Select(Key).Contains(key))
            {
                return spacing;
            }
        }

        return null;
    }

    private static string Key(string name) => string.Concat(name.Replace('+', 'p').Where(char.IsLetterOrDigit)).ToLowerInvariant();
}
