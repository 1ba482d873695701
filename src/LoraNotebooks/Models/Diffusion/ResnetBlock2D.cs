using LoraNotebooks.Tensors;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace LoraNotebooks.Models.Diffusion;

/// <summary>The residual block of UNet and VAE: two normalised 3×3 convolutions, the time embedding added between them.</summary>
/// <remarks>Source: Ho et al. 2020, appendix B; diffusers, models/resnet.py, <c>ResnetBlock2D</c> with <c>time_embedding_norm = "default"</c>.</remarks>
public sealed class ResnetBlock2D : Module<Tensor, Tensor?, Tensor>
{
    private readonly Module<Tensor, Tensor> norm1;
    private readonly Module<Tensor, Tensor> conv1;
    private readonly Module<Tensor, Tensor>? time_emb_proj;
    private readonly Module<Tensor, Tensor> norm2;
    private readonly Module<Tensor, Tensor>? dropout;
    private readonly Module<Tensor, Tensor> conv2;
    private readonly Module<Tensor, Tensor>? conv_shortcut;

    /// <summary>Creates the layers with PyTorch's default initialisation.</summary>
    /// <param name="inChannels">The number of channels in; another number out adds a 1×1 convolution to the shortcut.</param>
    /// <param name="outChannels">The number of channels out.</param>
    /// <param name="timeDimension">The size of the time embedding, or <see langword="null"/> for a block without one (VAE).</param>
    /// <param name="groups">The number of groups of the group norms.</param>
    /// <param name="epsilon">ε of the group norms.</param>
    /// <param name="dropout">The dropout rate before the second convolution, default 0.</param>
    public ResnetBlock2D(int inChannels, int outChannels, int? timeDimension, int groups, double epsilon, double dropout = 0)
        : base(nameof(ResnetBlock2D))
    {
        norm1 = Layers.GroupNorm(groups, inChannels, epsilon);
        conv1 = Layers.Conv2d(inChannels, outChannels, kernel_size: 3, padding: 1);
        if (timeDimension is { } size)
        {
            time_emb_proj = Layers.Linear(size, outChannels);
        }

        norm2 = Layers.GroupNorm(groups, outChannels, epsilon);
        if (dropout > 0)
        {
            this.dropout = Dropout(dropout);
        }

        conv2 = Layers.Conv2d(outChannels, outChannels, kernel_size: 3, padding: 1);
        if (inChannels != outChannels)
        {
            conv_shortcut = Layers.Conv2d(inChannels, outChannels, kernel_size: 1);
        }

        RegisterComponents();
    }

    /// <summary>
    /// h = conv₁(silu(norm₁(x))) + W_t·silu(τ);  y = shortcut(x) + conv₂(dropout(silu(norm₂(h)))).
    /// </summary>
    /// <param name="x">[N, inChannels, H, W].</param>
    /// <param name="activatedTime">silu(τ), [N, timeDimension]: every block needs the same one, so it is computed once. Null in a block without time.</param>
    /// <returns>y, [N, outChannels, H, W].</returns>
    public override Tensor forward(Tensor x, Tensor? activatedTime)
    {
        using var scope = NewDisposeScope();
        var h = conv1.call(functional.silu(norm1.call(x)));
        if (time_emb_proj is not null)
        {
            h = h.Plus(time_emb_proj.call(activatedTime!).unsqueeze(-1).unsqueeze(-1));
        }

        h = functional.silu(norm2.call(h));
        h = conv2.call(dropout is null ? h : dropout.call(h));
        return h.Plus(conv_shortcut is null ? x : conv_shortcut.call(x)).MoveToOuterDisposeScope();
    }
}
