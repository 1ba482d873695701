using LoraNotebooks.Tensors;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace LoraNotebooks.Models.Diffusion;

/// <summary>One level of the VAE's encoder: residual blocks, then a downsampler except at the lowest level.</summary>
/// <remarks>Source: diffusers, models/unets/unet_2d_blocks.py, <c>DownEncoderBlock2D</c>.</remarks>
public sealed class DownEncoderBlock2D : Module<Tensor, Tensor>
{
    private readonly ModuleList<ResnetBlock2D> resnets;
    private readonly ModuleList<Downsample2D>? downsamplers;

    /// <summary>Creates the level.</summary>
    /// <param name="inChannels">The number of channels in.</param>
    /// <param name="outChannels">The number of channels out.</param>
    /// <param name="layers">The number of residual blocks.</param>
    /// <param name="resnet">The residual blocks' sizes.</param>
    /// <param name="downsample">Whether a downsampler follows.</param>
    public DownEncoderBlock2D(int inChannels, int outChannels, int layers, ResnetOptions resnet, bool downsample)
        : base(nameof(DownEncoderBlock2D))
    {
        resnets = ModuleList(
            Enumerable.Range(0, layers).Select(i => resnet.Create(i == 0 ? inChannels : outChannels, outChannels)).ToArray());
        if (downsample)
        {
            downsamplers = ModuleList(new Downsample2D(outChannels, padding: 0));
        }

        RegisterComponents();
    }

    /// <summary>Runs the level.</summary>
    /// <param name="input">[N, inChannels, H, W].</param>
    /// <returns>[N, outChannels, H/2, W/2], or H×W without a downsampler.</returns>
    public override Tensor forward(Tensor input)
    {
        using var scope = NewDisposeScope();
        var x = input;
        foreach (var resnet in resnets)
        {
            x = resnet.call(x, null);
        }

        return (downsamplers is null ? x : downsamplers[0].call(x)).MoveToOuterDisposeScope();
    }
}

/// <summary>One level of the VAE's decoder: residual blocks, then an upsampler except at the highest level.</summary>
/// <remarks>Source: diffusers, models/unets/unet_2d_blocks.py, <c>UpDecoderBlock2D</c>.</remarks>
public sealed class UpDecoderBlock2D : Module<Tensor, Tensor>
{
    private readonly ModuleList<ResnetBlock2D> resnets;
    private readonly ModuleList<Upsample2D>? upsamplers;

    /// <summary>Creates the level.</summary>
    /// <param name="inChannels">The number of channels in.</param>
    /// <param name="outChannels">The number of channels out.</param>
    /// <param name="layers">The number of residual blocks, one more than in the encoder.</param>
    /// <param name="resnet">The residual blocks' sizes.</param>
    /// <param name="upsample">Whether an upsampler follows.</param>
    public UpDecoderBlock2D(int inChannels, int outChannels, int layers, ResnetOptions resnet, bool upsample)
        : base(nameof(UpDecoderBlock2D))
    {
        resnets = ModuleList(
            Enumerable.Range(0, layers).Select(i => resnet.Create(i == 0 ? inChannels : outChannels, outChannels)).ToArray());
        if (upsample)
        {
            upsamplers = ModuleList(new Upsample2D(outChannels));
        }

        RegisterComponents();
    }

    /// <summary>Runs the level.</summary>
    /// <param name="input">[N, inChannels, H, W].</param>
    /// <returns>[N, outChannels, 2·H, 2·W], or H×W without an upsampler.</returns>
    public override Tensor forward(Tensor input)
    {
        using var scope = NewDisposeScope();
        var x = input;
        foreach (var resnet in resnets)
        {
            x = resnet.call(x, null);
        }

        if (upsamplers is not null)
        {
            var size = x.shape;
            x = upsamplers[0].call(x, 2 * size[2], 2 * size[3]);
        }

        return x.MoveToOuterDisposeScope();
    }
}

/// <summary>The lowest resolution of encoder and decoder: residual block, attention (if any), residual block.</summary>
/// <remarks>Source: diffusers, models/unets/unet_2d_blocks.py, <c>UNetMidBlock2D</c>.</remarks>
public sealed class VaeMidBlock : Module<Tensor, Tensor>
{
    private readonly ModuleList<SpatialAttention>? attentions;
    private readonly ModuleList<ResnetBlock2D> resnets;

    /// <summary>Creates the block.</summary>
    /// <param name="channels">The number of channels.</param>
    /// <param name="resnet">The residual blocks' sizes.</param>
    /// <param name="attention">Whether there is an attention layer.</param>
    public VaeMidBlock(int channels, ResnetOptions resnet, bool attention)
        : base("UNetMidBlock2D")
    {
        ArgumentNullException.ThrowIfNull(resnet);
        if (attention)
        {
            attentions = ModuleList(new SpatialAttention(channels, resnet.NormGroups, resnet.NormEpsilon));
        }

        resnets = ModuleList(resnet.Create(channels, channels), resnet.Create(channels, channels));
        RegisterComponents();
    }

    /// <summary>Runs the block.</summary>
    /// <param name="input">[N, C, H, W].</param>
    /// <returns>[N, C, H, W].</returns>
    public override Tensor forward(Tensor input)
    {
        using var scope = NewDisposeScope();
        var x = resnets[0].call(input, null);
        x = attentions is null ? x : attentions[0].call(x);
        return resnets[1].call(x, null).MoveToOuterDisposeScope();
    }
}

/// <summary>Self-attention of all pixels with one head of all channels, behind a group norm and a residual connection.</summary>
/// <remarks>Source: diffusers, models/attention_processor.py, <c>Attention</c> as <c>UNetMidBlock2D</c> makes it.</remarks>
public sealed class SpatialAttention : Module<Tensor, Tensor>
{
    private readonly Module<Tensor, Tensor> group_norm;
    private readonly Module<Tensor, Tensor> to_q;
    private readonly Module<Tensor, Tensor> to_k;
    private readonly Module<Tensor, Tensor> to_v;
    private readonly ModuleList<Module<Tensor, Tensor>> to_out;

    /// <summary>Creates the layers.</summary>
    /// <param name="channels">C, the number of channels.</param>
    /// <param name="groups">The number of groups of the group norm.</param>
    /// <param name="epsilon">ε of the group norm.</param>
    public SpatialAttention(int channels, int groups, double epsilon)
        : base(nameof(Attention))
    {
        group_norm = Layers.GroupNorm(groups, channels, epsilon);
        to_q = Layers.Linear(channels, channels);
        to_k = Layers.Linear(channels, channels);
        to_v = Layers.Linear(channels, channels);
        to_out = ModuleList<Module<Tensor, Tensor>>(Layers.Linear(channels, channels), Dropout(0));
        RegisterComponents();
    }

    /// <summary>y = x + W_o·softmax(QKᵀ/√C)·V + b_o over the pixels of norm(x).</summary>
    /// <param name="input">x, [N, C, H, W].</param>
    /// <returns>[N, C, H, W].</returns>
    public override Tensor forward(Tensor input)
    {
        using var scope = NewDisposeScope();
        var h = group_norm.call(input).flatten(2).transpose(1, 2);
        h = ScaledDotProduct.Attend(to_q.call(h), to_k.call(h), to_v.call(h), heads: 1, upcast: false);
        h = to_out[0].call(h).transpose(1, 2).reshape(input.shape);
        return h.Plus(input).MoveToOuterDisposeScope();
    }
}
