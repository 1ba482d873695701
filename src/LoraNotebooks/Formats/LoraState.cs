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
public sealed class LoraState(IReadOnlyDictionary<string, Tensor> tensors, IReadOnlyDictionary<string, double>? alphas = null, JsonObject? config = null) : IDisposable
{
    /// <summary>The ending of the name of A, whose first size is r.</summary>
    public const string DownPart = ".lora_A.weight";

    /// <summary>The ending of the name of B.</summary>
    public const string UpPart = ".lora_B.weight";

    private const string WholeKroneckerPart = ".lokr_w2";

    /// <summary>The names below a module's path that tell its rank by their first size. A Kronecker product of two whole matrices has none.</summary>
    private static readonly string[] RankParts = [DownPart, ".lora_embedding_A", ".hada_w1_b", ".lokr_w2_b", ".lokr_w1_b"];

    private readonly Lazy<IReadOnlyDictionary<string, int>> ranks = new(() => RanksOf(tensors, alphas ?? new Dictionary<string, double>()));

    /// <summary>The weights by name.</summary>
    public IReadOnlyDictionary<string, Tensor> Tensors { get; } = tensors;

    /// <summary>α by module path; a module that is not in it has α = r.</summary>
    public IReadOnlyDictionary<string, double> Alphas { get; } = alphas ?? new Dictionary<string, double>();

    /// <summary>The configuration in PEFT's fields (adapter_config.json), or <see langword="null"/> if the file has none.</summary>
    public JsonObject? Config { get; } = config;

    /// <summary>Rank r by path, of every module that has an update of low rank.</summary>
    public IReadOnlyDictionary<string, int> Ranks => ranks.Value;

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
        foreach (var part in RankParts)
        {
            foreach (var (name, tensor) in tensors.Where(pair => pair.Key.EndsWith(part, StringComparison.Ordinal) && pair.Value.dim() > 0))
            {
                ranks.TryAdd(name[..^part.Length], (int)tensor.size(0));
            }
        }

        // Where nothing has a rank, LyCORIS notes as α the rank that was asked for.
        foreach (var name in tensors.Keys.Where(static name => name.EndsWith(WholeKroneckerPart, StringComparison.Ordinal)))
        {
            var module = name[..^WholeKroneckerPart.Length];
            ranks.TryAdd(module, Math.Max(1, (int)Math.Round(alphas.GetValueOrDefault(module, 1))));
        }

        return ranks;
    }
}
