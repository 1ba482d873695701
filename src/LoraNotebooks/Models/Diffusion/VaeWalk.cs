using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Models.Diffusion;

/// <summary>What the tensors of an autoencoder take; mirrors <see cref="VaeEncoder"/> and <see cref="VaeDecoder"/>.</summary>
/// <param name="config">The architecture.</param>
/// <param name="ledger">Where tensors are noted.</param>
/// <param name="type">The type of the weights.</param>
/// <param name="device">Where they are.</param>
internal sealed class VaeWalk(AutoencoderKLConfig config, TensorLedger ledger, ScalarType type, DeviceType device) : DiffusionWalk(ledger, type, device)
{
    private readonly int _lowest = config.BlockOutChannels.Count - 1;
    private double _batch;

    /// <summary>Pixels to latents.</summary>
    /// <param name="images">N.</param>
    /// <param name="height">The images' height in pixels.</param>
    /// <param name="width">Their width.</param>
    public void Encode(int images, int height, int width)
    {
        _batch = images;
        using var scope = Ledger.NewScope();
        var channels = config.BlockOutChannels;
        var x = Convolution("encoder.conv_in", Ledger.Input(Pixels(height, width) * config.InChannels), Pixels(height, width), channels[0]);
        for (var level = 0; level <= _lowest; level++)
        {
            x = Down(level, x, height >> level, width >> level);
        }

        var (bottomHeight, bottomWidth) = (height >> _lowest, width >> _lowest);
        x = Norm("encoder.conv_norm_out", Middle("encoder.mid_block", x, bottomHeight, bottomWidth));
        x = Convolution("encoder.conv_out", Activation(x), Pixels(bottomHeight, bottomWidth), 2 * config.LatentChannels);
        if (config.UseQuantConv)
        {
            Convolution("quant_conv", x, Pixels(bottomHeight, bottomWidth), 2 * config.LatentChannels);
        }
    }

    /// <summary>Latents to pixels.</summary>
    /// <param name="images">N.</param>
    /// <param name="height">The images' height in pixels.</param>
    /// <param name="width">Their width.</param>
    public void Decode(int images, int height, int width)
    {
        _batch = images;
        using var scope = Ledger.NewScope();
        var (bottomHeight, bottomWidth) = (height >> _lowest, width >> _lowest);
        var x = Ledger.Input(Pixels(bottomHeight, bottomWidth) * config.LatentChannels);
        if (config.UsePostQuantConv)
        {
            x = Convolution("post_quant_conv", x, Pixels(bottomHeight, bottomWidth), config.LatentChannels);
        }

        x = Convolution("decoder.conv_in", x, Pixels(bottomHeight, bottomWidth), config.BlockOutChannels[^1]);
        x = Middle("decoder.mid_block", x, bottomHeight, bottomWidth);
        for (var level = _lowest; level >= 0; level--)
        {
            x = Up(level, x, height, width);
        }

        Convolution("decoder.conv_out", Activation(Norm("decoder.conv_norm_out", x)), Pixels(height, width), config.OutChannels);
    }

    private LedgerEntry Down(int level, LedgerEntry x, int height, int width)
    {
        using var scope = Ledger.NewScope();
        var path = $"encoder.down_blocks.{level}";
        double above = config.BlockOutChannels[Math.Max(level - 1, 0)], own = config.BlockOutChannels[level];
        for (var i = 0; i < config.LayersPerBlock; i++)
        {
            x = Resnet($"{path}.resnets.{i}", x, i == 0 ? above : own, own, Pixels(height, width), null, _batch);
        }

        if (level < _lowest)
        {
            // Padded at the right and the bottom, which is a copy.
            x = Convolution($"{path}.downsamplers.0.conv", Ledger.Make(Pixels(height + 1, width + 1) * own, x), Pixels(height / 2, width / 2), own);
        }

        return scope.Out(x);
    }

    private LedgerEntry Up(int level, LedgerEntry x, int height, int width)
    {
        using var scope = Ledger.NewScope();
        var path = $"decoder.up_blocks.{_lowest - level}";
        double below = config.BlockOutChannels[Math.Min(level + 1, _lowest)], own = config.BlockOutChannels[level];
        for (var i = 0; i <= config.LayersPerBlock; i++)
        {
            x = Resnet($"{path}.resnets.{i}", x, i == 0 ? below : own, own, Pixels(height >> level, width >> level), null, _batch);
        }

        return scope.Out(level == 0 ? x : Upsample($"{path}.upsamplers.0", x, own, Pixels(height >> (level - 1), width >> (level - 1))));
    }

    private LedgerEntry Middle(string path, LedgerEntry x, int height, int width)
    {
        using var scope = Ledger.NewScope();
        double channels = config.BlockOutChannels[^1];
        var pixels = Pixels(height, width);
        x = Resnet($"{path}.resnets.0", x, channels, channels, pixels, null, _batch);
        if (config.MidBlockAddAttention)
        {
            var h = Norm($"{path}.attentions.0.group_norm", x);
            x = Ledger.Make(x.Numbers, x, Attention($"{path}.attentions.0", h, h, channels, heads: 1, _batch, pixels / _batch, pixels / _batch));
        }

        return scope.Out(Resnet($"{path}.resnets.1", x, channels, channels, pixels, null, _batch));
    }

    private double Pixels(int height, int width) => _batch * height * width;
}
