using LoraNotebooks.Tensors;
using static TorchSharp.torch;

namespace LoraNotebooks.Adapters;

/// <summary>A layer that trains whole (PEFT's modules_to_save): its own copy W′, b′ of the base's weights, ΔW = W′ − W, Δb = b′ − b.</summary>
internal sealed class WholeLayer : AdapterLayer
{
    private readonly WeightLayer _baseLayer;

    public WholeLayer(WeightLayer baseLayer)
        : base(baseLayer.Path)
    {
        _baseLayer = baseLayer;
        Register("weight", baseLayer.OriginalWeight, baseLayer.Weight.device);
        if (baseLayer.OriginalBias is { } bias)
        {
            Register("bias", bias, bias.device);
        }
    }

    public override Tensor WeightDelta() => Parameters["weight"] - _baseLayer.OriginalWeight;

    public override Tensor? BiasDelta() => _baseLayer.OriginalBias is { } bias ? Parameters["bias"] - bias : null;

    /// <summary>y + w·(f(x; ΔW) + Δb).</summary>
    public override Tensor Add(Tensor y, Tensor x, double weight)
    {
        using var scope = NewDisposeScope();
        var part = _baseLayer.Apply(x, WeightDelta().to(y.dtype));
        if (BiasDelta() is { } bias)
        {
            part = part.Plus(_baseLayer.AlongChannels(bias.to(y.dtype), y.dim()));
        }

        return y.Plus(part, times: weight).MoveToOuterDisposeScope();
    }
}

/// <summary>
/// A weight of the base that a file brings along, W′, without training it: ΔW = W′ − W. PEFT saves an adapted embedding's own table beside its update,
/// in case the vocabulary was changed.
/// </summary>
internal sealed class CarriedLayer : AdapterLayer
{
    /// <summary>Its name below the layer's path.</summary>
    public const string Name = "base_layer.weight";

    private readonly WeightLayer _baseLayer;

    public CarriedLayer(WeightLayer baseLayer)
        : base(baseLayer.Path)
    {
        _baseLayer = baseLayer;
        Register(Name, baseLayer.OriginalWeight, baseLayer.Weight.device);
        Parameters[Name].requires_grad = false;
    }

    public override Tensor WeightDelta() => Parameters[Name] - _baseLayer.OriginalWeight;

    /// <summary>y + w·(f(x; W′) − f(x; W)), which looks up two rows in place of subtracting two tables.</summary>
    public override Tensor Add(Tensor y, Tensor x, double weight)
    {
        using var scope = NewDisposeScope();
        var part = _baseLayer.Apply(x, Parameters[Name].to(y.dtype)) - _baseLayer.Apply(x, _baseLayer.OriginalWeight.to(y.dtype));
        return y.Plus(part, times: weight).MoveToOuterDisposeScope();
    }
}

/// <summary>A bias of the base that trains along (PEFT's bias "all" and "lora_only"): its own copy b′, Δb = b′ − b.</summary>
internal sealed class BiasLayer : AdapterLayer
{
    private readonly BaseLayer _baseLayer;
    private readonly string _name;

    /// <summary>Copies a layer's bias.</summary>
    /// <param name="baseLayer">Any layer with a bias that it adds to its output.</param>
    /// <param name="adapted">Whether the layer also has a low-rank update; PEFT then names the bias differently.</param>
    public BiasLayer(BaseLayer baseLayer, bool adapted)
        : base(baseLayer.Path)
    {
        _baseLayer = baseLayer;
        _name = adapted ? "base_layer.bias" : "bias";
        Register(_name, baseLayer.OriginalBias!, baseLayer.Bias!.device);
    }

    public override Tensor? WeightDelta() => null;

    public override Tensor BiasDelta() => Parameters[_name] - _baseLayer.OriginalBias!;

    /// <summary>y + w·Δb.</summary>
    public override Tensor Add(Tensor y, Tensor x, double weight)
    {
        using var scope = NewDisposeScope();
        return y.Plus(_baseLayer.AlongChannels(BiasDelta().to(y.dtype), y.dim()), times: weight).MoveToOuterDisposeScope();
    }
}
