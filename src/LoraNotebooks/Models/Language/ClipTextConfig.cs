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

    /// <summary>What stands in the file.</summary>
    private static readonly ConfigKeys<ClipTextConfig> Keys = new ConfigKeys<ClipTextConfig>(c => c.Extra, (c, rest) => c with { Extra = rest })
        .Group(
            (reader, c) => c with { HasProjection = reader.List<string>("architectures", []).Contains(WithProjection) },
            c => [new("architectures", new JsonArray(c.ClassName))],
            (_, _) => { })
        .Written("model_type", _ => "clip_text_model")
        .Value("vocab_size", c => c.VocabSize, (c, count) => c with { VocabSize = count }, Check.Positive)
        .Value("hidden_size", c => c.HiddenSize, (c, size) => c with { HiddenSize = size }, Check.Positive)
        .Value("intermediate_size", c => c.IntermediateSize, (c, size) => c with { IntermediateSize = size }, Check.Positive)
        .Value("num_hidden_layers", c => c.NumHiddenLayers, (c, count) => c with { NumHiddenLayers = count }, Check.Positive)
        .Value("num_attention_heads", c => c.NumAttentionHeads, (c, count) => c with { NumAttentionHeads = count }, Check.Positive)
        .Value("max_position_embeddings", c => c.MaxPositionEmbeddings, (c, count) => c with { MaxPositionEmbeddings = count }, Check.Positive)
        .Value("hidden_act", c => c.HiddenAct, (c, name) => c with { HiddenAct = name },
            (faults, key, name) => faults.Expect(name is "quick_gelu" or "gelu", key, name, "quick_gelu or gelu"))
        .Value("layer_norm_eps", c => c.LayerNormEps, (c, epsilon) => c with { LayerNormEps = epsilon }, Check.Positive)
        .Value("eos_token_id", c => c.EosTokenId, (c, id) => c with { EosTokenId = id })
        .Value("projection_dim", c => c.ProjectionDim, (c, size) => c with { ProjectionDim = size }, Check.Positive);

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
        return Keys.Read(file["text_config"] as JsonObject ?? file, new ClipTextConfig(), path, static config => config.Validate());
    }

    /// <summary>The config.json of this architecture.</summary>
    public JsonObject ToJson() => Keys.ToJson(this);

    /// <summary>Everything that is wrong or not supported: what was got, what is expected. Empty if all is well.</summary>
    public IReadOnlyList<string> Validate()
    {
        var faults = Keys.Validate(this);
        faults.Require(
            NumAttentionHeads <= 0 || HiddenSize % NumAttentionHeads == 0,
            $"num_attention_heads: got {NumAttentionHeads}, expected a divisor of hidden_size ({HiddenSize})");
        return faults;
    }

    /// <summary>Throws if <see cref="Validate"/> finds faults.</summary>
    /// <exception cref="ArgumentException">Something is wrong; the message lists everything.</exception>
    public void ThrowIfInvalid() => Faults.ThrowIfAny(Validate());
}
