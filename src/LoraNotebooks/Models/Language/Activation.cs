using LoraNotebooks.Tensors;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace LoraNotebooks.Models.Language;

/// <summary>The activations that configurations name.</summary>
/// <remarks>Source: transformers, activations.py.</remarks>
internal static class Activation
{
    /// <summary>The names that are known.</summary>
    public static IReadOnlyList<string> Names { get; } = ["silu", "swish", "gelu", "gelu_new", "gelu_pytorch_tanh", "relu"];

    /// <summary>act(x).</summary>
    public static Tensor Apply(string name, Tensor x) => name switch
    {
        "silu" or "swish" => functional.silu(x),
        "gelu" => functional.gelu(x),
        "gelu_new" or "gelu_pytorch_tanh" => TanhGelu(x),
        "relu" => functional.relu(x),
        _ => throw new NotSupportedException($"'{name}' is no activation that is known here, expected one of {string.Join(", ", Names)}."),
    };

    /// <summary>Hendrycks and Gimpel's approximation x·½(1 + tanh(√(2/π)·(x + 0.044715·x³))) (arXiv:1606.08415), which GPT-2 was trained with.</summary>
    private static Tensor TanhGelu(Tensor x)
    {
        using var scope = NewDisposeScope();
        return (x.Times(0.5) * x.Plus(x.ToThe(3).Times(0.044715)).Times(Math.Sqrt(2 / Math.PI)).tanh().Plus(1)).MoveToOuterDisposeScope();
    }
}
