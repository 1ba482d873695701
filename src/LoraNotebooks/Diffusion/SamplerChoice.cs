namespace LoraNotebooks.Diffusion;

/// <summary>A sampler as people name it: "DPM++ 2M Karras" is a kind and a spacing of its noise levels.</summary>
/// <param name="Kind">The sampler.</param>
/// <param name="Spacing">How its noise levels are spaced; <see langword="null"/> leaves it to the model.</param>
public sealed record SamplerChoice(SamplerKind Kind, SigmaSpacing? Spacing = null)
{
    private static readonly (SigmaSpacing Spacing, string[] Names)[] Spacings =
    [
        (SigmaSpacing.Timesteps, ["Normal", "Uniform"]),
        (SigmaSpacing.Karras, ["Karras"]),
        (SigmaSpacing.Exponential, ["Exponential"]),
    ];

    /// <summary>
    /// The names of all samplers, as WebUI writes them where it has them; each that walks along noise levels can be followed by one of
    /// <see cref="SpacingNames"/>.
    /// </summary>
    public static IReadOnlyList<string> Names => [.. SamplerKind.All.Select(static kind => kind.Declaration.Title)];

    /// <summary>The names of all spacings.</summary>
    public static IReadOnlyList<string> SpacingNames { get; } = [.. Spacings.Select(entry => entry.Names[0])];

    /// <summary>
    /// Reads a name such as <c>"DPM++ 2M Karras"</c>, <c>"Euler a"</c>, <c>"dpmpp_2m_sde"</c> or <c>"UniPC"</c>; case, blanks and underscores make no
    /// difference.
    /// </summary>
    /// <remarks>Samplers of your own are read, too, once <see cref="SamplerKind.Register"/> has made them known.</remarks>
    /// <param name="name">The name.</param>
    /// <exception cref="FormatException">There is no such sampler; the message lists those there are.</exception>
    public static SamplerChoice Parse(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        var timed = SamplerKind.All.Select(static kind => kind.Declaration).Where(static kind => !kind.HasLevels).Select(static kind => kind.Title);
        return Find(name) ?? throw new FormatException(
            $"Got the sampler '{name}'; there are {string.Join(", ", Names)}, and all but {string.Join(", ", timed)} also with "
            + $"{string.Join(", ", SpacingNames)} after the name.");
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
    public override string ToString() => Spacing is { } spacing ? $"{Kind.Declaration.Title} {NameOf(spacing)}" : Kind.Declaration.Title;

    /// <summary>As <see cref="Parse"/>; <see langword="null"/> if there is no such sampler.</summary>
    internal static SamplerChoice? Find(string name)
    {
        var key = Key(name);
        var known = SamplerKind.All.SelectMany(static kind => kind.Declaration.Names.Select(text => (Kind: kind, Key: Key(text)))).ToList();
        if (known.Find(entry => entry.Key == key).Kind is { } kind)
        {
            return new SamplerChoice(kind);
        }

        return known.Where(entry => entry.Kind.Declaration.HasLevels && key.StartsWith(entry.Key, StringComparison.Ordinal))
            .Select(entry => SpacingOf(key[entry.Key.Length..]) is { } spacing ? new SamplerChoice(entry.Kind, spacing) : null)
            .FirstOrDefault(static choice => choice is not null);
    }

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
