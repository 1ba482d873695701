using LoraNotebooks.Tensors;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace LoraNotebooks.Adapters;

/// <summary>
/// DoRA: the weight is split into direction and length, W′ = m ⊙ (W + ΔW)/n, n being the length of each row of W + ΔW and m a trained
/// length that begins as that of W. ΔW may be of any method. n is a constant for the gradient, as the paper proposes.
/// </summary>
/// <remarks>
/// Source: Liu et al. 2024 (arXiv:2402.09353), section 4.3; huggingface/peft, tuners/lora/dora.py; KohakuBlueleaf/LyCORIS (dora_scale).
/// At weight w the layer is W + w·(W′ − W), on the way from the base (0) to the adapter as trained (1); several adapters each start from W.
/// </remarks>
internal sealed class DoraLayer : AdapterLayer
{
    private readonly WeightLayer baseLayer;
    private readonly MagnitudeLayout magnitude;

    public DoraLayer(WeightLayer baseLayer, LowRankLayer update, MagnitudeLayout magnitude)
        : base(baseLayer.Path)
    {
        (this.baseLayer, Update, this.magnitude) = (baseLayer, update, magnitude);
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        update.Register(magnitude.Name, Length(baseLayer.OriginalWeight.to(ScalarType.Float32)).reshape(magnitude.Shape), baseLayer.Weight.device);
    }

    /// <summary>ΔW's part.</summary>
    public LowRankLayer Update { get; }

    /// <summary>The update's factors and m, which lies among them.</summary>
    public override IReadOnlyDictionary<string, Parameter> Parameters => Update.Parameters;

    internal override bool Training
    {
        get => Update.Training;
        set => Update.Training = value;
    }

    /// <summary>W′ − W.</summary>
    public override Tensor WeightDelta()
    {
        using var scope = NewDisposeScope();
        var W = baseLayer.OriginalWeight.to(ScalarType.Float32);
        var V = W.Plus(Update.WeightDelta());
        var n = Length(V.detach());
        var m = Parameters[magnitude.Name].view(n.shape);
        return ((m / n * V) - W).MoveToOuterDisposeScope();
    }

    public override Tensor? BiasDelta() => Update.BiasDelta();

    internal override void SeedDropout(long seed) => Update.SeedDropout(seed);

    internal override void To(Device device) => Update.To(device);

    /// <summary>y + w·(f(x; W′ − W) + Δb).</summary>
    internal override Tensor Add(Tensor y, Tensor x, double weight)
    {
        using var scope = NewDisposeScope();
        var dropped = x.is_floating_point() ? Update.Dropout(x) : x;
        var part = baseLayer.Apply(dropped, WeightDelta().to(y.dtype));
        if (BiasDelta() is { } bias)
        {
            part = part.Plus(baseLayer.AlongChannels(bias.to(y.dtype), y.dim()));
        }

        return y.Plus(part, times: weight).MoveToOuterDisposeScope();
    }

    protected override void Dispose(bool disposing)
    {
        Update.Dispose();
        base.Dispose(disposing);
    }

    /// <summary>The norm over all axes but that of m, which stay with size 1.</summary>
    private Tensor Length(Tensor V) => V.Squared().sum([.. Enumerable.Range(0, (int)V.dim()).Where(axis => axis != magnitude.Axis).Select(static axis => (long)axis)], keepdim: true).sqrt();
}
