using LoraNotebooks.Tensors;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace LoraNotebooks.Models.Language;

/// <summary>Embeddings, layers and final norm of Llama and Qwen2: upstream's <c>LlamaModel</c> and <c>Qwen2Model</c>.</summary>
internal sealed class RotaryDecoder : CausalDecoder
{
    private readonly RotaryDecoderConfig _config;
    private readonly Module<Tensor, Tensor> embed_tokens;
    private readonly ModuleList<RotaryDecoderLayer> layers;
    private readonly Module<Tensor, Tensor> norm;

    public RotaryDecoder(RotaryDecoderConfig config)
        : base(nameof(RotaryDecoder))
    {
        config.ThrowIfInvalid();
        _config = config;
        embed_tokens = Layers.Embedding(config.VocabSize, config.HiddenSize);
        layers = ModuleList(Enumerable.Range(0, config.NumHiddenLayers).Select(_ => new RotaryDecoderLayer(config)).ToArray());
        norm = Layers.RmsNorm(config.HiddenSize, config.RmsNormEps);
        RegisterComponents();
    }

    public override Tensor EmbeddingTable => Layers.Table(embed_tokens);

    public override Tensor Run(Tensor inputIds, Tensor? attentionMask, Tensor positions, List<Tensor>? tap)
    {
        using var scope = NewDisposeScope();
        var hidden = embed_tokens.call(inputIds);
        var (cos, sin) = RotaryEmbedding.Angles(_config.Rotary, positions, _config.HeadSize, hidden.dtype);

        // Layers of one window share a mask.
        var masks = Enumerable.Range(0, _config.NumHiddenLayers).Select(_config.WindowOf).Distinct()
            .ToDictionary(static window => window ?? 0, window => AttentionMask.Causal(hidden, attentionMask, window));
        return norm.call(RunLayers(hidden, layers, (layer, i, h) => layer.call(h, cos, sin, masks[_config.WindowOf(i) ?? 0]), tap)).MoveToOuterDisposeScope();
    }
}

/// <summary>One pre-norm transformer layer: h + attention(norm(h)), then h + mlp(norm(h)).</summary>
internal sealed class RotaryDecoderLayer : Module<Tensor, Tensor, Tensor, AttentionMask, Tensor>
{
    private readonly RotaryAttention self_attn;
    private readonly GatedMlp mlp;
    private readonly Module<Tensor, Tensor> input_layernorm;
    private readonly Module<Tensor, Tensor> post_attention_layernorm;

    public RotaryDecoderLayer(RotaryDecoderConfig config)
        : base(nameof(RotaryDecoderLayer))
    {
        self_attn = new RotaryAttention(config);
        mlp = new GatedMlp(config);
        input_layernorm = Layers.RmsNorm(config.HiddenSize, config.RmsNormEps);
        post_attention_layernorm = Layers.RmsNorm(config.HiddenSize, config.RmsNormEps);
        RegisterComponents();
    }

    public override Tensor forward(Tensor hidden, Tensor cos, Tensor sin, AttentionMask mask)
    {
        using var scope = NewDisposeScope();
        var attended = hidden.Plus(self_attn.call(input_layernorm.call(hidden), cos, sin, mask));
        return attended.Plus(mlp.call(post_attention_layernorm.call(attended))).MoveToOuterDisposeScope();
    }
}

/// <summary>Masked self-attention with rotary positions, in which each key and value head serves a group of query heads.</summary>
/// <remarks>Source: Ainslie et al. 2023 (arXiv:2305.13245), section 2.2; transformers, models/llama/modeling_llama.py, <c>LlamaAttention</c>.</remarks>
internal sealed class RotaryAttention : Module<Tensor, Tensor, Tensor, AttentionMask, Tensor>
{
    private readonly int _heads;
    private readonly int _groups;
    private readonly int _d;
    private readonly Module<Tensor, Tensor> q_proj;
    private readonly Module<Tensor, Tensor> k_proj;
    private readonly Module<Tensor, Tensor> v_proj;
    private readonly Module<Tensor, Tensor> o_proj;

    public RotaryAttention(RotaryDecoderConfig config)
        : base(nameof(RotaryAttention))
    {
        (_heads, _groups, _d) = (config.NumAttentionHeads, config.KeyValueHeads, config.HeadSize);
        q_proj = Layers.Linear(config.HiddenSize, _heads * _d, config.HasQueryKeyValueBias);
        k_proj = Layers.Linear(config.HiddenSize, _groups * _d, config.HasQueryKeyValueBias);
        v_proj = Layers.Linear(config.HiddenSize, _groups * _d, config.HasQueryKeyValueBias);
        o_proj = Layers.Linear(_heads * _d, config.HiddenSize, config.HasOutputBias);
        RegisterComponents();
    }

    public override Tensor forward(Tensor hidden, Tensor cos, Tensor sin, AttentionMask mask)
    {
        using var scope = NewDisposeScope();
        var (batch, length) = (hidden.size(0), hidden.size(1));
        var q = RotaryEmbedding.Turn(q_proj.call(hidden).view(batch, length, _heads, _d), cos, sin).flatten(2);
        var k = ForEachHead(RotaryEmbedding.Turn(k_proj.call(hidden).view(batch, length, _groups, _d), cos, sin));
        var v = ForEachHead(v_proj.call(hidden).view(batch, length, _groups, _d));
        return o_proj.call(ScaledDotProduct.Attend(q, k, v, _heads, upcast: false, mask)).MoveToOuterDisposeScope();

        // [N, T, groups, d] → [N, T, heads·d], each group's head as often as it has query heads.
        Tensor ForEachHead(Tensor x) => x.unsqueeze(3).expand(batch, length, _groups, _heads / _groups, _d).reshape(batch, length, _heads * _d);
    }
}

/// <summary>The feed-forward part: W_down·(act(W_gate·h) ⊙ W_up·h).</summary>
/// <remarks>Source: Shazeer 2020 (arXiv:2002.05202), section 2, SwiGLU.</remarks>
internal sealed class GatedMlp : Module<Tensor, Tensor>
{
    private readonly string _activation;
    private readonly Module<Tensor, Tensor> gate_proj;
    private readonly Module<Tensor, Tensor> up_proj;
    private readonly Module<Tensor, Tensor> down_proj;

    public GatedMlp(RotaryDecoderConfig config)
        : base(nameof(GatedMlp))
    {
        _activation = config.HiddenAct;
        gate_proj = Layers.Linear(config.HiddenSize, config.IntermediateSize, config.HasMlpBias);
        up_proj = Layers.Linear(config.HiddenSize, config.IntermediateSize, config.HasMlpBias);
        down_proj = Layers.Linear(config.IntermediateSize, config.HiddenSize, config.HasMlpBias);
        RegisterComponents();
    }

    public override Tensor forward(Tensor hidden)
    {
        using var scope = NewDisposeScope();
        return down_proj.call(Activation.Apply(_activation, gate_proj.call(hidden)) * up_proj.call(hidden)).MoveToOuterDisposeScope();
    }
}
