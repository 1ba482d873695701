using LoraNotebooks.Tensors;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace LoraNotebooks.Models.Language;

/// <summary>
/// CLIP's text encoder: a causal transformer over tokens whose hidden states condition a diffusion model.
/// Parameter names are upstream's (<c>text_model.encoder.layers.0.self_attn.q_proj.weight</c>, …).
/// </summary>
/// <remarks>
/// Source: Radford et al. 2021 (arXiv:2103.00020), section 2.4; transformers, models/clip/modeling_clip.py, <c>CLIPTextModel</c> and
/// <c>CLIPTextModelWithProjection</c>, which <see cref="ClipTextConfig.HasProjection"/> tells apart.
/// </remarks>
public sealed class ClipTextModel : Module<Tensor, Tensor>
{
    private const string Prefix = "text_model.";

    private readonly ClipTextTransformer text_model;
    private readonly Module<Tensor, Tensor>? text_projection;

    /// <summary>Creates the encoder; <see cref="Initialize"/> or loading gives it weights.</summary>
    /// <param name="config">The architecture.</param>
    /// <exception cref="ArgumentException">The configuration has faults; all are listed.</exception>
    public ClipTextModel(ClipTextConfig config)
        : base(nameof(ClipTextModel))
    {
        ArgumentNullException.ThrowIfNull(config);
        config.ThrowIfInvalid();
        Config = config;
        text_model = new ClipTextTransformer(config);
        if (config.HasProjection)
        {
            text_projection = Layers.Linear(config.HiddenSize, config.ProjectionDim, hasBias: false);
        }

        RegisterComponents();
    }

    /// <summary>The architecture.</summary>
    public ClipTextConfig Config { get; }

    /// <summary>Reads a <c>text_encoder</c> folder: config.json and safetensors weights.</summary>
    /// <inheritdoc cref="ModelFolder.Load{T}"/>
    public static ClipTextModel FromFolder(string folder, ScalarType? dtype = null, Device? device = null, string? variant = null) =>
        ModelFolder.Load(folder, path =>
        {
            var config = ClipTextConfig.Load(path);
            ModelFolder.RequireWeights(folder, variant, WeightCount.Of(config));
            return new ClipTextModel(config);
        }, dtype, device, variant, ParameterName);

    /// <summary>Writes a <c>text_encoder</c> folder that <see cref="FromFolder"/> and transformers read.</summary>
    /// <param name="folder">Created where it is missing.</param>
    /// <param name="dtype">The type of the weights in the file, default as in memory.</param>
    public void Save(string folder, ScalarType? dtype = null) => ModelFolder.Save(this, folder, Config.ToJson(), ModelFolder.TransformersWeights, dtype);

    /// <summary>The last layer's hidden states after the final layer norm.</summary>
    /// <param name="inputIds">Token ids, int64 [N, T], T at most <see cref="ClipTextConfig.MaxPositionEmbeddings"/>.</param>
    /// <returns>[N, T, D].</returns>
    /// <exception cref="ArgumentException">The shape does not fit.</exception>
    public override Tensor forward(Tensor inputIds) => HiddenStates(inputIds);

    /// <summary>The hidden states k layers from the end ("clip skip").</summary>
    /// <param name="inputIds">Token ids, int64 [N, T].</param>
    /// <param name="clipSkip">k, counted as trainers and web interfaces do: 1 (default) is the last layer, 2 the one before it, …</param>
    /// <param name="finalLayerNorm">Whether the final layer norm follows, as in Stable Diffusion 1.x and 2.x (default).</param>
    /// <returns>[N, T, D].</returns>
    /// <exception cref="ArgumentException">The shape does not fit, or there are not so many layers.</exception>
    public Tensor HiddenStates(Tensor inputIds, int clipSkip = 1, bool finalLayerNorm = true)
    {
        Check(inputIds, clipSkip);
        return text_model.Run(inputIds, Config.NumHiddenLayers + 1 - clipSkip, finalLayerNorm);
    }

    /// <summary>What SDXL takes of an encoder: hidden states without the final layer norm, and the pooled and projected text.</summary>
    /// <param name="inputIds">Token ids, int64 [N, T].</param>
    /// <param name="clipSkip">k as in <see cref="HiddenStates"/>; 2 (default) is the layer before the last, which SDXL was trained with.</param>
    /// <returns>[N, T, D], and [N, P] or <see langword="null"/> in an encoder without projection.</returns>
    /// <exception cref="ArgumentException">The shape does not fit, or there are not so many layers.</exception>
    public (Tensor HiddenStates, Tensor? TextEmbeds) HiddenStatesAndTextEmbeds(Tensor inputIds, int clipSkip = 2)
    {
        Check(inputIds, clipSkip);
        if (text_projection is null)
        {
            return (HiddenStates(inputIds, clipSkip, finalLayerNorm: false), null);
        }

        using var scope = NewDisposeScope();
        var (hidden, last) = text_model.RunTapped(inputIds, Config.NumHiddenLayers + 1 - clipSkip);
        var embeds = text_projection.call(PooledOutput(inputIds, last));
        return (hidden.MoveToOuterDisposeScope(), embeds.MoveToOuterDisposeScope());
    }

    private void Check(Tensor inputIds, int clipSkip)
    {
        ArgumentNullException.ThrowIfNull(inputIds);
        if (inputIds.dim() != 2 || inputIds.size(1) > Config.MaxPositionEmbeddings || inputIds.dtype != ScalarType.Int64)
        {
            throw new ArgumentException(
                $"Got token ids {inputIds.dtype} {Shapes.Text(inputIds.shape)}, expected Int64 [N, T] with T at most {Config.MaxPositionEmbeddings}, "
                    + "the encoder's positions. Truncate the text.");
        }

        if (clipSkip < 1 || clipSkip > Config.NumHiddenLayers)
        {
            throw new ArgumentException($"Got clip skip {clipSkip}, expected 1 (the last layer) to {Config.NumHiddenLayers}, the number of layers.");
        }
    }

    /// <summary>The hidden state at each text's end token, which summarizes the text.</summary>
    /// <param name="inputIds">Token ids, int64 [N, T].</param>
    /// <param name="lastHiddenState">What <see cref="forward"/> gave for them, [N, T, D].</param>
    /// <returns>[N, D].</returns>
    /// <remarks>Upstream's rule: the first <see cref="ClipTextConfig.EosTokenId"/>; where that is 2 (older checkpoints), the highest id.</remarks>
    public Tensor PooledOutput(Tensor inputIds, Tensor lastHiddenState)
    {
        using var scope = NewDisposeScope();
        var end = Config.EosTokenId == 2
            ? inputIds.argmax(-1)
            : inputIds.Is(Config.EosTokenId).to(ScalarType.Int32).argmax(-1);
        return lastHiddenState[Arithmetic.Range(inputIds.size(0), device: inputIds.device), end].MoveToOuterDisposeScope();
    }

    /// <summary>Draws all weights as upstream does before training: normal distributions scaled by depth and width, biases 0, norms 1.</summary>
    /// <param name="generator">Where the random numbers come from.</param>
    /// <remarks>Source: modeling_clip.py, <c>_init_weights</c> with initializer_factor 1.</remarks>
    public void Initialize(Generator generator)
    {
        ArgumentNullException.ThrowIfNull(generator);
        using var noGradient = no_grad();
        var width = Math.Pow(Config.HiddenSize, -0.5);
        var depth = Math.Pow(2 * Config.NumHiddenLayers, -0.5);
        foreach (var (name, parameter) in named_parameters())
        {
            if (name.EndsWith(".bias", StringComparison.Ordinal))
            {
                parameter.zero_();
            }
            else if (!name.Contains("layer_norm", StringComparison.Ordinal))
            {
                var part = name.Split('.')[^2];
                var deviation = part switch
                {
                    "token_embedding" or "position_embedding" => 0.02,
                    "q_proj" or "k_proj" or "v_proj" => width * depth,
                    "out_proj" => width,
                    "text_projection" => width,
                    "fc1" => Math.Pow(2 * Config.HiddenSize, -0.5),
                    _ => width * depth, // fc2
                };
                parameter.normal_(0, deviation, generator);
            }
        }
    }

    /// <summary>Older files carry the constant positions 0, 1, …, and some lack the outer prefix.</summary>
    private static string? ParameterName(string key) =>
        key.EndsWith("embeddings.position_ids", StringComparison.Ordinal) ? null
        : key.StartsWith(Prefix, StringComparison.Ordinal) || key.StartsWith("text_projection.", StringComparison.Ordinal) ? key
        : Prefix + key;
}

/// <summary>Embeddings, layers and final norm: upstream's <c>CLIPTextTransformer</c>.</summary>
internal sealed class ClipTextTransformer : Module<Tensor, Tensor>
{
    private readonly ClipTextEmbeddings embeddings;
    private readonly ClipEncoder encoder;
    private readonly Module<Tensor, Tensor> final_layer_norm;
    private readonly int _layers;

    public ClipTextTransformer(ClipTextConfig config)
        : base(nameof(ClipTextTransformer))
    {
        _layers = config.NumHiddenLayers;
        embeddings = new ClipTextEmbeddings(config);
        encoder = new ClipEncoder(config);
        final_layer_norm = Layers.LayerNorm(config.HiddenSize, config.LayerNormEps);
        RegisterComponents();
    }

    public override Tensor forward(Tensor inputIds) => Run(inputIds, _layers, normalize: true);

    /// <summary>The states after some layers as they are, and those after all layers and the final norm.</summary>
    public (Tensor Hidden, Tensor Last) RunTapped(Tensor inputIds, int layerCount)
    {
        using var scope = NewDisposeScope();
        var hidden = encoder.Run(embeddings.call(inputIds), 0, layerCount);
        var last = final_layer_norm.call(encoder.Run(hidden, layerCount, _layers));
        return (hidden.MoveToOuterDisposeScope(), last.MoveToOuterDisposeScope());
    }

    public Tensor Run(Tensor inputIds, int layerCount, bool normalize)
    {
        using var scope = NewDisposeScope();
        var hidden = encoder.Run(embeddings.call(inputIds), 0, layerCount);
        return (normalize ? final_layer_norm.call(hidden) : hidden).MoveToOuterDisposeScope();
    }
}

/// <summary>Token plus position embedding.</summary>
internal sealed class ClipTextEmbeddings : Module<Tensor, Tensor>
{
    private readonly Module<Tensor, Tensor> token_embedding;
    private readonly Module<Tensor, Tensor> position_embedding;

    public ClipTextEmbeddings(ClipTextConfig config)
        : base(nameof(ClipTextEmbeddings))
    {
        token_embedding = Layers.Embedding(config.VocabSize, config.HiddenSize);
        position_embedding = Layers.Embedding(config.MaxPositionEmbeddings, config.HiddenSize);
        RegisterComponents();
    }

    public override Tensor forward(Tensor inputIds)
    {
        using var scope = NewDisposeScope();
        var positions = Arithmetic.Range(inputIds.size(1), ScalarType.Int64, inputIds.device).unsqueeze(0);
        return token_embedding.call(inputIds).Plus(position_embedding.call(positions)).MoveToOuterDisposeScope();
    }
}

/// <summary>The stack of layers under one causal mask.</summary>
internal sealed class ClipEncoder : Module<Tensor, Tensor>
{
    private readonly ModuleList<ClipEncoderLayer> layers;

    public ClipEncoder(ClipTextConfig config)
        : base(nameof(ClipEncoder))
    {
        layers = ModuleList(Enumerable.Range(0, config.NumHiddenLayers).Select(_ => new ClipEncoderLayer(config)).ToArray());
        RegisterComponents();
    }

    public override Tensor forward(Tensor hidden) => Run(hidden, 0, layers.Count);

    /// <summary>The layers from one number to before another.</summary>
    public Tensor Run(Tensor hidden, int first, int end)
    {
        using var scope = NewDisposeScope();
        var length = hidden.size(1);

        // A token sees itself and what is before it: −∞ above the diagonal.
        var mask = Arithmetic.Full([length, length], float.NegativeInfinity, hidden.dtype, hidden.device).triu(1);
        for (var i = first; i < end; i++)
        {
            hidden = layers[i].call(hidden, mask);
        }

        // Where no layer ran, the states are the caller's and stay its own.
        return first == end ? hidden.alias().MoveToOuterDisposeScope() : hidden.MoveToOuterDisposeScope();
    }
}

/// <summary>One pre-norm transformer layer: h + attention(norm(h)), then h + mlp(norm(h)).</summary>
internal sealed class ClipEncoderLayer : Module<Tensor, Tensor, Tensor>
{
    private readonly ClipAttention self_attn;
    private readonly Module<Tensor, Tensor> layer_norm1;
    private readonly ClipMlp mlp;
    private readonly Module<Tensor, Tensor> layer_norm2;

    public ClipEncoderLayer(ClipTextConfig config)
        : base(nameof(ClipEncoderLayer))
    {
        self_attn = new ClipAttention(config);
        layer_norm1 = Layers.LayerNorm(config.HiddenSize, config.LayerNormEps);
        mlp = new ClipMlp(config);
        layer_norm2 = Layers.LayerNorm(config.HiddenSize, config.LayerNormEps);
        RegisterComponents();
    }

    public override Tensor forward(Tensor hidden, Tensor mask)
    {
        using var scope = NewDisposeScope();
        var attended = hidden.Plus(self_attn.call(layer_norm1.call(hidden), mask));
        return attended.Plus(mlp.call(layer_norm2.call(attended))).MoveToOuterDisposeScope();
    }
}

/// <summary>Masked multi-head self-attention: W_o·softmax(QKᵀ/√d + mask)·V.</summary>
internal sealed class ClipAttention : Module<Tensor, Tensor, Tensor>
{
    private readonly int _heads;
    private readonly Module<Tensor, Tensor> k_proj;
    private readonly Module<Tensor, Tensor> v_proj;
    private readonly Module<Tensor, Tensor> q_proj;
    private readonly Module<Tensor, Tensor> out_proj;

    public ClipAttention(ClipTextConfig config)
        : base(nameof(ClipAttention))
    {
        _heads = config.NumAttentionHeads;
        k_proj = Layers.Linear(config.HiddenSize, config.HiddenSize);
        v_proj = Layers.Linear(config.HiddenSize, config.HiddenSize);
        q_proj = Layers.Linear(config.HiddenSize, config.HiddenSize);
        out_proj = Layers.Linear(config.HiddenSize, config.HiddenSize);
        RegisterComponents();
    }

    public override Tensor forward(Tensor hidden, Tensor mask)
    {
        using var scope = NewDisposeScope();
        var (batch, length, width) = (hidden.size(0), hidden.size(1), hidden.size(2));
        var d = width / _heads;
        var q = SplitHeads(q_proj.call(hidden));
        var k = SplitHeads(k_proj.call(hidden));
        var v = SplitHeads(v_proj.call(hidden));

        // mask + QKᵀ/√d in one pass. In TorchSharp the matrices come first and the added tensor last.
        var weights = q.baddbmm(k.transpose(1, 2), mask, beta: 1, alpha: (float)(1 / Math.Sqrt(d))).softmax(-1);
        var attended = weights.bmm(v).view(batch, _heads, length, d).transpose(1, 2).reshape(batch, length, width);
        return out_proj.call(attended).MoveToOuterDisposeScope();

        // [N, T, heads·d] → [N·heads, T, d]
        Tensor SplitHeads(Tensor tokens) => tokens.view(batch, length, _heads, d).transpose(1, 2).reshape(batch * _heads, length, d);
    }
}

/// <summary>The feed-forward part: W₂·act(W₁·h).</summary>
internal sealed class ClipMlp : Module<Tensor, Tensor>
{
    private readonly Module<Tensor, Tensor> fc1;
    private readonly Module<Tensor, Tensor> fc2;
    private readonly bool _quick;

    public ClipMlp(ClipTextConfig config)
        : base(nameof(ClipMlp))
    {
        _quick = config.HiddenAct == "quick_gelu";
        fc1 = Layers.Linear(config.HiddenSize, config.IntermediateSize);
        fc2 = Layers.Linear(config.IntermediateSize, config.HiddenSize);
        RegisterComponents();
    }

    public override Tensor forward(Tensor hidden)
    {
        using var scope = NewDisposeScope();
        var h = fc1.call(hidden);

        // quick_gelu is Hendrycks and Gimpel's approximation x·σ(1.702x) (arXiv:1606.08415).
        var activated = _quick ? h * h.Times(1.702).sigmoid() : functional.gelu(h);
        return fc2.call(activated).MoveToOuterDisposeScope();
    }
}
