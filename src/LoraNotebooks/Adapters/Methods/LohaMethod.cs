using LoraNotebooks.Adapters.Tools;
using LoraNotebooks.Formats;
using LoraNotebooks.Tensors;
using static TorchSharp.torch;

namespace LoraNotebooks.Adapters.Methods;

/// <summary>LoHa.</summary>
public sealed record LohaMethod : AdapterMethod
{
    /// <inheritdoc/>
    public override string Name => "Loha";

    /// <inheritdoc/>
    public override LoraDialect Dialect => Names;

    private static LoraDialect Names { get; } = new("LOHA", "loha",
    [
        new("hada_w1_b", "hada_w1_a", FactorFacts.TellsRank | FactorFacts.SpansInputs),
        new("hada_w1_a", "hada_w1_b"),
        new("hada_w2_a", "hada_w2_b"),
        new("hada_w2_b", "hada_w2_a"),
        new("hada_t1", Facts: FactorFacts.IsCore),
        new("hada_t2", Facts: FactorFacts.IsCore),
    ]);

    /// <inheritdoc/>
    public override HonouredSettings Honours => HonouredSettings.Dora | HonouredSettings.EffectiveConv2d;

    /// <inheritdoc/>
    public override bool FormsUpdate => true;

    /// <inheritdoc/>
    public override LowRankLayer Create(AdapterSite site)
    {
        ArgumentNullException.ThrowIfNull(site);
        return new LohaLayer(site.Layer, site.Layout, site.Generator);
    }

    /// <inheritdoc/>
    public override double Norm(UpdateNorm update)
    {
        ArgumentNullException.ThrowIfNull(update);
        return UpdateNorm.OfRows([update.Product("hada_t1", "hada_w1_a", "hada_w1_b"), update.Product("hada_t2", "hada_w2_a", "hada_w2_b")]);
    }
}

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
