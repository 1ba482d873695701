using System.Text.Json.Nodes;

namespace LoraNotebooks.Models.Language;

/// <summary>
/// The architecture of a <see cref="Gpt2LMHeadModel"/>: the <c>config.json</c> of its folder. Defaults are upstream's, those of the small GPT-2.
/// The file's names are shorter: n_embd is <see cref="CausalLanguageConfig.HiddenSize"/>, n_positions <see cref="CausalLanguageConfig.MaxPositionEmbeddings"/>.
/// </summary>
/// <remarks>Source: transformers, models/gpt2/configuration_gpt2.py.</remarks>
public sealed record Gpt2Config : CausalLanguageConfig
{
    internal const string Type = "gpt2";

    /// <summary>What stands in the file.</summary>
    private static readonly ConfigKeys<Gpt2Config> Keys = new ConfigKeys<Gpt2Config>(c => c.Extra, (c, rest) => c with { Extra = rest })
        .Written("architectures", _ => new JsonArray("GPT2LMHeadModel"))
        .Written("model_type", _ => Type)
        .Value("vocab_size", c => c.VocabSize, (c, count) => c with { VocabSize = count }, Check.Positive)
        .Value("n_embd", c => c.HiddenSize, (c, size) => c with { HiddenSize = size }, Check.Positive)
        .Value("n_layer", c => c.NumHiddenLayers, (c, count) => c with { NumHiddenLayers = count }, Check.Positive)
        .Value("n_head", c => c.NumAttentionHeads, (c, count) => c with { NumAttentionHeads = count }, Check.Positive)
        .Value("n_positions", c => c.MaxPositionEmbeddings, (c, count) => c with { MaxPositionEmbeddings = count }, Check.Positive)
        .Optional("n_inner", c => c.IntermediateSize, (c, size) => c with { IntermediateSize = size }, Check.Positive)
        .Value("activation_function", c => c.HiddenAct, (c, name) => c with { HiddenAct = name },
            (faults, key, name) => faults.OneOf(key, name, Activation.Names))
        .Value("layer_norm_epsilon", c => c.LayerNormEps, (c, epsilon) => c with { LayerNormEps = epsilon }, Check.Positive)
        .Value("scale_attn_weights", c => c.ScaleAttnWeights, (c, scales) => c with { ScaleAttnWeights = scales })
        .Value("scale_attn_by_inverse_layer_idx", c => c.ScaleAttnByInverseLayerIdx, (c, scales) => c with { ScaleAttnByInverseLayerIdx = scales })
        .Value("reorder_and_upcast_attn", c => c.ReorderAndUpcastAttn, (c, upcasts) => c with { ReorderAndUpcastAttn = upcasts })
        .Value("tie_word_embeddings", c => c.TieWordEmbeddings, (c, ties) => c with { TieWordEmbeddings = ties })
        .Only("add_cross_attention", false)
        .Only("quantization_config", [null]);

    /// <summary>The defaults.</summary>
    public Gpt2Config()
    {
        VocabSize = 50257;
        HiddenSize = 768;
        NumHiddenLayers = 12;
        NumAttentionHeads = 12;
        MaxPositionEmbeddings = 1024;
        TieWordEmbeddings = true;
    }

    /// <summary>The width of the feed-forward layers (n_inner), default 4·D.</summary>
    public int? IntermediateSize { get; init; }

    /// <summary>The activation, default gelu_new.</summary>
    public string HiddenAct { get; init; } = "gelu_new";

    /// <summary>ε of the layer norms, default 1e-5.</summary>
    public double LayerNormEps { get; init; } = 1e-5;

    /// <summary>Whether attention's scores are divided by √d, default yes.</summary>
    public bool ScaleAttnWeights { get; init; } = true;

    /// <summary>Whether those of layer i, counted from 0, are also divided by i + 1; default no.</summary>
    public bool ScaleAttnByInverseLayerIdx { get; init; }

    /// <summary>Whether attention is computed in float32 whatever the weights' type; default no.</summary>
    public bool ReorderAndUpcastAttn { get; init; }

    internal override string ModelType => Type;

    internal override string DecoderName => "transformer";

    internal override string EmbeddingName => "wte";

    internal override int? LearnedPositions => MaxPositionEmbeddings;

    internal override double WeightCount => Models.WeightCount.Of(this);

    /// <summary>The width of the feed-forward layers.</summary>
    internal int InnerSize => IntermediateSize ?? 4 * HiddenSize;

    /// <summary>Reads a config.json.</summary>
    /// <param name="path">The file.</param>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="InvalidDataException">The file asks for what this class does not build, or is damaged; all faults are listed.</exception>
    public static Gpt2Config Load(string path) => Keys.Read(ConfigReader.ReadObject(path), new Gpt2Config(), path, static config => config.Validate());

    /// <inheritdoc/>
    public override JsonObject ToJson() => Keys.ToJson(this);

    /// <inheritdoc/>
    public override IReadOnlyList<string> Validate()
    {
        var faults = Keys.Validate(this);
        faults.Require(HiddenSize <= int.MaxValue / 4, $"n_embd: got {HiddenSize}, expected at most {int.MaxValue / 4}");
        faults.Require(
            NumAttentionHeads <= 0 || HiddenSize % NumAttentionHeads == 0,
            $"n_head: got {NumAttentionHeads}, expected a divisor of n_embd ({HiddenSize})");
        return faults;
    }
}
