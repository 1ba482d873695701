using System.Text.Json.Nodes;
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

    /// <summary>The weights by name.</summary>
    public IReadOnlyDictionary<string, Tensor> Tensors { get; } = tensors;

    /// <summary>α by module path; a module that is not in it has α = r.</summary>
    public IReadOnlyDictionary<string, double> Alphas { get; } = alphas ?? new Dictionary<string, double>();

    /// <summary>The configuration in PEFT's fields (adapter_config.json), or <see langword="null"/> if the file has none.</summary>
    public JsonObject? Config { get; } = config;

    /// <summary>Rank r by path, of every module that has an A.</summary>
    public IReadOnlyDictionary<string, int> Ranks => Tensors
        .Where(static pair => pair.Key.EndsWith(DownPart, StringComparison.Ordinal))
        .ToDictionary(static pair => pair.Key[..^DownPart.Length], static pair => (int)pair.Value.size(0), StringComparer.Ordinal);

    /// <summary>Releases the weights.</summary>
    public void Dispose()
    {
        foreach (var tensor in Tensors.Values)
        {
            tensor.Dispose();
        }
    }
}
