using LoraNotebooks.Formats;
using LoraNotebooks.Tensors;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace LoraNotebooks.Adapters.Methods;

/// <summary>m of a weight-decomposed layer (DoRA), as it is stored.</summary>
/// <param name="Name">Its name: PEFT's "lora_magnitude_vector" or LyCORIS' "dora_scale".</param>
/// <param name="Axis">The axis of W along which it has one number each; the norm runs over all others.</param>
/// <param name="Shape">Its shape.</param>
internal sealed record MagnitudeLayout(string Name, int Axis, long[] Shape)
{
    /// <summary>As PEFT has it.</summary>
    public static MagnitudeLayout OfPeft(WeightLayer layer)
    {
        var size = layer.Weight.size(layer.OutputAxis);
        return new(LoraState.MagnitudePart[1..], layer.OutputAxis, layer.Weight.dim() == 4 ? [1, size, 1, 1] : [size]);
    }

    /// <summary>As a file has it; <see langword="null"/> if it has none.</summary>
    public static MagnitudeLayout? Of(LoraState state, WeightLayer layer)
    {
        if (state.Tensors.ContainsKey(layer.Path + LoraState.MagnitudePart)
            || !state.Tensors.TryGetValue(layer.Path + LoraState.KohyaMagnitudePart, out var tensor))
        {
            return IsIn(state, layer.Path) ? OfPeft(layer) : null;
        }

        // LyCORIS stores m with the dimensions of W, one number per output, or in older files per input.
        var (stored, shape) = (tensor.shape, layer.Weight.shape);
        var axis = stored.Length > 1 && stored[0] == 1 && stored[1] == shape[1] && shape[0] != 1 ? 1 : 0;
        return new(LoraState.KohyaMagnitudePart[1..], axis, [.. shape.Select((size, i) => i == axis ? size : 1)]);
    }

    /// <summary>Whether a module of a state is weight-decomposed.</summary>
    public static bool IsIn(LoraState state, string module) =>
        state.Tensors.ContainsKey(module + LoraState.MagnitudePart) || state.Tensors.ContainsKey(module + LoraState.KohyaMagnitudePart);
}

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
    private readonly WeightLayer _baseLayer;
    private readonly MagnitudeLayout _magnitude;

    public DoraLayer(WeightLayer baseLayer, LowRankLayer update, MagnitudeLayout magnitude)
        : base(baseLayer.Path)
    {
        (_baseLayer, Update, _magnitude) = (baseLayer, update, magnitude);
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        update.Register(magnitude.Name, Length(baseLayer.OriginalWeight.to(ScalarType.Float32)).reshape(magnitude.Shape), baseLayer.Weight.device);
    }

    /// <summary>The names of m, which PEFT has for LoRA alone.</summary>
    public static LoraDialect Dialect { get; } = new("LORA", Algorithm: null,
    [
        new(LoraState.MagnitudePart[1..]) { Kohya = LoraState.KohyaMagnitudePart[1..] },
        new(LoraState.KohyaMagnitudePart[1..], Facts: FactorFacts.IsNotPefts),
    ]);

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
        var W = _baseLayer.OriginalWeight.to(ScalarType.Float32);
        var V = W.Plus(Update.WeightDelta());
        var n = Length(V.detach());
        var m = Parameters[_magnitude.Name].view(n.shape);
        return ((m / n * V) - W).MoveToOuterDisposeScope();
    }

    public override Tensor? BiasDelta() => Update.BiasDelta();

    internal override void SeedDropout(long seed) => Update.SeedDropout(seed);

    internal override void To(Device device) => Update.To(device);

    /// <summary>y + w·(f(x; W′ − W) + Δb).</summary>
    public override Tensor Add(Tensor y, Tensor x, double weight)
    {
        using var scope = NewDisposeScope();
        var dropped = x.is_floating_point() ? Update.Dropout(x) : x;
        var part = _baseLayer.Apply(dropped, WeightDelta().to(y.dtype));
        if (BiasDelta() is { } bias)
        {
            part = part.Plus(_baseLayer.AlongChannels(bias.to(y.dtype), y.dim()));
        }

        return y.Plus(part, times: weight).MoveToOuterDisposeScope();
    }

    protected override void Dispose(bool disposing)
    {
        Update.Dispose();
        base.Dispose(disposing);
    }

    /// <summary>The norm over all axes but that of m, which stay with size 1.</summary>
    private Tensor Length(Tensor V) => V.Squared()
        .sum([.. Enumerable.Range(0, (int)V.dim()).Where(axis => axis != _magnitude.Axis).Select(static axis => (long)axis)], keepdim: true)
        .sqrt();
}
