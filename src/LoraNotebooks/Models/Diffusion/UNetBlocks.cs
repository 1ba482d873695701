using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace LoraNotebooks.Models.Diffusion;

/// <summary>The sizes that all residual blocks of one network share.</summary>
/// <param name="TimeDimension">The size of the time embedding, or <see langword="null"/> in a network without time.</param>
/// <param name="NormGroups">The number of groups of the group norms.</param>
/// <param name="NormEpsilon">ε of the group norms.</param>
/// <param name="Dropout">The dropout rate.</param>
public sealed record ResnetOptions(int? TimeDimension, int NormGroups, double NormEpsilon, double Dropout = 0)
{
    /// <summary>A residual block of these sizes.</summary>
    /// <param name="inChannels">The number of channels in.</param>
    /// <param name="outChannels">The number of channels out.</param>
    public ResnetBlock2D Create(int inChannels, int outChannels) => new(inChannels, outChannels, TimeDimension, NormGroups, NormEpsilon, Dropout);
}

/// <summary>
/// One level of the UNet's contracting path: residual blocks, each followed by a transformer where there is text to attend to,
/// then a downsampler except at the lowest level.
/// </summary>
/// <remarks>Source: diffusers, models/unets/unet_2d_blocks.py, <c>CrossAttnDownBlock2D</c> and <c>DownBlock2D</c>.</remarks>
public sealed class UNetDownBlock : Module<Tensor, Tensor, Tensor, Tensor[]>
{
    private readonly ModuleList<ResnetBlock2D> resnets;
    private readonly ModuleList<Transformer2DModel>? attentions;
    private readonly ModuleList<Downsample2D>? downsamplers;

    /// <summary>Creates the level.</summary>
    /// <param name="inChannels">The number of channels in.</param>
    /// <param name="outChannels">The number of channels out.</param>
    /// <param name="layers">The number of residual blocks.</param>
    /// <param name="resnet">The residual blocks' sizes.</param>
    /// <param name="transformer">The transformers' sizes, or <see langword="null"/> for a level without them.</param>
    /// <param name="downsamplePadding">The downsampler's padding, or <see langword="null"/> for the lowest level.</param>
    public UNetDownBlock(int inChannels, int outChannels, int layers, ResnetOptions resnet, TransformerOptions? transformer, int? downsamplePadding)
        : base(transformer is null ? "DownBlock2D" : "CrossAttnDownBlock2D")
    {
        var places = Enumerable.Range(0, layers);
        if (transformer is not null)
        {
            attentions = ModuleList(places.Select(_ => new Transformer2DModel(outChannels, transformer)).ToArray());
        }

        resnets = ModuleList(places.Select(i => resnet.Create(i == 0 ? inChannels : outChannels, outChannels)).ToArray());
        if (downsamplePadding is { } padding)
        {
            downsamplers = ModuleList(new Downsample2D(outChannels, padding));
        }

        RegisterComponents();
    }

    /// <summary>Runs the level.</summary>
    /// <param name="x">[N, inChannels, H, W].</param>
    /// <param name="activatedTime">silu of the time embedding, [N, time dimension].</param>
    /// <param name="context">The text's hidden states, [N, S, D].</param>
    /// <returns>The output of every layer, the downsampler's last: the last one goes on, all go to the skip connections.</returns>
    public override Tensor[] forward(Tensor x, Tensor activatedTime, Tensor context)
    {
        using var scope = NewDisposeScope();
        var outputs = new List<Tensor>();
        for (var i = 0; i < resnets.Count; i++)
        {
            x = resnets[i].call(x, activatedTime);
            x = attentions is null ? x : attentions[i].call(x, context);
            outputs.Add(x);
        }

        if (downsamplers is not null)
        {
            outputs.Add(downsamplers[0].call(x));
        }

        return [.. outputs.Select(output => output.MoveToOuterDisposeScope())];
    }
}

/// <summary>The bottom of the UNet: residual block, transformer, residual block.</summary>
/// <remarks>Source: diffusers, models/unets/unet_2d_blocks.py, <c>UNetMidBlock2DCrossAttn</c>.</remarks>
public sealed class UNetMidBlock : Module<Tensor, Tensor, Tensor, Tensor>
{
    private readonly ModuleList<Transformer2DModel> attentions;
    private readonly ModuleList<ResnetBlock2D> resnets;

    /// <summary>Creates the bottom.</summary>
    /// <param name="channels">The number of channels.</param>
    /// <param name="resnet">The residual blocks' sizes.</param>
    /// <param name="transformer">The transformer's sizes.</param>
    public UNetMidBlock(int channels, ResnetOptions resnet, TransformerOptions transformer)
        : base("UNetMidBlock2DCrossAttn")
    {
        attentions = ModuleList(new Transformer2DModel(channels, transformer));
        resnets = ModuleList(resnet.Create(channels, channels), resnet.Create(channels, channels));
        RegisterComponents();
    }

    /// <summary>Runs the bottom.</summary>
    /// <param name="x">[N, C, H, W].</param>
    /// <param name="activatedTime">silu of the time embedding, [N, time dimension].</param>
    /// <param name="context">The text's hidden states, [N, S, D].</param>
    /// <returns>[N, C, H, W].</returns>
    public override Tensor forward(Tensor x, Tensor activatedTime, Tensor context)
    {
        using var scope = NewDisposeScope();
        x = attentions[0].call(resnets[0].call(x, activatedTime), context);
        return resnets[1].call(x, activatedTime).MoveToOuterDisposeScope();
    }
}

/// <summary>
/// One level of the UNet's expanding path: each residual block also reads one skip connection and is followed by a transformer
/// where there is text to attend to; then an upsampler except at the highest level.
/// </summary>
/// <remarks>Source: diffusers, models/unets/unet_2d_blocks.py, <c>CrossAttnUpBlock2D</c> and <c>UpBlock2D</c>.</remarks>
public sealed class UNetUpBlock : Module<Tensor, Stack<Tensor>, Tensor, Tensor, Tensor>
{
    private readonly ModuleList<ResnetBlock2D> resnets;
    private readonly ModuleList<Transformer2DModel>? attentions;
    private readonly ModuleList<Upsample2D>? upsamplers;

    /// <summary>Creates the level.</summary>
    /// <param name="inChannels">The number of channels that come from the level below.</param>
    /// <param name="outChannels">The number of channels out.</param>
    /// <param name="lastSkipChannels">The number of channels of the last skip connection, which was made by the level above.</param>
    /// <param name="layers">The number of residual blocks, one more than in the contracting path.</param>
    /// <param name="resnet">The residual blocks' sizes.</param>
    /// <param name="transformer">The transformers' sizes, or <see langword="null"/> for a level without them.</param>
    /// <param name="upsample">Whether an upsampler follows.</param>
    public UNetUpBlock(int inChannels, int outChannels, int lastSkipChannels, int layers, ResnetOptions resnet, TransformerOptions? transformer, bool upsample)
        : base(transformer is null ? "UpBlock2D" : "CrossAttnUpBlock2D")
    {
        var places = Enumerable.Range(0, layers);
        if (transformer is not null)
        {
            attentions = ModuleList(places.Select(_ => new Transformer2DModel(outChannels, transformer)).ToArray());
        }

        resnets = ModuleList(places.Select(i =>
        {
            var carried = i == 0 ? inChannels : outChannels;
            var skipped = i == layers - 1 ? lastSkipChannels : outChannels;
            return resnet.Create(carried + skipped, outChannels);
        }).ToArray());
        if (upsample)
        {
            upsamplers = ModuleList(new Upsample2D(outChannels));
        }

        RegisterComponents();
    }

    /// <summary>Runs the level.</summary>
    /// <param name="x">[N, inChannels, H, W].</param>
    /// <param name="skips">The outputs of the contracting path; this level takes as many from the top as it has residual blocks.</param>
    /// <param name="activatedTime">silu of the time embedding, [N, time dimension].</param>
    /// <param name="context">The text's hidden states, [N, S, D].</param>
    /// <returns>[N, outChannels, H′, W′], of the size of the next skip connection where the level upsamples.</returns>
    public override Tensor forward(Tensor x, Stack<Tensor> skips, Tensor activatedTime, Tensor context)
    {
        using var scope = NewDisposeScope();
        for (var i = 0; i < resnets.Count; i++)
        {
            x = resnets[i].call(cat([x, skips.Pop()], 1), activatedTime);
            x = attentions is null ? x : attentions[i].call(x, context);
        }

        if (upsamplers is not null)
        {
            // The next skip connection knows the size: twice this one's, or one less where halving had rounded up.
            var size = skips.Peek().shape;
            x = upsamplers[0].call(x, size[2], size[3]);
        }

        return x.MoveToOuterDisposeScope();
    }
}
