using LoraNotebooks.Tensors;
using LoraNotebooks.Tensors.Convolutions;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace LoraNotebooks.Adapters;

/// <summary>A layer of the frozen model, seen by adapters; of a layer of unknown kind only the bias can change.</summary>
public class BaseLayer : IDisposable
{
    private Tensor? _biasBackup;

    internal BaseLayer(string path, Module<Tensor, Tensor> module) => (Path, Module) = (path, module);

    /// <summary>The layer's path in the model.</summary>
    public string Path { get; }

    /// <summary>The layer.</summary>
    public Module<Tensor, Tensor> Module { get; }

    /// <summary>b, if the layer has one; asked for anew each time, because moving a module to another device replaces its parameters.</summary>
    public Parameter? Bias => Module.get_parameter("bias");

    /// <summary>b as it was before anything was merged.</summary>
    public Tensor? OriginalBias => _biasBackup ?? Bias;

    /// <summary>
    /// A vector with one entry per output channel, shaped so that it adds to an output of so many dimensions: channels lie second in images, else last.
    /// </summary>
    public Tensor AlongChannels(Tensor vector, long dimensions) =>
        Module is CheckedConv2d or Convolution or TorchSharp.Modules.GroupNorm ? vector.view([-1, .. Enumerable.Repeat(1L, (int)dimensions - 2)]) : vector;

    /// <summary>W ← W + ΔW, b ← b + Δb; the originals are kept.</summary>
    internal virtual void Merge(Tensor? weightDelta, Tensor? biasDelta)
    {
        if (biasDelta is not null)
        {
            AddTo(Bias!, biasDelta, ref _biasBackup);
        }
    }

    /// <summary>Puts the originals back, bit for bit.</summary>
    internal virtual void Unmerge() => Restore(Bias, ref _biasBackup);

    /// <summary>Releases what was kept.</summary>
    public void Dispose()
    {
        Dispose(disposing: true);
        GC.SuppressFinalize(this);
    }

    /// <inheritdoc cref="Dispose()"/>
    protected virtual void Dispose(bool disposing) => _biasBackup?.Dispose();

    private protected static void AddTo(Parameter parameter, Tensor delta, ref Tensor? backup)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        backup ??= parameter.detach().clone().DetachFromDisposeScope();
        parameter.copy_(parameter.to(ScalarType.Float32).Plus(delta));
    }

    private protected static void Restore(Parameter? parameter, ref Tensor? backup)
    {
        using var noGrad = no_grad();
        if (backup is not null)
        {
            parameter!.copy_(backup);
            backup.Dispose();
            backup = null;
        }
    }
}

/// <summary>
/// A layer y = f(x; W) + b where f is linear in W. That linearity is what every adapter uses: f(x; W + ΔW) = f(x; W) + f(x; ΔW),
/// so its part can be added to the output or merged into the weight.
/// </summary>
public abstract class WeightLayer : BaseLayer
{
    private Tensor? _weightBackup;

    private protected WeightLayer(string path, Module<Tensor, Tensor> module)
        : base(path, module)
    {
    }

    /// <summary>W.</summary>
    public abstract Parameter Weight { get; }

    /// <summary>W as it was before anything was merged.</summary>
    public Tensor OriginalWeight => _weightBackup ?? Weight;

    /// <summary>f(x; W) for another weight, without the bias.</summary>
    public abstract Tensor Apply(Tensor x, Tensor weight);

    /// <summary>The axis of W that counts the outputs.</summary>
    public virtual int OutputAxis => 0;

    internal override void Merge(Tensor? weightDelta, Tensor? biasDelta)
    {
        if (weightDelta is not null)
        {
            AddTo(Weight, weightDelta, ref _weightBackup);
        }

        base.Merge(weightDelta, biasDelta);
    }

    internal override void Unmerge()
    {
        Restore(Weight, ref _weightBackup);
        base.Unmerge();
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        _weightBackup?.Dispose();
        base.Dispose(disposing);
    }

    /// <summary>The layer of a module, or <see langword="null"/> if its weight is of a kind that adapters cannot change.</summary>
    /// <param name="path">Its path in the model.</param>
    /// <param name="module">The module.</param>
    /// <param name="roles">What the model's layers are for, where it tells.</param>
    internal static WeightLayer? From(string path, nn.Module module, ILayerRoles? roles) => module switch
    {
        TorchSharp.Modules.Linear linear => new LinearLayer(path, linear),
        TransposedLinear linear => new TransposedLinearLayer(path, linear),
        CheckedConv2d conv => new Conv2dLayer(path, conv),
        TorchSharp.Modules.Conv2d { padding_mode: PaddingModes.Zeros } conv => new Conv2dLayer(path, conv),
        TorchSharp.Modules.Embedding embedding => new EmbeddingLayer(path, embedding, roles?.PaddingRow(path)),
        _ => null,
    };
}

/// <summary>y = x·Wᵀ + b with W of shape [out, in].</summary>
internal sealed class LinearLayer(string path, TorchSharp.Modules.Linear module) : WeightLayer(path, module)
{
    public override Parameter Weight => module.weight!;

    public override Tensor Apply(Tensor x, Tensor weight) => functional.linear(x, weight);
}

/// <summary>y = x·W + b with W of shape [in, out], as GPT-2 keeps it.</summary>
internal sealed class TransposedLinearLayer(string path, TransposedLinear module) : WeightLayer(path, module)
{
    public override Parameter Weight => module.Weight;

    public override int OutputAxis => 1;

    public override Tensor Apply(Tensor x, Tensor weight) => x.matmul(weight);
}

/// <summary>y = W ∗ x + b with W of shape [out, in/groups, kh, kw].</summary>
internal sealed class Conv2dLayer : WeightLayer
{
    private readonly Func<Parameter> _weight;

    public Conv2dLayer(string path, CheckedConv2d module)
        : base(path, module) => (_weight, Geometry) = (() => module.Weight, module.Geometry);

    public Conv2dLayer(string path, TorchSharp.Modules.Conv2d module)
        : base(path, module) => (_weight, Geometry) = (() => module.weight!, GeometryOf(module));

    public override Parameter Weight => _weight();

    /// <summary>How the kernel moves.</summary>
    public ConvolutionGeometry Geometry { get; }

    public long Groups => Geometry.Groups;

    public override Tensor Apply(Tensor x, Tensor weight) => CheckedConvolution.Apply(x, weight, bias: null, Geometry);

    /// <summary>How the kernel of TorchSharp's layer moves.</summary>
    public static ConvolutionGeometry GeometryOf(TorchSharp.Modules.Conv2d module)
    {
        var padding = module.padding
            ?? [.. module.kernel_size.Select((size, i) => module.padding_type == Padding.Same ? module.dilation[i] * (size - 1) / 2 : 0)];
        return new ConvolutionGeometry((module.stride[0], module.stride[1]), (padding[0], padding[1]), (module.dilation[0], module.dilation[1]), module.groups);
    }
}

/// <summary>y = W[ids] with W of shape [vocabulary, dimension].</summary>
internal sealed class EmbeddingLayer(string path, TorchSharp.Modules.Embedding module, long? paddingRow) : WeightLayer(path, module)
{
    // TorchSharp's embedding makes a new handle at each question for its weight property, which nobody frees. The registered one is lost,
    // however, when the embedding was made in a scope that has ended.
    public override Parameter Weight => module.get_parameter("weight") is { IsInvalid: false } registered ? registered : module.weight!;

    public override int OutputAxis => 1;

    public override Tensor Apply(Tensor x, Tensor weight) => Rows(weight, x);

    /// <summary>Rows of a table of as many as the vocabulary has; that of padding takes no gradient.</summary>
    public Tensor Rows(Tensor table, Tensor ids)
    {
        using var scope = NewDisposeScope();
        var rows = table[TensorIndex.Tensor(ids)];
        return (paddingRow is { } padding ? where(ids.Is(padding).unsqueeze(-1), rows.detach(), rows) : rows).MoveToOuterDisposeScope();
    }
}
