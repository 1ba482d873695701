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

    private static readonly FixedKeys Fixed = new(new()
    {
        ["add_cross_attention"] = [false],
        ["quantization_config"] = [null],
    });

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
    public static Gpt2Config Load(string path)
    {
        var reader = new ConfigReader(ConfigReader.ReadObject(path));
        var defaults = new Gpt2Config();
        var config = new Gpt2Config
        {
            VocabSize = reader.Value("vocab_size", defaults.VocabSize),
            HiddenSize = reader.Value("n_embd", defaults.HiddenSize),
            NumHiddenLayers = reader.Value("n_layer", defaults.NumHiddenLayers),
            NumAttentionHeads = reader.Value("n_head", defaults.NumAttentionHeads),
            MaxPositionEmbeddings = reader.Value("n_positions", defaults.MaxPositionEmbeddings),
            IntermediateSize = reader.Optional<int>("n_inner"),
            HiddenAct = reader.Value("activation_function", defaults.HiddenAct),
            LayerNormEps = reader.Value("layer_norm_epsilon", defaults.LayerNormEps),
            ScaleAttnWeights = reader.Value("scale_attn_weights", defaults.ScaleAttnWeights),
            ScaleAttnByInverseLayerIdx = reader.Value("scale_attn_by_inverse_layer_idx", defaults.ScaleAttnByInverseLayerIdx),
            ReorderAndUpcastAttn = reader.Value("reorder_and_upcast_attn", defaults.ReorderAndUpcastAttn),
            TieWordEmbeddings = reader.Value("tie_word_embeddings", defaults.TieWordEmbeddings),
            Extra = reader.Rest(),
        };
        Faults.ThrowIfAnyIn(path, [.. reader.Faults, .. config.Validate()]);
        return config;
    }

    /// <inheritdoc/>
    public override JsonObject ToJson() => ConfigWriter.Join(Extra, new Dictionary<string, JsonNode?>
    {
        ["architectures"] = new JsonArray("GPT2LMHeadModel"),
        ["model_type"] = ModelType,
        ["vocab_size"] = VocabSize,
        ["n_embd"] = HiddenSize,
        ["n_layer"] = NumHiddenLayers,
        ["n_head"] = NumAttentionHeads,
        ["n_positions"] = MaxPositionEmbeddings,
        ["n_inner"] = IntermediateSize,
        ["activation_function"] = HiddenAct,
        ["layer_norm_epsilon"] = PythonJson.Float(LayerNormEps),
        ["scale_attn_weights"] = ScaleAttnWeights,
        ["scale_attn_by_inverse_layer_idx"] = ScaleAttnByInverseLayerIdx,
        ["reorder_and_upcast_attn"] = ReorderAndUpcastAttn,
        ["tie_word_embeddings"] = TieWordEmbeddings,
    });

    /// <inheritdoc/>
    public override IReadOnlyList<string> Validate()
    {
        var faults = new Faults();
        faults.AddRange(Fixed.Faults(Extra));
        faults.Positive("vocab_size", VocabSize);
        faults.Positive("n_embd", HiddenSize);
        faults.Positive("n_layer", NumHiddenLayers);
        faults.Positive("n_head", NumAttentionHeads);
        faults.Positive("n_positions", MaxPositionEmbeddings);
        faults.Require(HiddenSize <= int.MaxValue / 4, $"n_embd: got {HiddenSize}, expected at most {int.MaxValue / 4}");
        faults.Positive("n_inner", InnerSize);
        faults.Require(NumAttentionHeads <= 0 || HiddenSize % NumAttentionHeads == 0, $"n_head: got {NumAttentionHeads}, expected a divisor of n_embd ({HiddenSize})");
        faults.Require(Activation.Names.Contains(HiddenAct), $"activation_function: got {HiddenAct}, expected one of {string.Join(", ", Activation.Names)}");
        faults.Require(LayerNormEps > 0, $"layer_norm_epsilon: got {LayerNormEps}, expected a number above 0");
        return faults;
    }
}
