using LoraNotebooks.Adapters;
using LoraNotebooks.Adapters.Tools;
using LoraNotebooks.Formats;
using LoraNotebooks.Tensors;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Adapters.Methods;

/// <summary>
/// A method as a user writes it: ΔW = s·Rᵀ·P with R of shape [r, out] and P [r, in], which is not trained and shared by all layers of a size.
/// </summary>
internal sealed record ScaledRows : AdapterMethod
{
    private static readonly LoraDialect Names = new("ROWS", "rows", [new("rows_R", Facts: FactorFacts.TellsRank) { Kohya = "rows_up" }]);

    public bool IsRegistered { get; init; } = true;

    /// <summary>The path of a layer that it cannot be made for, which shows only then; default none.</summary>
    public string? Unsuited { get; init; }

    public override string Name => IsRegistered ? "Rows" : "Unheard";

    public override LoraDialect Dialect => Names;

    public override HonouredSettings Honours => HonouredSettings.None;

    public override bool FormsUpdate => true;

    public override LowRankLayer Create(AdapterSite site) => new Layer(site, Unsuited);

    public override double Norm(UpdateNorm update) => update.Find("rows_R")?.norm().item<double>() ?? double.NaN;

    public override string? WhyNot(WeightLayer layer) => layer.Weight.dim() == 2 && layer.OutputAxis == 0 ? null : "is not linear";

    private sealed class Layer : LowRankLayer
    {
        private readonly Func<Tensor> _shared;

        public Layer(AdapterSite site, string? unsuited)
            : base(site.Layer, site.Layout)
        {
            var inputs = site.Layer.Weight.size(1);
            _shared = () => site.Shared.Get($"P, {Rank}×{inputs}", site.Layer.Weight.device, () => eye(Rank, inputs));
            _shared();
            if (site.Layer.Path == unsuited)
            {
                throw new NotSupportedException($"'{unsuited}' is not suited.");
            }

            RegisterZero(("rows_R", [Rank, site.Layer.Weight.size(0)]));
        }

        public override Tensor WeightDelta() => Parameters["rows_R"].t().matmul(_shared()).Times(Scale);
    }
}
