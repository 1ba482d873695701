using LoraNotebooks.Tensors;
using static TorchSharp.torch;

namespace LoraNotebooks.Adapters;

/// <summary>
/// LoKr: ΔW = s·W₁ ⊗ W₂, every number of the small W₁ times the whole W₂, side by side. out = out₁·out₂ and in = in₁·in₂;
/// W₂ is whole or of rank r, and holds the kernel of a convolution.
/// </summary>
/// <remarks>Source: Yeh et al. 2023 (LyCORIS, arXiv:2309.14859); KohakuBlueleaf/LyCORIS, modules/lokr.py; huggingface/peft, tuners/lokr.</remarks>
internal sealed class LokrLayer : LowRankLayer
{
    private readonly long[] inner;

    public LokrLayer(WeightLayer baseLayer, LayerLayout layout, Generator generator)
        : base(baseLayer, layout)
    {
        var (shape, r) = (baseLayer.Weight.shape, (long)Rank);
        var (out1, in1) = layout.Outer;
        long[] kernel = shape[2..];
        inner = [shape[0] / out1, shape[1] / in1, .. kernel];
        if (layout.OuterIsWhole)
        {
            RegisterZero(("lokr_w1", [out1, in1]));
        }
        else
        {
            RegisterZero(("lokr_w1_a", [out1, r]));
            RegisterDrawn(generator, ("lokr_w1_b", [r, in1]));
        }

        if (layout.InnerIsWhole)
        {
            RegisterDrawn(generator, ("lokr_w2", inner));
        }
        else if (layout.HasCore)
        {
            RegisterDrawn(generator, ("lokr_w2_a", [r, inner[0]]), ("lokr_w2_b", [r, inner[1]]), ("lokr_t2", [r, r, .. kernel]));
        }
        else
        {
            RegisterDrawn(generator, ("lokr_w2_a", [inner[0], r]), ("lokr_w2_b", [r, inner[1..].Aggregate(1L, static (product, size) => product * size)]));
        }
    }

    /// <summary>ΔW = s·W₁ ⊗ W₂.</summary>
    public override Tensor WeightDelta()
    {
        using var scope = NewDisposeScope();
        var W1 = Layout.OuterIsWhole ? Parameters["lokr_w1"] : Parameters["lokr_w1_a"].matmul(Parameters["lokr_w1_b"]);
        var W2 = Layout.InnerIsWhole ? Parameters["lokr_w2"]
            : Layout.HasCore ? Tucker(Parameters["lokr_t2"], Parameters["lokr_w2_a"], Parameters["lokr_w2_b"])
            : Parameters["lokr_w2_a"].matmul(Parameters["lokr_w2_b"]).view(inner);
        var ones = Enumerable.Repeat(1L, inner.Length - 2);
        return kron(W1.view([.. W1.shape, .. ones]), W2).Times(Scale).view(BaseLayer.Weight.shape).MoveToOuterDisposeScope();
    }

    /// <summary>Splits a size in two: a given factor where it divides the size comes first, else the largest below it and below the square root.</summary>
    /// <param name="size">The size.</param>
    /// <param name="factor">The factor wanted, or −1 for a pair as equal as possible.</param>
    internal static (long Outer, long Inner) Factorize(long size, int factor)
    {
        if (factor > 0 && size % factor == 0)
        {
            return (factor, size / factor);
        }

        var outer = (long)Math.Sqrt(size);
        outer = factor > 0 ? Math.Min(outer, factor) : outer;
        while (size % outer != 0)
        {
            outer--;
        }

        return (outer, size / outer);
    }
}
