using LoraNotebooks.Tensors;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace LoraNotebooks.Models.Language;

/// <summary>GPT-2 with a head over the vocabulary.</summary>
/// <remarks>
/// Source: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.3;
/// transformers, models/gpt2/modeling_gpt2.py, <c>GPT2LMHeadModel</c>.
/// </remarks>
public sealed class Gpt2LMHeadModel : CausalLanguageModel
{
    /// <summary>Creates the model; loading gives it weights.</summary>
    /// <param name="config">The architecture.</param>
    /// <exception cref="ArgumentException">The configuration has faults; all are listed.</exception>
    public Gpt2LMHeadModel(Gpt2Config config)
        : base(nameof(Gpt2LMHeadModel), new Gpt2Decoder(config), config) => Config = config;

    /// <inheritdoc/>
    public override Gpt2Config Config { get; }

    /// <summary>Reads a folder: config.json and safetensors weights.</summary>
    /// <inheritdoc cref="ModelFolder.Load{T}"/>
    public static new Gpt2LMHeadModel FromFolder(string folder, ScalarType? dtype = null, Device? device = null, string? variant = null) =>
        Load(folder, Gpt2Config.Load, static config => new Gpt2LMHeadModel(config), dtype, device, variant);
}

/// <summary>Token plus position embeddings, layers and final norm: upstream's <c>GPT2Model</c>.</summary>
internal sealed class Gpt2Decoder : CausalDecoder
{
    private readonly Module<Tensor, Tensor> wte;
    private readonly Module<Tensor, Tensor> wpe;
    private readonly ModuleList<Gpt2Block> h;
    private readonly Module<Tensor, Tensor> ln_f;

    public Gpt2Decoder(Gpt2Config config)
        : base(nameof(Gpt2Decoder))
    {
        config.ThrowIfInvalid();
        wte = Layers.Embedding(config.VocabSize, config.HiddenSize);
        wpe = Layers.Embedding(config.MaxPositionEmbeddings, config.HiddenSize);
        h = ModuleList(Enumerable.Range(0, config.NumHiddenLayers).Select(layer => new Gpt2Block(config, layer)).ToArray());
        ln_f = Layers.LayerNorm(config.HiddenSize, config.LayerNormEps);
        RegisterComponents();
    }

    public override Tensor EmbeddingTable => Layers.Table(wte);

    public override Tensor Run(Tensor inputIds, Tensor? attentionMask, Tensor positions, List<Tensor>? tap)
    {
        using var scope = NewDisposeScope();
        var hidden = wte.call(inputIds).Plus(wpe.call(positions));
        var mask = AttentionMask.Causal(hidden, attentionMask);
        return ln_f.call(RunLayers(hidden, h, (block, _, x) => block.call(x, mask), tap)).MoveToOuterDisposeScope();
    }
}

/// <summary>One pre-norm transformer layer: x + attention(norm(x)), then x + mlp(norm(x)).</summary>
internal sealed class Gpt2Block : Module<Tensor, AttentionMask, Tensor>
{
    private readonly Module<Tensor, Tensor> ln_1;
    private readonly Gpt2Attention attn;
    private readonly Module<Tensor, Tensor> ln_2;
    private readonly Gpt2Mlp mlp;

    public Gpt2Block(Gpt2Config config, int layer)
        : base(nameof(Gpt2Block))
    {
        ln_1 = Layers.LayerNorm(config.HiddenSize, config.LayerNormEps);
        attn = new Gpt2Attention(config, layer);
        ln_2 = Layers.LayerNorm(config.HiddenSize, config.LayerNormEps);
        mlp = new Gpt2Mlp(config);
        RegisterComponents();
    }

    public override Tensor forward(Tensor x, AttentionMask mask)
    {
        using var scope = NewDisposeScope();
        var attended = x.Plus(attn.call(ln_1.call(x), mask));
        return attended.Plus(mlp.call(ln_2.call(attended))).MoveToOuterDisposeScope();
    }
}

/// <summary>Masked multi-head self-attention, with one projection for queries, keys and values.</summary>
internal sealed class Gpt2Attention : Module<Tensor, AttentionMask, Tensor>
{
    private readonly int _heads;
    private readonly bool _upcast;
    private readonly double _scale;
    private readonly Module<Tensor, Tensor> c_attn;
    private readonly Module<Tensor, Tensor> c_proj;

    public Gpt2Attention(Gpt2Config config, int layer)
        : base(nameof(Gpt2Attention))
    {
        (_heads, _upcast) = (config.NumAttentionHeads, config.ReorderAndUpcastAttn);

        // Beyond the usual 1/√d, which the attention itself has.
        _scale = (config.ScaleAttnWeights ? 1 : Math.Sqrt(config.HiddenSize / _heads)) / (config.ScaleAttnByInverseLayerIdx ? layer + 1 : 1);
        c_attn = Layers.TransposedLinear(config.HiddenSize, 3L * config.HiddenSize);
        c_proj = Layers.TransposedLinear(config.HiddenSize, config.HiddenSize);
        RegisterComponents();
    }

    public override Tensor forward(Tensor x, AttentionMask mask)
    {
        using var scope = NewDisposeScope();
        var parts = c_attn.call(x).chunk(3, -1);
        var (q, k, v) = (_scale == 1 ? parts[0] : parts[0].Times(_scale), parts[1], parts[2]);
        return c_proj.call(ScaledDotProduct.Attend(q, k, v, _heads, _upcast, mask)).MoveToOuterDisposeScope();
    }
}

/// <summary>The feed-forward part: W₂·act(W₁·x).</summary>
internal sealed class Gpt2Mlp : Module<Tensor, Tensor>
{
    private readonly string _activation;
    private readonly Module<Tensor, Tensor> c_fc;
    private readonly Module<Tensor, Tensor> c_proj;

    public Gpt2Mlp(Gpt2Config config)
        : base(nameof(Gpt2Mlp))
    {
        _activation = config.HiddenAct;
        c_fc = Layers.TransposedLinear(config.HiddenSize, config.InnerSize);
        c_proj = Layers.TransposedLinear(config.InnerSize, config.HiddenSize);
        RegisterComponents();
    }

    public override Tensor forward(Tensor x)
    {
        using var scope = NewDisposeScope();
        return c_proj.call(Activation.Apply(_activation, c_fc.call(x))).MoveToOuterDisposeScope();
    }
}
