using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Models.Diffusion;

/// <summary>The blocks that UNet and autoencoder share.</summary>
/// <param name="ledger">Where tensors are noted.</param>
/// <param name="type">The type of the weights.</param>
/// <param name="device">Where they are.</param>
internal abstract class DiffusionWalk(TensorLedger ledger, ScalarType type, DeviceType device) : NetworkWalk(ledger)
{
    /// <summary>See <see cref="ResnetBlock2D"/>. Of its six steps each keeps one tensor for the backward pass: 3·(C_in + C_out) numbers per pixel.</summary>
    /// <param name="path">The block's path.</param>
    /// <param name="x">[N, inChannels, H, W].</param>
    /// <param name="inChannels">The channels in.</param>
    /// <param name="outChannels">The channels out.</param>
    /// <param name="pixels">N·H·W.</param>
    /// <param name="time">silu of the time embedding, or <see langword="null"/>.</param>
    /// <param name="batch">N.</param>
    protected LedgerEntry Resnet(string path, LedgerEntry x, double inChannels, double outChannels, double pixels, LedgerEntry? time, double batch)
    {
        using var scope = Ledger.NewScope();
        var h = Convolution($"{path}.conv1", Activation(Norm($"{path}.norm1", x)), pixels, outChannels);
        if (time is not null)
        {
            h = Ledger.Make(h.Numbers, h, Linear($"{path}.time_emb_proj", time, batch, outChannels));
        }

        h = Convolution($"{path}.conv2", Activation(Norm($"{path}.norm2", h)), pixels, outChannels);
        var shortcut = inChannels == outChannels ? x : Convolution($"{path}.conv_shortcut", x, pixels, outChannels);
        return scope.Out(Ledger.Make(h.Numbers, h, shortcut));
    }

    /// <summary>Queries, keys, values, attention and output projection of tokens over a context.</summary>
    /// <param name="path">The attention's path.</param>
    /// <param name="x">N·T tokens.</param>
    /// <param name="context">N·S tokens.</param>
    /// <param name="size">The size of a token and of all heads together.</param>
    /// <param name="heads">The number of heads.</param>
    /// <param name="batch">N.</param>
    /// <param name="tokens">T.</param>
    /// <param name="contextTokens">S.</param>
    /// <param name="upcast">Whether scores are computed in float32.</param>
    protected LedgerEntry Attention(
        string path,
        LedgerEntry x,
        LedgerEntry context,
        double size,
        double heads,
        double batch,
        double tokens,
        double contextTokens,
        bool upcast = false)
    {
        using var scope = Ledger.NewScope();
        var q = Linear($"{path}.to_q", x, batch * tokens, size);
        var k = Linear($"{path}.to_k", context, batch * contextTokens, size);
        var v = Linear($"{path}.to_v", context, batch * contextTokens, size);
        var isUpcast = upcast && type != ScalarType.Float32;
        if (isUpcast)
        {
            (q, k, v) = (InFloat32(q), InFloat32(k), InFloat32(v));
        }

        var isFused = IsFused(isUpcast ? ScalarType.Float32 : type, device, tokens * contextTokens);
        var attended = Attend(q, k, v, batch * heads * tokens * contextTokens, batch * heads * tokens, isFused);
        if (isUpcast)
        {
            attended = Ledger.Make(batch * tokens * size, attended);
        }

        return scope.Out(Linear($"{path}.to_out.0", attended, batch * tokens, size));
    }

    /// <summary>See <see cref="Upsample2D"/>.</summary>
    /// <param name="path">Its path.</param>
    /// <param name="x">The input.</param>
    /// <param name="channels">C.</param>
    /// <param name="pixels">N·H·W of the output.</param>
    protected LedgerEntry Upsample(string path, LedgerEntry x, double channels, double pixels)
    {
        using var scope = Ledger.NewScope();
        return scope.Out(Convolution($"{path}.conv", Ledger.Make(pixels * channels, x), pixels, channels));
    }

    private LedgerEntry InFloat32(LedgerEntry x) => Ledger.Make(x.Numbers * sizeof(float) / Ledger.NumberSize, x);
}
