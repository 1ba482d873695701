using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace LoraNotebooks.Models.Diffusion;

/// <summary>The VAE's encoder: from an image to the moments of its latents.</summary>
/// <remarks>Source: diffusers, models/autoencoders/vae.py, <c>Encoder</c> with <c>double_z</c>.</remarks>
public sealed class VaeEncoder : Module<Tensor, Tensor>
{
    private readonly Module<Tensor, Tensor> conv_in;
    private readonly ModuleList<DownEncoderBlock2D> down_blocks;
    private readonly VaeMidBlock mid_block;
    private readonly Module<Tensor, Tensor> conv_norm_out;
    private readonly Module<Tensor, Tensor> conv_out;

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

        conv_in = Layers.Conv2d(config.InChannels, channels[0], kernel_size: 3, padding: 1);
        down_blocks = ModuleList(blocks.ToArray());
        mid_block = new VaeMidBlock(channels[^1], resnet, config.MidBlockAddAttention);
        conv_norm_out = Layers.GroupNorm(config.NormNumGroups, channels[^1], VaeDecoder.NormEpsilon);
        conv_out = Layers.Conv2d(channels[^1], 2 * config.LatentChannels, kernel_size: 3, padding: 1);
        RegisterComponents();
    }

    /// <summary>Encodes images.</summary>
    /// <param name="input">[N, InChannels, H, W] in [−1, 1].</param>
    /// <returns>Mean and log variance one behind the other, [N, 2·LatentChannels, H/f, W/f].</returns>
    public override Tensor forward(Tensor input)
    {
        using var scope = NewDisposeScope();
        var x = conv_in.call(input);
        foreach (var block in down_blocks)
        {
            x = block.call(x);
        }

        x = conv_norm_out.call(mid_block.call(x));
        return conv_out.call(functional.silu(x)).MoveToOuterDisposeScope();
    }
}

/// <summary>The VAE's decoder: from latents to an image.</summary>
/// <remarks>Source: diffusers, models/autoencoders/vae.py, <c>Decoder</c>.</remarks>
public sealed class VaeDecoder : Module<Tensor, Tensor>
{
    /// <summary>ε of all group norms of the VAE; upstream has no key for it.</summary>
    internal const double NormEpsilon = 1e-6;

    private readonly Module<Tensor, Tensor> conv_in;
    private readonly VaeMidBlock mid_block;
    private readonly ModuleList<UpDecoderBlock2D> up_blocks;
    private readonly Module<Tensor, Tensor> conv_norm_out;
    private readonly Module<Tensor, Tensor> conv_out;

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

        conv_in = Layers.Conv2d(config.LatentChannels, channels[^1], kernel_size: 3, padding: 1);
        up_blocks = ModuleList(blocks.ToArray());
        mid_block = new VaeMidBlock(channels[^1], resnet, config.MidBlockAddAttention);
        conv_norm_out = Layers.GroupNorm(config.NormNumGroups, channels[0], NormEpsilon);
        conv_out = Layers.Conv2d(channels[0], config.OutChannels, kernel_size: 3, padding: 1);
        RegisterComponents();
    }

    /// <summary>Decodes latents.</summary>
    /// <param name="input">[N, LatentChannels, h, w].</param>
    /// <returns>[N, OutChannels, f·h, f·w], about in [−1, 1].</returns>
    public override Tensor forward(Tensor input)
    {
        using var scope = NewDisposeScope();
        var x = mid_block.call(conv_in.call(input));
        foreach (var block in up_blocks)
        {
            x = block.call(x);
        }

        return conv_out.call(functional.silu(conv_norm_out.call(x))).MoveToOuterDisposeScope();
    }
}
