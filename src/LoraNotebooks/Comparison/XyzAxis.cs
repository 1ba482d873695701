using System.Globalization;

namespace LoraNotebooks.Comparison;

/// <summary>
/// Marks on the scale of what another value of an axis costs. Numbers between them are as good: they decide which of two axes is the outer loop.
/// </summary>
public static class XyzCost
{
    /// <summary>The image is sampled again, and no more.</summary>
    public const int Sampling = 0;

    /// <summary>The text is encoded again.</summary>
    public const int Text = 100;

    /// <summary>The LoRA's share of the weights changes, and text embeddings with it.</summary>
    public const int Weights = 200;

    /// <summary>A file is read and an adapter attached.</summary>
    public const int File = 300;
}

/// <summary>One axis of an <see cref="XyzGrid"/>: what varies and the values it takes.</summary>
/// <remarks>
/// <see cref="Of"/> makes an axis of your own. Each that is there already has a factory that takes values and one that takes them as text in the notation
/// of <see cref="XyzValues"/>.
/// </remarks>
public sealed partial class XyzAxis
{
    private const int UsualDecimals = 4;
    private const int ShortDecimals = 7;
    private const int MostDecimals = 15;

    private readonly Func<XyzSettings, int, XyzSettings> _apply;

    private XyzAxis(string name, IReadOnlyList<string> labels, Func<XyzSettings, int, XyzSettings> apply, int cost)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(name);
        if (labels.Count == 0)
        {
            throw new ArgumentException($"The axis '{name}' has no values; give at least one.");
        }

        Name = name;
        Labels = labels;
        Cost = cost;
        _apply = apply;
    }

    /// <summary>What varies, as people read it. A grid has one axis of a name, but any number that replace texts.</summary>
    public string Name { get; }

    /// <summary>The value at each position as people read it.</summary>
    public IReadOnlyList<string> Labels { get; }

    /// <summary>
    /// What another value costs, on the scale of <see cref="XyzCost"/>: the costliest axis of a grid is the outermost loop, of equals the later place.
    /// </summary>
    public int Cost { get; }

    /// <summary>The number of positions.</summary>
    public int Count => Labels.Count;

    /// <summary>Of <see cref="PromptSearchReplace(string)"/> the texts, of which the first is searched; empty for other axes.</summary>
    public IReadOnlyList<string> Replacements { get; private set; } = [];

    /// <summary>The name of an axis that this one's values settle, too, so that a grid cannot have both; by default none.</summary>
    internal string? AlsoSettles { get; private set; }

    /// <summary>An axis: a name, values, and what a value changes. Labels, files, index, displays and the order of painting follow.</summary>
    /// <typeparam name="T">The values' type.</typeparam>
    /// <param name="name">What varies, as people read it.</param>
    /// <param name="values">The value at each position; <see cref="XyzValues"/> reads text such as <c>"0-1 (+0.25)"</c>.</param>
    /// <param name="change">The settings with a value. Of a grid's axes X changes them first, then Y, then Z.</param>
    /// <param name="cost">What another value costs; default <see cref="XyzCost.Sampling"/>.</param>
    /// <param name="label">A value as people read it; by default numbers with as many digits as tell them apart, others as their text.</param>
    /// <exception cref="ArgumentException">The name is blank, or there are no values.</exception>
    /// <example><code>
    /// var eta = XyzAxis.Of("eta", XyzValues.ParseNumbers("0-1 (+0.5)"), (settings, value) => settings with { Eta = value });
    /// </code></example>
    public static XyzAxis Of<T>(
        string name, IReadOnlyList<T> values, Func<XyzSettings, T, XyzSettings> change, int cost = XyzCost.Sampling, Func<T, string>? label = null)
    {
        ArgumentNullException.ThrowIfNull(values);
        ArgumentNullException.ThrowIfNull(change);
        T[] all = [.. values];
        IReadOnlyList<string> labels = label is null && (object)all is double[] numbers
            ? Show(numbers)
            : [.. all.Select(label ?? (static value => Convert.ToString(value, CultureInfo.InvariantCulture)!))];
        return new(name, labels, (settings, i) => change(settings, all[i]), cost);
    }

    /// <summary>Name and values in a line.</summary>
    public override string ToString() => $"{Name}: {string.Join(", ", Labels)}";

    /// <summary>The settings at a position.</summary>
    internal XyzSettings Apply(XyzSettings settings, int position) => _apply(settings, position);

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
}
