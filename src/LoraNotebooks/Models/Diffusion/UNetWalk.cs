using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Models.Diffusion;

/// <summary>What the tensors of a UNet's prediction take; mirrors <see cref="UNet2DConditionModel.forward"/> and its blocks.</summary>
/// <param name="config">The architecture.</param>
/// <param name="ledger">Where tensors are noted.</param>
/// <param name="type">The type of the weights.</param>
/// <param name="device">Where they are.</param>
internal sealed class UNetWalk(UNetConfig config, TensorLedger ledger, ScalarType type, DeviceType device) : DiffusionWalk(ledger, type, device)
{
    private const int GatedExpansion = 8;
    private const int Expansion = 4;

    private double _batch;
    private double _textTokens;

    /// <summary>A prediction.</summary>
    /// <param name="images">N.</param>
    /// <param name="height">The height of the latents.</param>
    /// <param name="width">Their width.</param>
    /// <param name="text">S, the tokens of a text.</param>
    /// <param name="trainsText">Whether gradients reach the text: its hidden states, and in SDXL the pooled one.</param>
    public void Run(int images, int height, int width, int text, bool trainsText = false)
    {
        (_batch, _textTokens) = (images, text);
        using var scope = Ledger.NewScope();
        var channels = config.BlockOutChannels;
        double timeSize = 4.0 * channels[0];
        var context = Ledger.Input(_batch * _textTokens * config.CrossAttentionDim[0], trainsText);
        var time = Embedding("time_embedding", channels[0], timeSize);
        if (config.HasAddedConditions)
        {
            // The pooled text is a part of what is embedded, so that gradients reach a trained text from every residual block.
            time = Ledger.Make(time.Numbers, time, Embedding("add_embedding", config.ProjectionClassEmbeddingsInputDim!.Value, timeSize, trainsText));
        }

        time = Activation(time);
        var sizes = Sizes(height, width);
        var x = Convolution("conv_in", Ledger.Input(_batch * config.InChannels * height * width), Pixels(sizes[0]), channels[0]);
        var skips = new Stack<(LedgerEntry Entry, double Channels)>();
        skips.Push((x, channels[0]));
        for (var level = 0; level < channels.Count; level++)
        {
            x = Down(level, x, time, context, sizes, skips);
        }

        x = Middle(x, time, context, sizes[^1]);
        for (var level = channels.Count - 1; level >= 0; level--)
        {
            x = Up(level, x, time, context, sizes, skips);
        }

        Convolution("conv_out", Activation(Norm("conv_norm_out", x)), Pixels(sizes[0]), config.OutChannels);
    }

    private LedgerEntry Down(
        int level,
        LedgerEntry x,
        LedgerEntry time,
        LedgerEntry context,
        (int Height, int Width)[] sizes,
        Stack<(LedgerEntry Entry, double Channels)> skips)
    {
        using var scope = Ledger.NewScope();
        var path = $"down_blocks.{level}";
        double own = config.BlockOutChannels[level], above = config.BlockOutChannels[Math.Max(level - 1, 0)];
        for (var i = 0; i < config.LayersPerBlock[level]; i++)
        {
            x = Resnet($"{path}.resnets.{i}", x, i == 0 ? above : own, own, Pixels(sizes[level]), time, _batch);
            x = Transformer($"{path}.attentions.{i}", x, own, config.DownTransformer(level), context, sizes[level]);
            skips.Push((scope.Out(x), own));
        }

        if (level < config.BlockOutChannels.Count - 1)
        {
            x = Convolution($"{path}.downsamplers.0.conv", x, Pixels(sizes[level + 1]), own);
            skips.Push((scope.Out(x), own));
        }

        return x;
    }

    private LedgerEntry Middle(LedgerEntry x, LedgerEntry time, LedgerEntry context, (int Height, int Width) size)
    {
        using var scope = Ledger.NewScope();
        double channels = config.BlockOutChannels[^1];
        x = Resnet("mid_block.resnets.0", x, channels, channels, Pixels(size), time, _batch);
        x = Transformer("mid_block.attentions.0", x, channels, config.MidTransformer(), context, size);
        return scope.Out(Resnet("mid_block.resnets.1", x, channels, channels, Pixels(size), time, _batch));
    }

    private LedgerEntry Up(
        int level,
        LedgerEntry x,
        LedgerEntry time,
        LedgerEntry context,
        (int Height, int Width)[] sizes,
        Stack<(LedgerEntry Entry, double Channels)> skips)
    {
        using var scope = Ledger.NewScope();
        var path = $"up_blocks.{config.BlockOutChannels.Count - 1 - level}";
        double own = config.BlockOutChannels[level];
        for (var i = 0; i <= config.LayersPerBlock[level]; i++)
        {
            var skip = skips.Pop();
            var joined = Ledger.Make(x.Numbers + skip.Entry.Numbers, x, skip.Entry);
            x = Resnet($"{path}.resnets.{i}", joined, joined.Numbers / Pixels(sizes[level]), own, Pixels(sizes[level]), time, _batch);
            x = Transformer($"{path}.attentions.{i}", x, own, config.UpTransformer(level), context, sizes[level]);
        }

        return scope.Out(level == 0 ? x : Upsample($"{path}.upsamplers.0", x, own, Pixels(sizes[level - 1])));
    }

    private LedgerEntry Transformer(string path, LedgerEntry x, double channels, TransformerOptions? options, LedgerEntry context, (int Height, int Width) size)
    {
        if (options is null)
        {
            return x;
        }

        using var scope = Ledger.NewScope();
        var pixels = Pixels(size);
        var inner = options.Heads * Math.Floor(channels / options.Heads);
        var h = Norm($"{path}.norm", x);
        h = options.UseLinearProjection ? Linear($"{path}.proj_in", h, pixels, inner) : Convolution($"{path}.proj_in", h, pixels, inner);
        for (var i = 0; i < options.Layers; i++)
        {
            h = Block($"{path}.transformer_blocks.{i}", h, inner, options, context, (double)size.Height * size.Width);
        }

        h = options.UseLinearProjection ? Linear($"{path}.proj_out", h, pixels, channels) : Convolution($"{path}.proj_out", h, pixels, channels);
        return scope.Out(Ledger.Make(h.Numbers, h, x));
    }

    /// <summary>See <see cref="BasicTransformerBlock"/>: self-attention, attention to the text, gated feed-forward.</summary>
    private LedgerEntry Block(string path, LedgerEntry x, double size, TransformerOptions options, LedgerEntry context, double tokens)
    {
        using var scope = Ledger.NewScope();
        var h = Norm($"{path}.norm1", x);
        x = options.OnlyCrossAttention
            ? Sum(Attention($"{path}.attn1", h, context, size, options.Heads, _batch, tokens, _textTokens, options.UpcastAttention), x)
            : Sum(Attention($"{path}.attn1", h, h, size, options.Heads, _batch, tokens, tokens, options.UpcastAttention), x);
        x = Sum(Attention($"{path}.attn2", Norm($"{path}.norm2", x), context, size, options.Heads, _batch, tokens, _textTokens, options.UpcastAttention), x);
        return scope.Out(Sum(FeedForward($"{path}.ff", Norm($"{path}.norm3", x), size, _batch * tokens), x));
    }

    /// <summary>a ⊙ gelu(b): both halves and gelu(b) are read by the backward pass.</summary>
    private LedgerEntry FeedForward(string path, LedgerEntry x, double size, double rows)
    {
        using var scope = Ledger.NewScope();
        var halves = Linear($"{path}.net.0.proj", x, rows, GatedExpansion * size);
        var gate = Ledger.MakeSaving(rows * Expansion * size, halves);
        return scope.Out(Linear($"{path}.net.2", Ledger.MakeSaving(gate.Numbers, halves, gate), rows, size));
    }

    private LedgerEntry Embedding(string path, double features, double size, bool isTrained = false)
    {
        var h = Linear($"{path}.linear_1", Ledger.Input(_batch * features, isTrained), _batch, size);
        return Linear($"{path}.linear_2", Activation(h), _batch, size);
    }

    private LedgerEntry Sum(LedgerEntry a, LedgerEntry b) => Ledger.Make(a.Numbers, a, b);

    private double Pixels((int Height, int Width) size) => _batch * size.Height * size.Width;

    /// <summary>The latents' size at each level; halving rounds up.</summary>
    private (int Height, int Width)[] Sizes(int height, int width)
    {
        var sizes = new (int Height, int Width)[config.BlockOutChannels.Count];
        sizes[0] = (height, width);
        for (var level = 1; level < sizes.Length; level++)
        {
            var above = sizes[level - 1];
            sizes[level] = config.DownsamplePadding == 0 ? (above.Height / 2, above.Width / 2) : ((above.Height + 1) / 2, (above.Width + 1) / 2);
        }

        return sizes;
    }
}
