using System.Collections;
using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using System.Text.RegularExpressions;

namespace LoraNotebooks.Adapters;

/// <summary>
/// Which modules of a model are meant: by names, by one regular expression, or every linear layer.
/// Written as <c>["to_q", "to_v"]</c>, as <c>ModuleSelection.Regex("…")</c> or as <see cref="AllLinear"/>.
/// </summary>
/// <remarks>Source: huggingface/peft, tuners/tuners_utils.py, <c>check_target_module_exists</c>.</remarks>
[CollectionBuilder(typeof(ModuleSelection), nameof(Names))]
public sealed class ModuleSelection : IEnumerable<string>, IEquatable<ModuleSelection>
{
    /// <summary>PEFT's word for "every linear layer".</summary>
    internal const string AllLinearWord = "all-linear";

    private const int RememberedExpressions = 10_000;

    /// <summary>Paths are short: an expression that takes longer on one never ends in practice.</summary>
    private static readonly TimeSpan LongestMatch = TimeSpan.FromSeconds(0.25);

    private static readonly ConcurrentDictionary<string, (Regex?, string?)> Compiled = new(StringComparer.Ordinal);

    private readonly string[] _entries;
    private readonly Regex? _expression;

    private ModuleSelection(string[] entries, bool isRegex, bool isAllLinear)
    {
        _entries = entries;
        IsRegex = isRegex;
        IsAllLinear = isAllLinear;
        if (isRegex)
        {
            (_expression, Fault) = Compile($"^(?:{entries[0]})$");
        }
    }

    /// <summary>
    /// Every linear layer of the model, but no convolution, no embedding and no head that the model names (<see cref="Tensors.ILayerRoles"/>). Name
    /// one that it does not under the excluded modules.
    /// </summary>
    public static ModuleSelection AllLinear { get; } = new([AllLinearWord], isRegex: false, isAllLinear: true);

    /// <summary>Whether this is <see cref="AllLinear"/>.</summary>
    public bool IsAllLinear { get; }

    /// <summary>Whether this is one regular expression.</summary>
    public bool IsRegex { get; }

    /// <summary>What is wrong with the regular expression, or <see langword="null"/>.</summary>
    internal string? Fault { get; }

    /// <summary>Modules by name: a name stands for every module whose path is it or ends in it, at a dot ("attn1.to_q" for "….attn1.to_q").</summary>
    /// <param name="names">The names.</param>
    public static ModuleSelection Names(ReadOnlySpan<string> names) => new(names.ToArray(), isRegex: false, isAllLinear: false);

    /// <summary>The modules whose whole path a regular expression matches.</summary>
    /// <param name="pattern">The expression; it need not be anchored.</param>
    public static ModuleSelection Regex(string pattern) => new([pattern], isRegex: true, isAllLinear: false);

    /// <summary>Whether a module is meant; for <see cref="AllLinear"/> every path is, the module's kind decides.</summary>
    /// <param name="path">The module's path, e.g. "mid_block.attentions.0.proj_in".</param>
    public bool Matches(string path) => IsAllLinear || (_expression is null ? _entries.Any(name => Matches(name, path)) : IsMatch(_expression, path));

    /// <summary>The entries (names, or the expression) that mean none of the given modules.</summary>
    /// <param name="paths">The paths of modules.</param>
    internal IReadOnlyList<string> Unmatched(IReadOnlyCollection<string> paths) => IsRegex || IsAllLinear
        ? (paths.Any(Matches) ? [] : _entries)
        : [.. _entries.Where(name => !paths.Any(path => Matches(name, path)))];

    /// <inheritdoc/>
    public IEnumerator<string> GetEnumerator() => ((IEnumerable<string>)_entries).GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

    /// <inheritdoc/>
    public bool Equals(ModuleSelection? other) =>
        other is not null && IsRegex == other.IsRegex && IsAllLinear == other.IsAllLinear && _entries.SequenceEqual(other._entries);

    /// <inheritdoc/>
    public override bool Equals(object? obj) => Equals(obj as ModuleSelection);

    /// <inheritdoc/>
    public override int GetHashCode() => _entries.Aggregate(HashCode.Combine(IsRegex, IsAllLinear), HashCode.Combine);

    /// <inheritdoc/>
    public override string ToString() => string.Join(", ", _entries);

    /// <summary>Compiles an expression, or says what is wrong with it. Remembered, as one configuration asks for the same ones module by module.</summary>
    internal static (Regex? Expression, string? Fault) Compile(string pattern)
    {
        if (Compiled.Count >= RememberedExpressions)
        {
            Compiled.Clear();
        }

        return Compiled.GetOrAdd(pattern, static text =>
        {
            try
            {
                return (new Regex(text, RegexOptions.CultureInvariant, LongestMatch), null);
            }
            catch (ArgumentException error)
            {
                return (null, error.Message);
            }
        });
    }

    /// <summary>Whether an expression matches somewhere in a path.</summary>
    /// <exception cref="ArgumentException">It takes too long, as nested repetitions do.</exception>
    internal static bool IsMatch(Regex expression, string path)
    {
        try
        {
            return expression.IsMatch(path);
        }
        catch (RegexMatchTimeoutException error)
        {
            throw new ArgumentException(
                $"The expression '{expression}' takes too long on '{path}', expected one without repetitions inside repetitions. Write it simpler.",
                error);
        }
    }

    /// <summary>Whether a path is a name or ends in it, at a dot.</summary>
    internal static bool Matches(string name, string path) =>
        path.EndsWith(name, StringComparison.Ordinal) && (path.Length == name.Length || path[path.Length - name.Length - 1] == '.');
}
