using TorchSharp.Modules;
using static TorchSharp.torch;

namespace LoraNotebooks.Tensors;

/// <summary>
/// A linear layer y = x·W + b that keeps W as [in, out], the transpose of what <see cref="Linear"/> keeps. GPT-2's projections are of this kind.
/// </summary>
/// <remarks>Source: transformers, pytorch_utils.py, <c>Conv1D</c>.</remarks>
public sealed class TransposedLinear : WeightedLayer
{
    private Parameter weight;
    private Parameter bias;

    /// <summary>Creates the layer with W ~ N(0, 0.02²) and b = 0, as upstream does.</summary>
    /// <param name="inFeatures">The size of an input.</param>
    /// <param name="outFeatures">The size of an output.</param>
    /// <param name="device">The device, default the CPU.</param>
    public TransposedLinear(long inFeatures, long outFeatures, Device? device = null)
        : base(nameof(TransposedLinear))
    {
        using var scope = NewDisposeScope();
        weight = new Parameter(empty(inFeatures, outFeatures, device: device).normal_(0, 0.02));
        bias = new Parameter(zeros(outFeatures, device: device));
        RegisterComponents();
        weight.DetachFromDisposeScope();
        bias.DetachFromDisposeScope();
    }

    /// <summary>W, [in, out]. Another one takes the place of the former, which is freed.</summary>
    public Parameter Weight
    {
        get => weight;
        set => Replace(nameof(weight), ref weight, value);
    }

    /// <summary>b, [out]. Another one takes the place of the former, which is freed.</summary>
    public Parameter Bias
    {
        get => bias;
        set => Replace(nameof(bias), ref bias, value);
    }

    /// <summary>y = x·W + b.</summary>
    /// <param name="x">[…, in].</param>
    /// <returns>[…, out].</returns>
    public override Tensor forward(Tensor x)
    {
        using var scope = NewDisposeScope();
        return x.matmul(weight).Plus(bias).MoveToOuterDisposeScope();
    }
}
