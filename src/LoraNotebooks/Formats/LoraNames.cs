using System.Text.RegularExpressions;

namespace LoraNotebooks.Formats;

/// <summary>What a tensor of an update tells beside its numbers.</summary>
[Flags]
public enum FactorFacts
{
    /// <summary>Nothing.</summary>
    None = 0,

    /// <summary>Its first size is the rank.</summary>
    TellsRank = 1,

    /// <summary>Where no other tensor tells the rank, it is the one that is noted as α.</summary>
    NotesRank = 2,

    /// <summary>Its second size is the number of the layer's inputs.</summary>
    SpansInputs = 4,

    /// <summary>It is the core of a convolution, of size r in its first axis.</summary>
    IsCore = 8,

    /// <summary>PEFT has no name for it.</summary>
    IsNotPefts = 16,
}

/// <summary>One tensor of an update.</summary>
/// <param name="Name">Its name below a module's path in a <see cref="LoraState"/>, which is PEFT's where it has one: "lora_A.weight".</param>
/// <param name="Counterpart">The name of the tensor without which it means nothing; default none.</param>
/// <param name="Facts">What it tells; default nothing.</param>
public sealed record LoraFactor(string Name, string? Counterpart = null, FactorFacts Facts = FactorFacts.None)
{
    /// <summary>Its name in files of kohya and LyCORIS, default the same; <see langword="null"/> if they have no place for it.</summary>
    public string? Kohya { get; init; } = Name;

    internal bool Has(FactorFacts facts) => (Facts & facts) != 0;

    /// <summary>The module whose tensor of this kind a name is; <see langword="null"/> if it is another.</summary>
    internal string? ModuleOf(string name) =>
        name.Length > Name.Length + 1 && name[^(Name.Length + 1)] == '.' && name.EndsWith(Name, StringComparison.Ordinal) ? name[..^(Name.Length + 1)] : null;
}

/// <summary>The names by which files know one method. A method hands them over; whoever reads or writes files asks <see cref="LoraNames"/>.</summary>
/// <param name="PeftType">"LORA" in adapter_config.json.</param>
/// <param name="Algorithm">What LyCORIS calls it (algo); <see langword="null"/> for tensors that come beside those of any method.</param>
/// <param name="Factors">Its tensors. Of those that tell the rank, the first counts that a module has.</param>
public sealed record LoraDialect(string PeftType, string? Algorithm, IReadOnlyList<LoraFactor> Factors)
{
    /// <summary>Tensors that, where a module has them all, are not scaled in kohya's files, as there is no rank to divide α by; default none.</summary>
    public IReadOnlyList<string> Unscaled { get; init; } = [];
}

/// <summary>The register of all names that methods have told. It knows no method: each hands its names over, also one that is written in a notebook.</summary>
internal static class LoraNames
{
    private static readonly Lock Gate = new();
    private static volatile Register s_current = new([]);

    /// <summary>All that were told, in their order.</summary>
    public static IReadOnlyList<LoraDialect> All => s_current.Dialects;

    /// <summary>All tensors of all methods.</summary>
    public static IEnumerable<LoraFactor> Factors => All.SelectMany(static dialect => dialect.Factors);

    /// <summary>A part after a module; PEFT may put the adapter's name between, and old files leave "weight" out.</summary>
    public static Regex Ending => s_current.Ending;

    /// <summary>Adds names; told a second time, e.g. by a cell that runs again, they take the place of the first.</summary>
    /// <exception cref="ArgumentException">Another method has one of the names.</exception>
    public static void Add(LoraDialect dialect)
    {
        lock (Gate)
        {
            LoraDialect[] others = [.. All.Where(other => (other.PeftType, other.Algorithm) != (dialect.PeftType, dialect.Algorithm))];
            var taken = others
                .SelectMany(static other => other.Factors)
                .Select(static factor => Stem(factor.Name))
                .Append(LoraKey.Alpha)
                .Intersect(dialect.Factors.Select(static factor => Stem(factor.Name)))
                .ToList();
            s_current = taken.Count == 0
                ? new Register([.. others, dialect])
                : throw new ArgumentException(
                    $"{dialect.PeftType}: other methods already have tensors of the names {string.Join(", ", taken)}, expected names of its own.");
        }
    }

    /// <summary>Takes names away.</summary>
    public static void Remove(LoraDialect dialect)
    {
        lock (Gate)
        {
            s_current = new Register([.. All.Where(other => other != dialect)]);
        }
    }

    /// <summary>The tensor that a part of a name means and whether it is kohya's word for it; <see langword="null"/> if it is none.</summary>
    public static (LoraFactor Factor, bool IsKohyas)? Find(string stem) => s_current.Stems.TryGetValue(stem, out var found) ? found : null;

    /// <summary>
    /// The method to which a tensor of a state belongs, and which of its tensors it is; <see langword="null"/> if it is no part of an update.
    /// </summary>
    public static (LoraDialect Dialect, LoraFactor Factor)? OwnerOf(string name)
    {
        foreach (var dialect in All)
        {
            if (dialect.Factors.FirstOrDefault(factor => factor.ModuleOf(name) is not null) is { } factor)
            {
                return (dialect, factor);
            }
        }

        return null;
    }

    /// <summary>Whether kohya's files scale a module by 1, whatever its α.</summary>
    public static bool IsUnscaled(LoraState state, string module) =>
        All.Any(dialect => dialect.Unscaled.Count > 0 && dialect.Unscaled.All(name => state.Tensors.ContainsKey($"{module}.{name}")));

    /// <summary>A name without "weight", which old files leave out.</summary>
    public static string Stem(string name) => name.EndsWith(".weight", StringComparison.Ordinal) ? name[..^7] : name;

    private sealed class Register
    {
        public Register(IReadOnlyList<LoraDialect> dialects)
        {
            Dialects = dialects;
            foreach (var factor in dialects
                .SelectMany(static dialect => dialect.Factors)
                .Where(static factor => !factor.Name.EndsWith(".bias", StringComparison.Ordinal)))
            {
                Stems[Stem(factor.Name)] = (factor, false);
                Stems.TryAdd(Stem(factor.Kohya ?? factor.Name), (factor, true));
            }

            Ending = new Regex(
                $@"^(?<module>.+?)\.(?<part>{string.Join('|', Stems.Keys.Append(LoraKey.Alpha).Select(Regex.Escape))})"
                    + @"(?:\.(?!weight$|bias$)[^.]+)?(?:\.(?<kind>weight|bias))?$",
                RegexOptions.CultureInvariant);
        }

        public IReadOnlyList<LoraDialect> Dialects { get; }

        public Dictionary<string, (LoraFactor Factor, bool IsKohyas)> Stems { get; } = new(StringComparer.Ordinal);

        public Regex Ending { get; }
    }
}
