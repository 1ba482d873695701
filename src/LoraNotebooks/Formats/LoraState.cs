using System.Text.Json.Nodes;
using LoraNotebooks.Tensors;
using static TorchSharp.torch;

namespace LoraNotebooks.Formats;

/// <summary>
/// The weights of one adapter for one model, in the names that all file kinds are translated to and from:
/// <c>&lt;module path&gt;.lora_A.weight</c> (down, r×in), <c>….lora_B.weight</c> (up, out×r) and PEFT's other parts.
/// </summary>
/// <param name="tensors">The weights; the state owns them.</param>
/// <param name="alphas">α by module path, where the file says it weight by weight.</param>
/// <param name="config">The adapter's configuration as PEFT writes it, where the file has one.</param>
public sealed class LoraState(
    IReadOnlyDictionary<string, Tensor> tensors,
    IReadOnlyDictionary<string, double>? alphas = null,
    JsonObject? config = null) : IDisposable
{
    /// <summary>The ending of the name of A, whose first size is r.</summary>
    public const string DownPart = ".lora_A.weight";

    /// <summary>The ending of the name of B.</summary>
    public const string UpPart = ".lora_B.weight";

    /// <summary>The ending of the name of m, the lengths of a weight-decomposed layer, as PEFT has it: flat, of convolutions [1, out, 1, 1].</summary>
    public const string MagnitudePart = ".lora_magnitude_vector";

    /// <summary>The ending of the name of m as LyCORIS has it: with as many axes as W.</summary>
    public const string KohyaMagnitudePart = ".dora_scale";

    private readonly Lazy<IReadOnlyDictionary<string, int>> _ranks = new(() => RanksOf(tensors, alphas ?? new Dictionary<string, double>()));

    /// <summary>The weights by name.</summary>
    public IReadOnlyDictionary<string, Tensor> Tensors { get; } = tensors;

    /// <summary>α by module path; a module that is not in it has α = r.</summary>
    public IReadOnlyDictionary<string, double> Alphas { get; } = alphas ?? new Dictionary<string, double>();

    /// <summary>The configuration in PEFT's fields (adapter_config.json), or <see langword="null"/> if the file has none.</summary>
    public JsonObject? Config { get; } = config;

    /// <summary>Rank r by path, of every module that has an update of low rank.</summary>
    public IReadOnlyDictionary<string, int> Ranks => _ranks.Value;

    /// <summary>The paths of the layers, or the names of other weights, that have a number that is not finite.</summary>
    internal IReadOnlyList<string> NotFinite()
    {
        string[] modules = [.. Ranks.Keys];
        return
        [
            .. Tensors.Where(static pair => !Finite.Is(pair.Value)).Select(static pair => pair.Key)
                .Concat(Alphas.Where(static pair => !double.IsFinite(pair.Value)).Select(static pair => pair.Key + ".alpha"))
                .Select(name => modules.FirstOrDefault(module => name.StartsWith(module + ".", StringComparison.Ordinal)) ?? name)
                .Distinct().Order(StringComparer.Ordinal),
        ];
    }

    /// <summary>Releases the weights.</summary>
    public void Dispose()
    {
        foreach (var tensor in Tensors.Values)
        {
            tensor.Dispose();
        }
    }

    private static Dictionary<string, int> RanksOf(IReadOnlyDictionary<string, Tensor> tensors, IReadOnlyDictionary<string, double> alphas)
    {
        var ranks = new Dictionary<string, int>(StringComparer.Ordinal);
        foreach (var factor in LoraNames.Factors.Where(static factor => factor.Has(FactorFacts.TellsRank)))
        {
            foreach (var (name, tensor) in tensors.Where(static pair => pair.Value.dim() > 0))
            {
                if (factor.ModuleOf(name) is { } module)
                {
                    ranks.TryAdd(module, (int)tensor.size(0));
                }
            }
        }

        // Where nothing has a rank, LyCORIS notes as α the rank that was asked for.
        foreach (var module in LoraNames.Factors
            .Where(static factor => factor.Has(FactorFacts.NotesRank))
            .SelectMany(factor => tensors.Keys.Select(factor.ModuleOf))
            .OfType<string>())
        {
            ranks.TryAdd(module, Math.Max(1, (int)Math.Round(alphas.GetValueOrDefault(module, 1))));
        }

        return ranks;
    }
}
