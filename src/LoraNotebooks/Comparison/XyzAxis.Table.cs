using LoraNotebooks.Diffusion;

namespace LoraNotebooks.Comparison;

/// <content>
/// The axes there are, the costliest first: each is declared here and nowhere else. What costs the same has an order nevertheless, in which grids of it are
/// painted.
/// </content>
public sealed partial class XyzAxis
{
    /// <summary>LoRA files or folders; the shortest part of the path that tells them apart is the label.</summary>
    public static XyzAxis Checkpoint(params IReadOnlyList<string> paths) => Of<(string Path, string Label)>(
        "checkpoint",
        [.. paths.Zip(ShortNames(paths))],
        static (settings, file) => settings with { Checkpoint = file.Path },
        XyzCost.File,
        static file => file.Label);

    /// <summary>LoRA files or folders, separated by commas.</summary>
    public static XyzAxis Checkpoint(string values) => Checkpoint(XyzValues.ParseTexts(values));

    /// <summary>LoRA weights.</summary>
    public static XyzAxis LoraWeight(params IReadOnlyList<double> values) =>
        Of("LoRA weight", values, static (settings, weight) => settings with { LoraWeight = weight }, XyzCost.Weights);

    /// <summary>LoRA weights, such as <c>"0-1 (+0.25)"</c>.</summary>
    public static XyzAxis LoraWeight(string values) => LoraWeight(XyzValues.ParseNumbers(values));

    /// <summary>Texts of which the first is searched; see <see cref="PromptSearchReplace(string)"/>.</summary>
    public static XyzAxis PromptSearchReplace(params IReadOnlyList<string> texts)
    {
        if (texts.Count > 0 && string.IsNullOrEmpty(texts[0]))
        {
            throw new ArgumentException(
                "The first text of a search-and-replace axis is empty; it is what is searched in the prompt. Give a part of the prompt.",
                nameof(texts));
        }

        // XyzGrid replaces the texts of all such axes in one pass, so that one axis cannot hit what another has put in.
        var axis = Of("prompt", texts, static (settings, _) => settings, XyzCost.Text + 1);
        axis.Replacements = axis.Labels;
        return axis;
    }

    /// <summary>
    /// Texts separated by commas: the first is searched in the prompt and the negative prompt and stays at the first position; each other one takes its place.
    /// </summary>
    public static XyzAxis PromptSearchReplace(string values) => PromptSearchReplace(XyzValues.ParseTexts(values));

    /// <summary>Layers of the text encoder counted from the end; 1 is the last.</summary>
    public static XyzAxis ClipSkip(params IReadOnlyList<int> values) =>
        Of("clip skip", values, static (settings, layer) => settings with { ClipSkip = layer }, XyzCost.Text);

    /// <summary>Layers of the text encoder counted from the end, such as <c>"1-2"</c>; 1 is the last.</summary>
    public static XyzAxis ClipSkip(string values) => ClipSkip(Wholes(values));

    /// <summary>Samplers with the spacing of their noise levels; one without leaves it as it is.</summary>
    public static XyzAxis Sampler(params IReadOnlyList<SamplerChoice> samplers)
    {
        var axis = Of(
            "sampler",
            samplers,
            static (settings, sampler) => settings with { Sampler = sampler.Kind, Spacing = sampler.Spacing ?? settings.Spacing },
            XyzCost.Sampling + 4);
        axis.AlsoSettles = samplers.Any(static sampler => sampler.Spacing is not null) ? "schedule type" : null;
        return axis;
    }

    /// <summary>Samplers.</summary>
    public static XyzAxis Sampler(params IReadOnlyList<SamplerKind> kinds) => Sampler([.. kinds.Select(static kind => new SamplerChoice(kind))]);

    /// <summary>Sampler names separated by commas, such as <c>"DDIM, Euler a, DPM++ 2M Karras"</c>, as <see cref="SamplerChoice.Parse"/> reads them.</summary>
    /// <exception cref="FormatException">A name that is none; the message lists those there are.</exception>
    public static XyzAxis Sampler(string values) => Sampler([.. XyzValues.ParseTexts(values).Select(SamplerChoice.Parse)]);

    /// <summary>Spacings of the noise levels; they make no difference to samplers that have none.</summary>
    public static XyzAxis ScheduleType(params IReadOnlyList<SigmaSpacing> spacings) =>
        Of("schedule type", spacings, static (settings, spacing) => settings with { Spacing = spacing }, XyzCost.Sampling + 3, SamplerChoice.NameOf);

    /// <summary>Spacings of the noise levels separated by commas, such as <c>"Normal, Karras"</c>.</summary>
    /// <exception cref="FormatException">A name that is none; the message lists those there are.</exception>
    public static XyzAxis ScheduleType(string values) => ScheduleType([.. XyzValues.ParseTexts(values).Select(SamplerChoice.ParseSpacing)]);

    /// <summary>Numbers of denoising steps.</summary>
    public static XyzAxis Steps(params IReadOnlyList<int> values) =>
        Of("steps", values, static (settings, steps) => settings with { Steps = steps }, XyzCost.Sampling + 2);

    /// <summary>Numbers of denoising steps, such as <c>"5-20 (+5)"</c>.</summary>
    public static XyzAxis Steps(string values) => Steps(Wholes(values));

    /// <summary>Guidance scales.</summary>
    public static XyzAxis Guidance(params IReadOnlyList<double> values) =>
        Of("guidance", values, static (settings, guidance) => settings with { Guidance = guidance }, XyzCost.Sampling + 1);

    /// <summary>Guidance scales, such as <c>"1-7 [4]"</c>.</summary>
    public static XyzAxis Guidance(string values) => Guidance(XyzValues.ParseNumbers(values));

    /// <summary>Seeds; each -1 (<see cref="XyzSettings.RandomSeed"/>) is a random one, drawn here once, so that labels and index name it.</summary>
    public static XyzAxis Seed(params IReadOnlyList<long> values) =>
        Of("seed", XyzSettings.Drawn(values), static (settings, seed) => settings with { Seed = seed });

    /// <summary>Seeds, such as <c>"1-4"</c>; each -1 is a random one.</summary>
    public static XyzAxis Seed(string values) => Seed(XyzValues.ParseIntegers(values));

    private static IReadOnlyList<int> Wholes(string values) =>
        [.. XyzValues.ParseIntegers(values).Select(static value => value is >= int.MinValue and <= int.MaxValue
            ? (int)value
            : throw new FormatException($"Got the value {value}, expected at most {int.MaxValue}."))];

    // epoch-05 rather than /runs/mika/epoch-05.safetensors; with folders in front as far as needed to tell two apart.
    private static IReadOnlyList<string> ShortNames(IReadOnlyList<string> paths)
    {
        string[][] parts = [.. paths.Select(path => Path.TrimEndingDirectorySeparator(path ?? "").Split('/', '\\'))];
        var depth = 1;
        string[] names;
        do
        {
            names = [.. parts.Select(p => WithoutExtension(string.Join('/', p[Math.Max(0, p.Length - depth)..])))];
            depth++;
        }
        while (names.Distinct().Count() < paths.Distinct().Count() && depth <= parts.Max(p => p.Length));

        // A folder and a file may differ in the ending alone.
        return names.Distinct().Count() < paths.Distinct().Count() ? [.. paths] : names;
    }

    private static string WithoutExtension(string name) =>
        name.EndsWith(".safetensors", StringComparison.OrdinalIgnoreCase) ? name[..^".safetensors".Length] : name;
}
