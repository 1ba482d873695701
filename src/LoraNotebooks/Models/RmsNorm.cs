using LoraNotebooks.Tensors;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace LoraNotebooks.Models;

/// <summary>Root-mean-square norm over the last dimension: g ⊙ x/√(mean(x²) + ε), computed in float32 whatever the type.</summary>
/// <remarks>Source: Zhang and Sennrich 2019 (arXiv:1910.07467), section 4; transformers, models/llama/modeling_llama.py, <c>LlamaRMSNorm</c>.</remarks>
internal sealed class RmsNorm : WeightedLayer
{
    private readonly double _epsilon;
    private Parameter weight;

    /// <summary>Creates the norm with g = 1.</summary>
    /// <param name="size">The size of the last dimension.</param>
    /// <param name="epsilon">ε under the root.</param>
    /// <param name="device">The device, default the CPU.</param>
    public RmsNorm(long size, double epsilon, Device? device = null)
        : base(nameof(RmsNorm))
    {
        using var scope = NewDisposeScope();
        _epsilon = epsilon;
        weight = new Parameter(ones(size, device: device));
        RegisterComponents();
        weight.DetachFromDisposeScope();
    }

    /// <summary>g. Another one takes the place of the former, which is freed.</summary>
    public Parameter Weight
    {
        get => weight;
        set => Replace(nameof(weight), ref weight, value);
    }

    public override Tensor forward(Tensor x)
    {
        using var scope = NewDisposeScope();
        var h = x.to(ScalarType.Float32);
        var normalized = h * h.Squared().mean([-1], keepdim: true).Plus(_epsilon).rsqrt();
        return (weight * normalized.to(x.dtype)).MoveToOuterDisposeScope();
    }
}
