using System.Text.Json.Nodes;

namespace LoraNotebooks.Models.Language;

/// <summary>
/// The architecture of a <see cref="ClipTextModel"/>: the <c>config.json</c> of a Stable Diffusion <c>text_encoder</c> folder.
/// Defaults are upstream's; keys that mean nothing here are kept and saved again.
/// </summary>
/// <remarks>Source: transformers, models/clip/configuration_clip.py, <c>CLIPTextConfig</c>.</remarks>
public sealed record ClipTextConfig
{
    private const string WithProjection = "CLIPTextModelWithProjection";

    /// <summary>Rows of the token embedding, default 49408; at least the tokenizer's vocabulary size.</summary>
    public int VocabSize { get; init; } = 49408;

    /// <summary>D, the size of a token's hidden state, default 512; Stable Diffusion 1.x has 768.</summary>
    public int HiddenSize { get; init; } = 512;

    /// <summary>The width of the feed-forward layers, default 2048.</summary>
    public int IntermediateSize { get; init; } = 2048;

    /// <summary>The number of transformer layers, default 12.</summary>
    public int NumHiddenLayers { get; init; } = 12;

    /// <summary>The number of attention heads, default 8; it divides <see cref="HiddenSize"/>.</summary>
    public int NumAttentionHeads { get; init; } = 8;

    /// <summary>The longest sequence, default 77.</summary>
    public int MaxPositionEmbeddings { get; init; } = 77;

    /// <summary>The activation, <c>quick_gelu</c> (default; x·σ(1.702x)) or <c>gelu</c>.</summary>
    public string HiddenAct { get; init; } = "quick_gelu";

    /// <summary>ε of the layer norms, default 1e-5.</summary>
    public double LayerNormEps { get; init; } = 1e-5;

    /// <summary>The id whose first occurrence is pooled, default 49407; 2 marks older checkpoints, where the highest id is.</summary>
    public int EosTokenId { get; init; } = 49407;

    /// <summary>P, the size of the projected text, default 512; it counts where <see cref="HasProjection"/>.</summary>
    public int ProjectionDim { get; init; } = 512;

    /// <summary>Whether the pooled text is projected (upstream's <c>CLIPTextModelWithProjection</c>, SDXL's second encoder); default no.</summary>
    public bool HasProjection { get; init; }

    /// <summary>The keys of the file that have no property here; they are saved as they were.</summary>
    public IReadOnlyDictionary<string, JsonNode?> Extra { get; init; } = new Dictionary<string, JsonNode?>();

    /// <summary>Upstream's name of the class.</summary>
    internal string ClassName => HasProjection ? WithProjection : "CLIPTextModel";

    /// <summary>Reads a config.json; that of a whole CLIP model gives its <c>text_config</c>.</summary>
    /// <param name="path">The file.</param>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="InvalidDataException">The file asks for what this class does not build, or is damaged; all faults are listed.</exception>
    public static ClipTextConfig Load(string path)
    {
        var file = ConfigReader.ReadObject(path);
        var reader = new ConfigReader(file["text_config"] as JsonObject ?? file);
        var defaults = new ClipTextConfig();
        var config = new ClipTextConfig
        {
            VocabSize = reader.Value("vocab_size", defaults.VocabSize),
            HiddenSize = reader.Value("hidden_size", defaults.HiddenSize),
            IntermediateSize = reader.Value("intermediate_size", defaults.IntermediateSize),
            NumHiddenLayers = reader.Value("num_hidden_layers", defaults.NumHiddenLayers),
            NumAttentionHeads = reader.Value("num_attention_heads", defaults.NumAttentionHeads),
            MaxPositionEmbeddings = reader.Value("max_position_embeddings", defaults.MaxPositionEmbeddings),
            HiddenAct = reader.Value("hidden_act", defaults.HiddenAct),
            LayerNormEps = reader.Value("layer_norm_eps", defaults.LayerNormEps),
            EosTokenId = reader.Value("eos_token_id", defaults.EosTokenId),
            ProjectionDim = reader.Value("projection_dim", defaults.ProjectionDim),
            HasProjection = reader.List<string>("architectures", []).Contains(WithProjection),
            Extra = reader.Rest(),
        };
        Faults.ThrowIfAnyIn(path, [.. reader.Faults, .. config.Validate()]);
        return config;
    }

    /// <summary>The config.json of this architecture.</summary>
    public JsonObject ToJson() => ConfigWriter.Join(Extra, new Dictionary<string, JsonNode?>
    {
        ["architectures"] = new JsonArray(ClassName),
        ["model_type"] = "clip_text_model",
        ["vocab_size"] = VocabSize,
        ["hidden_size"] = HiddenSize,
        ["intermediate_size"] = IntermediateSize,
        ["num_hidden_layers"] = NumHiddenLayers,
        ["num_attention_heads"] = NumAttentionHeads,
        ["max_position_embeddings"] = MaxPositionEmbeddings,
        ["hidden_act"] = HiddenAct,
        ["layer_norm_eps"] = LayerNormEps,
        ["eos_token_id"] = EosTokenId,
        ["projection_dim"] = ProjectionDim,
    });

    /// <summary>Everything that is wrong or not supported: what was got, what is expected. Empty if all is well.</summary>
    public IReadOnlyList<string> Validate()
    {
        var faults = new Faults();
        faults.Positive("vocab_size", VocabSize);
        faults.Positive("hidden_size", HiddenSize);
        faults.Positive("intermediate_size", IntermediateSize);
        faults.Positive("num_hidden_layers", NumHiddenLayers);
        faults.Positive("num_attention_heads", NumAttentionHeads);
        faults.Positive("max_position_embeddings", MaxPositionEmbeddings);
        faults.Positive("projection_dim", ProjectionDim);
        faults.Require(NumAttentionHeads <= 0 || HiddenSize % NumAttentionHeads == 0, $"num_attention_heads: got {NumAttentionHeads}, expected a divisor of hidden_size ({HiddenSize})");
        faults.Require(HiddenAct is "quick_gelu" or "gelu", $"hidden_act: got {HiddenAct}, expected quick_gelu or gelu");
        faults.Require(LayerNormEps > 0, $"layer_norm_eps: got {LayerNormEps}, expected a number above 0");
        return faults;
    }

    /// <summary>Throws if <see cref="Validate"/> finds faults.</summary>
    /// <exception cref="ArgumentException">Something is wrong; the message lists everything.</exception>
    public void ThrowIfInvalid() => Faults.ThrowIfAny(Validate());
}
