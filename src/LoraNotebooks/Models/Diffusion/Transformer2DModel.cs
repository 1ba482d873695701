using LoraNotebooks.Tensors;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace LoraNotebooks.Models.Diffusion;

/// <summary>The transformer at one place of the UNet: pixels become tokens, attend to each other and to the text, and become pixels again.</summary>
/// <remarks>
/// Source: Rombach et al. 2022, section 3.3; diffusers, models/transformers/transformer_2d.py, <c>Transformer2DModel</c> with continuous input.
/// </remarks>
public sealed class Transformer2DModel : Module<Tensor, Tensor, Tensor>
{
    private const double NormEpsilon = 1e-6;

    private readonly bool _linearProjection;
    private readonly Module<Tensor, Tensor> norm;
    private readonly Module<Tensor, Tensor> proj_in;
    private readonly ModuleList<BasicTransformerBlock> transformer_blocks;
    private readonly Module<Tensor, Tensor> proj_out;

    /// <summary>Creates the layers with PyTorch's default initialisation.</summary>
    /// <param name="channels">C, the number of channels in and out; each head has ⌊C/heads⌋ of them.</param>
    /// <param name="options">What is common to the transformers of one level.</param>
    public Transformer2DModel(int channels, TransformerOptions options)
        : base(nameof(Transformer2DModel))
    {
        ArgumentNullException.ThrowIfNull(options);
        var inner = options.Heads * (channels / options.Heads);
        _linearProjection = options.UseLinearProjection;
        norm = Layers.GroupNorm(options.NormGroups, channels, NormEpsilon);
        proj_in = _linearProjection ? Layers.Linear(channels, inner) : Layers.Conv2d(channels, inner, kernel_size: 1);
        transformer_blocks = ModuleList(
            Enumerable.Range(0, options.Layers).Select(_ => new BasicTransformerBlock(inner, options)).ToArray());
        proj_out = _linearProjection ? Layers.Linear(inner, channels) : Layers.Conv2d(inner, channels, kernel_size: 1);
        RegisterComponents();
    }

    /// <summary>y = x + proj_out(blocks(proj_in(norm(x)), c)).</summary>
    /// <param name="x">[N, C, H, W].</param>
    /// <param name="context">c, the text's hidden states, [N, S, cross-attention dimension].</param>
    /// <returns>[N, C, H, W].</returns>
    public override Tensor forward(Tensor x, Tensor context)
    {
        using var scope = NewDisposeScope();
        var shape = x.shape;
        var h = norm.call(x);
        h = _linearProjection ? proj_in.call(ToTokens(h)) : ToTokens(proj_in.call(h));
        foreach (var block in transformer_blocks)
        {
            h = block.call(h, context);
        }

        h = _linearProjection ? ToPixels(proj_out.call(h), shape) : proj_out.call(ToPixels(h, shape));
        return h.Plus(x).MoveToOuterDisposeScope();
    }

    /// <summary>[N, C, H, W] → [N, H·W, C].</summary>
    private static Tensor ToTokens(Tensor pixels) => pixels.flatten(2).transpose(1, 2);

    /// <summary>[N, H·W, C] → [N, C, H, W].</summary>
    private static Tensor ToPixels(Tensor tokens, long[] shape) => tokens.transpose(1, 2).reshape(shape[0], -1, shape[2], shape[3]);
}

/// <summary>What the transformers of one level of the UNet have in common.</summary>
/// <param name="Layers">The number of transformer blocks.</param>
/// <param name="Heads">The number of attention heads.</param>
/// <param name="CrossAttentionDimension">The size of a text token.</param>
/// <param name="NormGroups">The number of groups of the group norm.</param>
/// <param name="UseLinearProjection">Whether proj_in and proj_out are linear layers (SD 2.x) rather than 1×1 convolutions (SD 1.x).</param>
/// <param name="OnlyCrossAttention">Whether the first attention, too, looks at the text.</param>
/// <param name="UpcastAttention">Whether attention is computed in float32.</param>
/// <param name="Dropout">The dropout rate inside the blocks.</param>
public sealed record TransformerOptions(
    int Layers,
    int Heads,
    int CrossAttentionDimension,
    int NormGroups,
    bool UseLinearProjection,
    bool OnlyCrossAttention,
    bool UpcastAttention,
    double Dropout);

/// <summary>Self-attention, cross-attention and feed-forward, each behind a layer norm and a residual connection.</summary>
/// <remarks>Source: diffusers, models/attention.py, <c>BasicTransformerBlock</c> with layer norm.</remarks>
public sealed class BasicTransformerBlock : Module<Tensor, Tensor, Tensor>
{
    private readonly bool _onlyCrossAttention;
    private readonly Module<Tensor, Tensor> norm1;
    private readonly Attention attn1;
    private readonly Module<Tensor, Tensor> norm2;
    private readonly Attention attn2;
    private readonly Module<Tensor, Tensor> norm3;
    private readonly FeedForward ff;

    /// <summary>Creates the layers with PyTorch's default initialisation.</summary>
    /// <param name="dimension">The size of a token.</param>
    /// <param name="options">What is common to the transformers of one level.</param>
    public BasicTransformerBlock(int dimension, TransformerOptions options)
        : base(nameof(BasicTransformerBlock))
    {
        ArgumentNullException.ThrowIfNull(options);
        _onlyCrossAttention = options.OnlyCrossAttention;
        var (heads, text) = (options.Heads, options.CrossAttentionDimension);
        norm1 = Layers.LayerNorm(dimension);
        attn1 = new Attention(dimension, _onlyCrossAttention ? text : dimension, heads, dimension / heads, options.UpcastAttention, options.Dropout);
        norm2 = Layers.LayerNorm(dimension);
        attn2 = new Attention(dimension, text, heads, dimension / heads, options.UpcastAttention, options.Dropout);
        norm3 = Layers.LayerNorm(dimension);
        ff = new FeedForward(dimension, options.Dropout);
        RegisterComponents();
    }

    /// <summary>x ← x + attn₁(norm₁(x)); x ← x + attn₂(norm₂(x), c); y = x + ff(norm₃(x)).</summary>
    /// <param name="x">Tokens, [N, T, dimension].</param>
    /// <param name="context">c, the text's hidden states, [N, S, cross-attention dimension].</param>
    /// <returns>[N, T, dimension].</returns>
    public override Tensor forward(Tensor x, Tensor context)
    {
        using var scope = NewDisposeScope();
        var h = norm1.call(x);
        x = attn1.call(h, _onlyCrossAttention ? context : h).Plus(x);
        x = attn2.call(norm2.call(x), context).Plus(x);
        return ff.call(norm3.call(x)).Plus(x).MoveToOuterDisposeScope();
    }
}

/// <summary>The feed-forward layer: a gated expansion to four times the size and back.</summary>
/// <remarks>Source: diffusers, models/attention.py, <c>FeedForward</c> with <c>activation_fn = "geglu"</c>.</remarks>
public sealed class FeedForward : Module<Tensor, Tensor>
{
    private const int Expansion = 4;

    private readonly ModuleList<Module<Tensor, Tensor>> net;

    /// <summary>Creates the layers.</summary>
    /// <param name="dimension">The size of a token.</param>
    /// <param name="dropout">The dropout rate between the layers, default 0.</param>
    public FeedForward(int dimension, double dropout = 0)
        : base(nameof(FeedForward))
    {
        var inner = Expansion * dimension;
        net = ModuleList<Module<Tensor, Tensor>>(new GatedGelu(dimension, inner), Dropout(dropout), Layers.Linear(inner, dimension));
        RegisterComponents();
    }

    /// <summary>W₂·dropout(GEGLU(x)) + b₂.</summary>
    /// <param name="input">[N, T, dimension].</param>
    /// <returns>[N, T, dimension].</returns>
    public override Tensor forward(Tensor input)
    {
        using var scope = NewDisposeScope();
        var h = net[0].call(input);
        h = ((Dropout)net[1]).p > 0 ? net[1].call(h) : h;
        return net[2].call(h).MoveToOuterDisposeScope();
    }
}

/// <summary>GEGLU, a linear layer whose one half gates the other.</summary>
/// <remarks>Source: Shazeer 2020, "GLU Variants Improve Transformer"; diffusers, models/activations.py, <c>GEGLU</c>.</remarks>
public sealed class GatedGelu : Module<Tensor, Tensor>
{
    private readonly Module<Tensor, Tensor> proj;

    /// <summary>Creates the projection to twice the output's size.</summary>
    /// <param name="inFeatures">The size of a token.</param>
    /// <param name="outFeatures">The size of the result.</param>
    public GatedGelu(int inFeatures, int outFeatures)
        : base("GEGLU")
    {
        proj = Layers.Linear(inFeatures, 2 * outFeatures);
        RegisterComponents();
    }

    /// <summary>[a, g] = W·x + b; a ⊙ gelu(g), with the exact (error function) gelu.</summary>
    /// <param name="input">[N, T, inFeatures].</param>
    /// <returns>[N, T, outFeatures].</returns>
    public override Tensor forward(Tensor input)
    {
        using var scope = NewDisposeScope();
        var halves = proj.call(input).chunk(2, -1);
        return (halves[0] * functional.gelu(halves[1])).MoveToOuterDisposeScope();
    }
}
