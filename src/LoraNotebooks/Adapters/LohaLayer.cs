using LoraNotebooks.Tensors;
using static TorchSharp.torch;

namespace LoraNotebooks.Adapters;

/// <summary>
/// LoHa: ΔW = s·(A₁·B₁) ⊙ (A₂·B₂), the product of two rank-r matrices number by number, which has a rank of up to r²
/// for the price of two LoRAs. A convolution's kernel is a row of in·kh·kw numbers, or has cores [r, r, kh, kw].
/// </summary>
/// <remarks>Source: Hyeon-Woo et al. 2022 (FedPara, arXiv:2108.06098); KohakuBlueleaf/LyCORIS, modules/loha.py; huggingface/peft, tuners/loha.</remarks>
internal sealed class LohaLayer : LowRankLayer
{
    public LohaLayer(WeightLayer baseLayer, LayerLayout layout, Generator generator)
        : base(baseLayer, layout)
    {
        var (shape, r) = (baseLayer.Weight.shape, (long)Rank);
        long[] a = [shape[0], r], b = [r, shape[1..].Aggregate(1L, static (product, size) => product * size)];
        if (layout.HasCore)
        {
            (a, b) = ([r, shape[0]], [r, shape[1]]);
            RegisterDrawn(generator, ("hada_t1", [r, r, .. shape[2..]]), ("hada_t2", [r, r, .. shape[2..]]));
        }

        RegisterDrawn(generator, ("hada_w1_a", a), ("hada_w1_b", b), ("hada_w2_a", a));
        RegisterZero(("hada_w2_b", b));
    }

    /// <summary>ΔW = s·(A₁·B₁) ⊙ (A₂·B₂).</summary>
    public override Tensor WeightDelta()
    {
        using var scope = NewDisposeScope();
        return (Product("1").Times(Scale) * Product("2")).view(BaseLayer.Weight.shape).MoveToOuterDisposeScope();
    }

    /// <summary>Aᵢ·Bᵢ, around a core if there is one.</summary>
    private Tensor Product(string i)
    {
        var (A, B) = (Parameters[$"hada_w{i}_a"], Parameters[$"hada_w{i}_b"]);
        return Layout.HasCore ? Tucker(Parameters[$"hada_t{i}"], A, B) : A.matmul(B);
    }
}
