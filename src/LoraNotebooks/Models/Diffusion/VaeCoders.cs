using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace LoraNotebooks.Models.Diffusion;

/// <summary>The VAE's encoder: from an image to the moments of its latents.</summary>
/// <remarks>Source: diffusers, models/autoencoders/vae.py, <c>Encoder</c> with <c>double_z</c>.</remarks>
public sealed class VaeEncoder : Module<Tensor, Tensor>
{
    private readonly Module<Tensor, Tensor> convIn;
    private readonly ModuleList<DownEncoderBlock2D> downBlocks;
    private readonly VaeMidBlock midBlock;
    private readonly Module<Tensor, Tensor> normOut;
    private readonly Module<Tensor, Tensor> convOut;

    /// <summary>Creates the encoder.</summary>
    /// <param name="config">The architecture.</param>
    public VaeEncoder(AutoencoderKLConfig config)
        : base("Encoder")
    {
        ArgumentNullException.ThrowIfNull(config);
        var channels = config.BlockOutChannels;
        var lowest = channels.Count - 1;
        var resnet = new ResnetOptions(null, config.NormNumGroups, VaeDecoder.NormEpsilon);
        var blocks = Enumerable.Range(0, channels.Count).Select(level => new DownEncoderBlock2D(
            channels[Math.Max(level - 1, 0)], channels[level], config.LayersPerBlock, resnet, downsample: level < lowest));

        register_module("conv_in", convIn = Conv2d(config.InChannels, channels[0], kernel_size: 3, padding: 1));
        register_module("down_blocks", downBlocks = ModuleList(blocks.ToArray()));
        register_module("mid_block", midBlock = new VaeMidBlock(channels[^1], resnet, config.MidBlockAddAttention));
        register_module("conv_norm_out", normOut = GroupNorm(config.NormNumGroups, channels[^1], VaeDecoder.NormEpsilon));
        register_module("conv_out", convOut = Conv2d(channels[^1], 2 * config.LatentChannels, kernel_size: 3, padding: 1));
    }

    /// <summary>Encodes images.</summary>
    /// <param name="input">[N, InChannels, H, W] in [−1, 1].</param>
    /// <returns>Mean and log variance one behind the other, [N, 2·LatentChannels, H/f, W/f].</returns>
    public override Tensor forward(Tensor input)
    {
        using var scope = NewDisposeScope();
        var x = convIn.call(input);
        foreach (var block in downBlocks)
        {
            x = block.call(x);
        }

        x = normOut.call(midBlock.call(x));
        return convOut.call(functional.silu(x)).MoveToOuterDisposeScope();
    }
}

/// <summary>The VAE's decoder: from latents to an image.</summary>
/// <remarks>Source: diffusers, models/autoencoders/vae.py, <c>Decoder</c>.</remarks>
public sealed class VaeDecoder : Module<Tensor, Tensor>
{
    /// <summary>ε of all group norms of the VAE; upstream has no key for it.</summary>
    internal const double NormEpsilon = 1e-6;

    private readonly Module<Tensor, Tensor> convIn;
    private readonly VaeMidBlock midBlock;
    private readonly ModuleList<UpDecoderBlock2D> upBlocks;
    private readonly Module<Tensor, Tensor> normOut;
    private readonly Module<Tensor, Tensor> convOut;

    /// <summary>Creates the decoder.</summary>
    /// <param name="config">The architecture.</param>
    public VaeDecoder(AutoencoderKLConfig config)
        : base("Decoder")
    {
        ArgumentNullException.ThrowIfNull(config);
        var channels = config.BlockOutChannels;
        var lowest = channels.Count - 1;
        var resnet = new ResnetOptions(null, config.NormNumGroups, NormEpsilon);
        var blocks = Enumerable.Range(0, channels.Count).Select(i => lowest - i).Select(level => new UpDecoderBlock2D(
            channels[Math.Min(level + 1, lowest)], channels[level], config.LayersPerBlock + 1, resnet, upsample: level > 0));

        register_module("conv_in", convIn = Conv2d(config.LatentChannels, channels[^1], kernel_size: 3, padding: 1));
        register_module("up_blocks", upBlocks = ModuleList(blocks.ToArray()));
        register_module("mid_block", midBlock = new VaeMidBlock(channels[^1], resnet, config.MidBlockAddAttention));
        register_module("conv_norm_out", normOut = GroupNorm(config.NormNumGroups, channels[0], NormEpsilon));
        register_module("conv_out", convOut = Conv2d(channels[0], config.OutChannels, kernel_size: 3, padding: 1));
    }

    /// <summary>Decodes latents.</summary>
    /// <param name="input">[N, LatentChannels, h, w].</param>
    /// <returns>[N, OutChannels, f·h, f·w], about in [−1, 1].</returns>
    public override Tensor forward(Tensor input)
    {
        using var scope = NewDisposeScope();
        var x = midBlock.call(convIn.call(input));
        foreach (var block in upBlocks)
        {
            x = block.call(x);
        }

        return convOut.call(functional.silu(normOut.call(x))).MoveToOuterDisposeScope();
    }
}
