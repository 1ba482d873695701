using System.Text.Json.Nodes;

namespace LoraNotebooks.Models.Language;

/// <summary>The architecture that Llama brought and Qwen2 took over: rotary positions, root-mean-square norms, gated feed-forward layers, grouped queries.</summary>
public abstract record RotaryDecoderConfig : CausalLanguageConfig
{
    private static readonly FixedKeys Fixed = new(new()
    {
        ["partial_rotary_factor"] = [null, 1],
        ["pretraining_tp"] = [1],
        ["quantization_config"] = [null],
    });

    private protected RotaryDecoderConfig()
    {
    }

    /// <summary>The width of the feed-forward layers.</summary>
    public int IntermediateSize { get; init; }

    /// <summary>The number of key and value heads, each of which serves an equal share of the query heads; default as many as those.</summary>
    public int? NumKeyValueHeads { get; init; }

    /// <summary>d, the size of a head, an even number; default <see cref="CausalLanguageConfig.HiddenSize"/> / <see cref="CausalLanguageConfig.NumAttentionHeads"/>.</summary>
    public int? HeadDim { get; init; }

    /// <summary>The activation of the gate, default silu.</summary>
    public string HiddenAct { get; init; } = "silu";

    /// <summary>ε of the norms, default 1e-6.</summary>
    public double RmsNormEps { get; init; } = 1e-6;

    /// <summary>The frequencies of the positions.</summary>
    public RotaryConfig Rotary { get; init; } = new();

    /// <summary>The id of padding, whose row of the token embedding is not trained; a negative one counts from the end. Default none.</summary>
    public int? PadTokenId { get; init; }

    internal override string DecoderName => "model";

    internal override string EmbeddingName => "embed_tokens";

    internal override long? PaddingRow => PadTokenId < 0 ? PadTokenId + VocabSize : PadTokenId;

    internal override double WeightCount => Models.WeightCount.Of(this);

    /// <summary>The number of key and value heads.</summary>
    internal int KeyValueHeads => NumKeyValueHeads ?? NumAttentionHeads;

    /// <summary>d.</summary>
    internal int HeadSize => HeadDim ?? HiddenSize / NumAttentionHeads;

    /// <summary>Whether queries, keys and values have a bias.</summary>
    internal abstract bool HasQueryKeyValueBias { get; }

    /// <summary>Whether attention's output projection has a bias.</summary>
    internal abstract bool HasOutputBias { get; }

    /// <summary>Whether the feed-forward layers have a bias.</summary>
    internal abstract bool HasMlpBias { get; }

    /// <summary>How many tokens a layer's attention reaches back, itself included, or <see langword="null"/> for all.</summary>
    internal virtual int? WindowOf(int layer) => null;

    /// <inheritdoc/>
    public override IReadOnlyList<string> Validate()
    {
        var faults = new Faults();
        faults.AddRange(Fixed.Faults(Extra));
        faults.Positive("vocab_size", VocabSize);
        faults.Positive("hidden_size", HiddenSize);
        faults.Positive("intermediate_size", IntermediateSize);
        faults.Positive("num_hidden_layers", NumHiddenLayers);
        faults.Positive("num_attention_heads", NumAttentionHeads);
        faults.Positive("num_key_value_heads", KeyValueHeads);
        faults.Positive("max_position_embeddings", MaxPositionEmbeddings);
        if (NumAttentionHeads > 0 && KeyValueHeads > 0)
        {
            faults.Require(NumAttentionHeads % KeyValueHeads == 0, $"num_key_value_heads: got {KeyValueHeads}, expected a divisor of num_attention_heads ({NumAttentionHeads})");
            faults.Require(HeadDim is not null || HiddenSize % NumAttentionHeads == 0, $"num_attention_heads: got {NumAttentionHeads}, expected a divisor of hidden_size ({HiddenSize}), or a head_dim");
            faults.Require(HeadSize > 0 && HeadSize % 2 == 0, $"head_dim: got {HeadSize}, expected a positive even number, as positions turn pairs of numbers");
            faults.Require((long)NumAttentionHeads * HeadSize <= int.MaxValue, $"num_attention_heads: got {NumAttentionHeads} heads of {HeadSize}, expected at most {int.MaxValue} numbers");
        }

        faults.Require(PadTokenId is null || (PadTokenId >= -(long)VocabSize && PadTokenId < VocabSize), $"pad_token_id: got {PadTokenId}, expected null or an id below vocab_size ({VocabSize})");
        faults.Require(Activation.Names.Contains(HiddenAct), $"hidden_act: got {HiddenAct}, expected one of {string.Join(", ", Activation.Names)}");
        faults.Require(RmsNormEps > 0, $"rms_norm_eps: got {RmsNormEps}, expected a number above 0");
        Rotary.Validate(faults);
        return faults;
    }

    /// <summary>Reads what is common; the rest of the keys is left to the caller.</summary>
    private protected static T Read<T>(ConfigReader reader, T defaults)
        where T : RotaryDecoderConfig => (T)((RotaryDecoderConfig)defaults with
        {
            VocabSize = reader.Value("vocab_size", defaults.VocabSize),
            HiddenSize = reader.Value("hidden_size", defaults.HiddenSize),
            IntermediateSize = reader.Value("intermediate_size", defaults.IntermediateSize),
            NumHiddenLayers = reader.Value("num_hidden_layers", defaults.NumHiddenLayers),
            NumAttentionHeads = reader.Value("num_attention_heads", defaults.NumAttentionHeads),
            NumKeyValueHeads = reader.Optional<int>("num_key_value_heads") ?? defaults.NumKeyValueHeads,
            HeadDim = reader.Optional<int>("head_dim"),
            HiddenAct = reader.Value("hidden_act", defaults.HiddenAct),
            RmsNormEps = reader.Value("rms_norm_eps", defaults.RmsNormEps),
            MaxPositionEmbeddings = reader.Value("max_position_embeddings", defaults.MaxPositionEmbeddings),
            TieWordEmbeddings = reader.Value("tie_word_embeddings", defaults.TieWordEmbeddings),
            PadTokenId = reader.Optional<int>("pad_token_id"),
            Rotary = RotaryConfig.Read(reader, defaults.Rotary.Theta),
        });

    /// <summary>The common keys and the class's own.</summary>
    private protected JsonObject ToJson(string className, IEnumerable<KeyValuePair<string, JsonNode?>> own) => ConfigWriter.Join(Extra,
    [
        new("architectures", new JsonArray(className)),
        new("model_type", ModelType),
        new("vocab_size", VocabSize),
        new("hidden_size", HiddenSize),
        new("intermediate_size", IntermediateSize),
        new("num_hidden_layers", NumHiddenLayers),
        new("num_attention_heads", NumAttentionHeads),
        new("num_key_value_heads", KeyValueHeads),
        .. (KeyValuePair<string, JsonNode?>[])(HeadDim is { } d ? [new("head_dim", d)] : []),
        new("hidden_act", HiddenAct),
        new("rms_norm_eps", PythonJson.Float(RmsNormEps)),
        new("max_position_embeddings", MaxPositionEmbeddings),
        new("tie_word_embeddings", TieWordEmbeddings),
        new("pad_token_id", PadTokenId),
        .. Rotary.ToJson(),
        .. own,
    ]);
}
