using System.Diagnostics.CodeAnalysis;
using System.Text.Json.Nodes;
using LoraNotebooks.Adapters.Tools;
using LoraNotebooks.Formats;
using LoraNotebooks.Tensors;
using static TorchSharp.torch;

namespace LoraNotebooks.Adapters.Methods;

/// <summary>LoKr and its options.</summary>
public sealed record LokrMethod : AdapterMethod
{
    /// <summary>Whether the smaller factor is of low rank too, where that saves numbers; default no.</summary>
    public bool DecomposeBoth { get; init; }

    /// <summary>Into how many parts outputs and inputs are split, where it divides them; −1 (default) splits them as equally as possible.</summary>
    public int DecomposeFactor { get; init; } = -1;

    /// <inheritdoc/>
    public override string Name => "Lokr";

    /// <inheritdoc/>
    public override LoraDialect Dialect => Names;

    /// <inheritdoc/>
    public override HonouredSettings Honours => HonouredSettings.Dora | HonouredSettings.EffectiveConv2d;

    /// <inheritdoc/>
    public override bool FormsUpdate => true;

    /// <inheritdoc/>
    public override string WhyNotPeft => "LoKr, whose splitting PEFT derives from settings that the file does not have";

    private static LoraDialect Names { get; } = new("LOKR", "lokr",
    [
        new("lokr_w2_b", "lokr_w2_a", FactorFacts.TellsRank),
        new("lokr_w1_b", "lokr_w1_a", FactorFacts.TellsRank),
        new("lokr_w1_a", "lokr_w1_b"),
        new("lokr_w2_a", "lokr_w2_b"),
        new("lokr_w1"),
        new("lokr_w2", Facts: FactorFacts.NotesRank),
        new("lokr_t2", Facts: FactorFacts.IsCore),
    ])
    { Unscaled = ["lokr_w1", "lokr_w2"] };

    /// <inheritdoc/>
    public override LowRankLayer Create(AdapterSite site)
    {
        ArgumentNullException.ThrowIfNull(site);
        return new LokrLayer(site.Layer, (LokrLayout)site.Layout, site.Generator);
    }

    /// <inheritdoc/>
    public override double Norm(UpdateNorm update)
    {
        ArgumentNullException.ThrowIfNull(update);
        return update.OfWholeOr("lokr_w1", update.Product(null, "lokr_w1_a", "lokr_w1_b"))
            * update.OfWholeOr("lokr_w2", update.Product("lokr_t2", "lokr_w2_a", "lokr_w2_b"));
    }

    /// <inheritdoc/>
    public override LayerLayout LayoutOf(LayerLayout common, LoraConfig config, WeightLayer layer)
    {
        ArgumentNullException.ThrowIfNull(common);
        ArgumentNullException.ThrowIfNull(layer);

        // A factor as thin as its rank would not save anything, so it is stored whole.
        var shape = layer.Weight.shape;
        var ((outOuter, outInner), (inOuter, inInner)) = (LokrLayer.Factorize(shape[0], DecomposeFactor), LokrLayer.Factorize(shape[1], DecomposeFactor));
        return new LokrLayout(common)
        {
            Outer = (outOuter, inOuter),
            OuterIsWhole = !(DecomposeBoth && common.Rank < Math.Max(outOuter, inOuter) / 2.0),
            InnerIsWhole = common.Rank >= Math.Max(outInner, inInner) / 2.0,
        };
    }

    /// <inheritdoc/>
    public override LayerLayout LayoutOf(LayerLayout common, LoraState state, WeightLayer layer)
    {
        ArgumentNullException.ThrowIfNull(state);
        ArgumentNullException.ThrowIfNull(layer);
        var path = layer.Path;
        return new LokrLayout(common)
        {
            Outer = (Divisor(0, Size("lokr_w1", 0) ?? Size("lokr_w1_a", 0)), Divisor(1, Size("lokr_w1", 1) ?? Size("lokr_w1_b", 1))),
            OuterIsWhole = !Has("lokr_w1_a") && !Has("lokr_w1_b"),
            InnerIsWhole = !Has("lokr_w2_a") && !Has("lokr_w2_b"),
        };

        long Divisor(int axis, long? part) => layer.Weight.size(axis) is var size && (part ?? 1) is > 0 and var outer && size % outer == 0
            ? outer
            : throw new InvalidDataException(
                $"'{path}.lokr_w1' splits {size} {(axis == 0 ? "outputs" : "inputs")} into {part} parts, "
                + "expected a number that divides them; was it trained for another model?");

        bool Has(string name) => state.Tensors.ContainsKey($"{path}.{name}");

        long? Size(string name, int axis) => state.Tensors.TryGetValue($"{path}.{name}", out var tensor) && tensor.dim() > axis ? tensor.size(axis) : null;
    }

    /// <inheritdoc/>
    public override IEnumerable<string> Faults() => DecomposeFactor is -1 or > 0 ? [] : [$"DecomposeFactor: got {DecomposeFactor}, expected -1 or at least 1"];

    /// <inheritdoc/>
    public override AdapterMethod With(PeftFields fields)
    {
        ArgumentNullException.ThrowIfNull(fields);
        return this with { DecomposeBoth = fields.Flag("decompose_both"), DecomposeFactor = fields.Integer("decompose_factor", -1) };
    }

    /// <inheritdoc/>
    public override IEnumerable<(string Key, JsonNode? Value)> Fields(LoraConfig config) =>
        [.. base.Fields(config), ("decompose_both", DecomposeBoth), ("decompose_factor", DecomposeFactor)];
}

/// <summary>How LoKr lays out a layer.</summary>
internal sealed record LokrLayout : LayerLayout
{
    [SetsRequiredMembers]
    public LokrLayout(LayerLayout common)
        : base(common)
    {
    }

    /// <summary>The sizes of W₁.</summary>
    public required (long Out, long In) Outer { get; init; }

    /// <summary>Whether W₁ is whole, in place of a product of two factors.</summary>
    public required bool OuterIsWhole { get; init; }

    /// <summary>Whether W₂ is whole.</summary>
    public required bool InnerIsWhole { get; init; }
}

/// <summary>
/// LoKr: ΔW = s·W₁ ⊗ W₂, every number of the small W₁ times the whole W₂, side by side. out = out₁·out₂ and in = in₁·in₂;
/// W₂ is whole or of rank r, and holds the kernel of a convolution.
/// </summary>
/// <remarks>Source: Yeh et al. 2023 (LyCORIS, arXiv:2309.14859); KohakuBlueleaf/LyCORIS, modules/lokr.py; huggingface/peft, tuners/lokr.</remarks>
internal sealed class LokrLayer : LowRankLayer
{
    private readonly LokrLayout _layout;
    private readonly long[] _inner;

    public LokrLayer(WeightLayer baseLayer, LokrLayout layout, Generator generator)
        : base(baseLayer, layout)
    {
        _layout = layout;
        var (shape, r) = (baseLayer.Weight.shape, (long)Rank);
        var (out1, in1) = layout.Outer;
        long[] kernel = shape[2..];
        _inner = [shape[0] / out1, shape[1] / in1, .. kernel];
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
            RegisterDrawn(generator, ("lokr_w2", _inner));
        }
        else if (layout.HasCore)
        {
            RegisterDrawn(generator, ("lokr_w2_a", [r, _inner[0]]), ("lokr_w2_b", [r, _inner[1]]), ("lokr_t2", [r, r, .. kernel]));
        }
        else
        {
            RegisterDrawn(generator, ("lokr_w2_a", [_inner[0], r]), ("lokr_w2_b", [r, _inner[1..].Aggregate(1L, static (product, size) => product * size)]));
        }
    }

    /// <summary>ΔW = s·W₁ ⊗ W₂.</summary>
    public override Tensor WeightDelta()
    {
        using var scope = NewDisposeScope();
        var W1 = _layout.OuterIsWhole ? Parameters["lokr_w1"] : Parameters["lokr_w1_a"].matmul(Parameters["lokr_w1_b"]);
        var W2 = _layout.InnerIsWhole ? Parameters["lokr_w2"]
            : Layout.HasCore ? Tucker(Parameters["lokr_t2"], Parameters["lokr_w2_a"], Parameters["lokr_w2_b"])
            : Parameters["lokr_w2_a"].matmul(Parameters["lokr_w2_b"]).view(_inner);
        var ones = Enumerable.Repeat(1L, _inner.Length - 2);
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
