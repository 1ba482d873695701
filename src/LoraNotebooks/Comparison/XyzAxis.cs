using System.Globalization;
using LoraNotebooks.Diffusion;

namespace LoraNotebooks.Comparison;

/// <summary>What an axis of a grid varies, the costliest to change first.</summary>
public enum XyzAxisKind
{
    /// <summary>The LoRA file: a file is read and an adapter attached.</summary>
    Checkpoint,

    /// <summary>The factor on the LoRA's change of the weights: text embeddings change with it.</summary>
    LoraWeight,

    /// <summary>A part of the prompt that is replaced: the text is encoded again.</summary>
    PromptSearchReplace,

    /// <summary>Which layer of the text encoder is used: the text is encoded again.</summary>
    ClipSkip,

    /// <summary>The sampler.</summary>
    Sampler,

    /// <summary>How the sampler's noise levels are spaced.</summary>
    ScheduleType,

    /// <summary>The number of denoising steps.</summary>
    Steps,

    /// <summary>The classifier-free guidance scale.</summary>
    Guidance,

    /// <summary>The seed.</summary>
    Seed,
}

/// <summary>One axis of an <see cref="XyzGrid"/>: what varies and the values it takes.</summary>
/// <remarks>Each kind has a factory that takes values and one that takes them as text; the notation is that of <see cref="XyzValues"/>.</remarks>
public sealed class XyzAxis
{
    private const int UsualDecimals = 4;
    private const int ShortDecimals = 7;
    private const int MostDecimals = 15;

    private readonly Func<XyzSettings, int, XyzSettings> _apply;

    private XyzAxis(XyzAxisKind kind, string name, IReadOnlyList<string> labels, Func<XyzSettings, int, XyzSettings> apply)
    {
        if (labels.Count == 0)
        {
            throw new ArgumentException($"The axis '{name}' has no values; give at least one.");
        }

        Kind = kind;
        Name = name;
        Labels = labels;
        _apply = apply;
    }

    /// <summary>What varies.</summary>
    public XyzAxisKind Kind { get; }

    /// <summary>The axis' name as people read it.</summary>
    public string Name { get; }

    /// <summary>The value at each position as people read it.</summary>
    public IReadOnlyList<string> Labels { get; }

    /// <summary>The number of positions.</summary>
    public int Count => Labels.Count;

    /// <summary>For <see cref="XyzAxisKind.PromptSearchReplace"/> the texts, of which the first is searched; empty for the other kinds.</summary>
    public IReadOnlyList<string> Replacements { get; private init; } = [];

    /// <summary>LoRA weights, such as <c>"0-1 (+0.25)"</c>.</summary>
    public static XyzAxis LoraWeight(string values) => LoraWeight([.. XyzValues.ParseNumbers(values)]);

    /// <summary>LoRA weights.</summary>
    public static XyzAxis LoraWeight(params IReadOnlyList<double> values) =>
        new(XyzAxisKind.LoraWeight, "LoRA weight", Show(values), (settings, i) => settings with { LoraWeight = values[i] });

    /// <summary>LoRA files or folders, separated by commas.</summary>
    public static XyzAxis Checkpoint(string values) => Checkpoint(XyzValues.ParseTexts(values));

    /// <summary>LoRA files or folders; the shortest part of the path that tells them apart is the label.</summary>
    public static XyzAxis Checkpoint(params IReadOnlyList<string> paths) =>
        new(XyzAxisKind.Checkpoint, "checkpoint", ShortNames(paths), (settings, i) => settings with { Checkpoint = paths[i] });

    /// <summary>Texts separated by commas: the first is searched in the prompt and the negative prompt and stays at the first position; each other one takes its place.</summary>
    public static XyzAxis PromptSearchReplace(string values) => PromptSearchReplace(XyzValues.ParseTexts(values));

    /// <summary>Texts of which the first is searched; see <see cref="PromptSearchReplace(string)"/>.</summary>
    public static XyzAxis PromptSearchReplace(params IReadOnlyList<string> texts)
    {
        if (texts.Count > 0 && string.IsNullOrEmpty(texts[0]))
        {
            throw new ArgumentException("The first text of a search-and-replace axis is empty; it is what is searched in the prompt. Give a part of the prompt.", nameof(texts));
        }

        // XyzGrid replaces the texts of all such axes in one pass, so that one axis cannot hit what another has put in.
        return new(XyzAxisKind.PromptSearchReplace, "prompt", [.. texts], (settings, _) => settings) { Replacements = [.. texts] };
    }

    /// <summary>Seeds, such as <c>"1-4"</c>; each -1 is a random one.</summary>
    public static XyzAxis Seed(string values) => Seed([.. XyzValues.ParseIntegers(values)]);

    /// <summary>Seeds; each -1 (<see cref="XyzSettings.RandomSeed"/>) is a random one, drawn here once, so that labels and index name it.</summary>
    public static XyzAxis Seed(params IReadOnlyList<long> values)
    {
        var drawn = XyzSettings.Drawn(values);
        return new(XyzAxisKind.Seed, "seed", [.. drawn.Select(v => v.ToString(CultureInfo.InvariantCulture))], (settings, i) => settings with { Seed = drawn[i] });
    }

    /// <summary>Layers of the text encoder counted from the end, such as <c>"1-2"</c>; 1 is the last.</summary>
    public static XyzAxis ClipSkip(string values) => ClipSkip([.. XyzValues.ParseIntegers(values).Select(Whole)]);

    /// <summary>Layers of the text encoder counted from the end; 1 is the last.</summary>
    public static XyzAxis ClipSkip(params IReadOnlyList<int> values) =>
        new(XyzAxisKind.ClipSkip, "clip skip", [.. values.Select(v => v.ToString(CultureInfo.InvariantCulture))], (settings, i) => settings with { ClipSkip = values[i] });

    /// <summary>Numbers of denoising steps, such as <c>"5-20 (+5)"</c>.</summary>
    public static XyzAxis Steps(string values) => Steps([.. XyzValues.ParseIntegers(values).Select(Whole)]);

    /// <summary>Numbers of denoising steps.</summary>
    public static XyzAxis Steps(params IReadOnlyList<int> values) =>
        new(XyzAxisKind.Steps, "steps", [.. values.Select(v => v.ToString(CultureInfo.InvariantCulture))], (settings, i) => settings with { Steps = values[i] });

    /// <summary>Guidance scales, such as <c>"1-7 [4]"</c>.</summary>
    public static XyzAxis Guidance(string values) => Guidance([.. XyzValues.ParseNumbers(values)]);

    /// <summary>Guidance scales.</summary>
    public static XyzAxis Guidance(params IReadOnlyList<double> values) =>
        new(XyzAxisKind.Guidance, "guidance", Show(values), (settings, i) => settings with { Guidance = values[i] });

    /// <summary>Sampler names separated by commas, such as <c>"DDIM, Euler a, DPM++ 2M Karras"</c>, as <see cref="SamplerChoice.Parse"/> reads them.</summary>
    /// <exception cref="FormatException">A name that is none; the message lists those there are.</exception>
    public static XyzAxis Sampler(string values) => Sampler([.. XyzValues.ParseTexts(values).Select(SamplerChoice.Parse)]);

    /// <summary>Samplers.</summary>
    public static XyzAxis Sampler(params IReadOnlyList<SamplerKind> kinds) => Sampler([.. kinds.Select(kind => new SamplerChoice(kind))]);

    /// <summary>Samplers with the spacing of their noise levels; one without leaves it as it is.</summary>
    public static XyzAxis Sampler(params IReadOnlyList<SamplerChoice> samplers) => new(
        XyzAxisKind.Sampler,
        "sampler",
        [.. samplers.Select(sampler => sampler.ToString())],
        (settings, i) => settings with { Sampler = samplers[i].Kind, Spacing = samplers[i].Spacing ?? settings.Spacing });

    /// <summary>Spacings of the noise levels separated by commas, such as <c>"Normal, Karras"</c>.</summary>
    /// <exception cref="FormatException">A name that is none; the message lists those there are.</exception>
    public static XyzAxis ScheduleType(string values) => ScheduleType([.. XyzValues.ParseTexts(values).Select(SamplerChoice.ParseSpacing)]);

    /// <summary>Spacings of the noise levels; they make no difference to samplers that have none.</summary>
    public static XyzAxis ScheduleType(params IReadOnlyList<SigmaSpacing> spacings) =>
        new(XyzAxisKind.ScheduleType, "schedule type", [.. spacings.Select(SamplerChoice.NameOf)], (settings, i) => settings with { Spacing = spacings[i] });

    /// <summary>Name and values in a line.</summary>
    public override string ToString() => $"{Name}: {string.Join(", ", Labels)}";

    /// <summary>The settings at a position.</summary>
    internal XyzSettings Apply(XyzSettings settings, int position) => _apply(settings, position);

    private static int Whole(long value) => value is >= int.MinValue and <= int.MaxValue
        ? (int)value
        : throw new FormatException($"Got the value {value}, expected at most {int.MaxValue}.");

    /// <summary>
    /// Numbers with four decimals, or all of them where these are few; more where four make different numbers look the same, or one look like nothing.
    /// </summary>
    private static IReadOnlyList<string> Show(IReadOnlyList<double> values)
    {
        var distinct = values.Distinct().Count();
        for (var decimals = UsualDecimals; decimals <= MostDecimals; decimals++)
        {
            string[] labels = [.. values.Select(value => Show(value, decimals))];
            if (labels.Distinct().Count() >= distinct && labels.Zip(values).All(static pair => pair.Second == 0 || pair.First is not ("0" or "-0")))
            {
                return labels;
            }
        }

        return [.. values.Select(static value => value.ToString(CultureInfo.InvariantCulture))];
    }

    private static string Show(double value, int decimals)
    {
        var all = value.ToString("0." + new string('#', ShortDecimals), CultureInfo.InvariantCulture);
        return double.Parse(all, CultureInfo.InvariantCulture) == value ? all : value.ToString("0." + new string('#', decimals), CultureInfo.InvariantCulture);
    }

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
