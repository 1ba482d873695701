namespace LoraNotebooks.Models.Language;

/// <summary>
/// The architecture that Llama brought and Qwen2 took over: rotary positions, root-mean-square norms, gated feed-forward layers, grouped queries.
/// </summary>
public abstract record RotaryDecoderConfig : CausalLanguageConfig
{
    /// <summary>What stands in the files of all such models.</summary>
    private protected static readonly ConfigKeys<RotaryDecoderConfig> Common = new ConfigKeys<RotaryDecoderConfig>(
            c => c.Extra, (c, rest) => c with { Extra = rest })
        .Written("model_type", c => c.ModelType)
        .Value("vocab_size", c => c.VocabSize, (c, count) => c with { VocabSize = count }, Check.Positive)
        .Value("hidden_size", c => c.HiddenSize, (c, size) => c with { HiddenSize = size }, Check.Positive)
        .Value("intermediate_size", c => c.IntermediateSize, (c, size) => c with { IntermediateSize = size }, Check.Positive)
        .Value("num_hidden_layers", c => c.NumHiddenLayers, (c, count) => c with { NumHiddenLayers = count }, Check.Positive)
        .Value("num_attention_heads", c => c.NumAttentionHeads, (c, count) => c with { NumAttentionHeads = count }, Check.Positive)
        .Value("num_key_value_heads", c => c.KeyValueHeads, (c, count) => c with { NumKeyValueHeads = count }, Check.Positive)
        .Optional("head_dim", c => c.HeadDim, (c, size) => c with { HeadDim = size }).WrittenWhere(c => c.HeadDim is not null)
        .Value("hidden_act", c => c.HiddenAct, (c, name) => c with { HiddenAct = name }, (faults, key, name) => faults.OneOf(key, name, Activation.Names))
        .Value("rms_norm_eps", c => c.RmsNormEps, (c, epsilon) => c with { RmsNormEps = epsilon }, Check.Positive)
        .Value("max_position_embeddings", c => c.MaxPositionEmbeddings, (c, count) => c with { MaxPositionEmbeddings = count }, Check.Positive)
        .Value("tie_word_embeddings", c => c.TieWordEmbeddings, (c, ties) => c with { TieWordEmbeddings = ties })
        .Optional("pad_token_id", c => c.PadTokenId, (c, id) => c with { PadTokenId = id })
        .Group((reader, c) => c with { Rotary = RotaryConfig.Read(reader, c.Rotary.Theta) }, c => c.Rotary.ToJson(), (faults, c) => c.Rotary.Validate(faults))
        .Only("partial_rotary_factor", null, 1)
        .Only("pretraining_tp", 1)
        .Only("quantization_config", [null]);

    private protected RotaryDecoderConfig()
    {
    }

    /// <summary>The width of the feed-forward layers.</summary>
    public int IntermediateSize { get; init; }

    /// <summary>The number of key and value heads, each of which serves an equal share of the query heads; default as many as those.</summary>
    public int? NumKeyValueHeads { get; init; }

    /// <summary>
    /// d, the size of a head, an even number; default <see cref="CausalLanguageConfig.HiddenSize"/> /
    /// <see cref="CausalLanguageConfig.NumAttentionHeads"/>.
    /// </summary>
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

    /// <summary>What is wrong with single keys.</summary>
    private protected abstract Faults CheckKeys();

    /// <summary>How many tokens a layer's attention reaches back, itself included, or <see langword="null"/> for all.</summary>
    internal virtual int? WindowOf(int layer) => null;

    /// <inheritdoc/>
    public override IReadOnlyList<string> Validate()
    {
        var faults = CheckKeys();
        if (NumAttentionHeads > 0 && KeyValueHeads > 0)
        {
            faults.Require(
                NumAttentionHeads % KeyValueHeads == 0,
                $"num_key_value_heads: got {KeyValueHeads}, expected a divisor of num_attention_heads ({NumAttentionHeads})");
            faults.Require(
                HeadDim is not null || HiddenSize % NumAttentionHeads == 0,
                $"num_attention_heads: got {NumAttentionHeads}, expected a divisor of hidden_size ({HiddenSize}), or a head_dim");
            faults.Require(HeadSize > 0 && HeadSize % 2 == 0, $"head_dim: got {HeadSize}, expected a positive even number, as positions turn pairs of numbers");
            faults.Require(
                (long)NumAttentionHeads * HeadSize <= int.MaxValue,
                $"num_attention_heads: got {NumAttentionHeads} heads of {HeadSize}, expected at most {int.MaxValue} numbers");
        }

        faults.Require(
            PadTokenId is null || (PadTokenId >= -(long)VocabSize && PadTokenId < VocabSize),
            $"pad_token_id: got {PadTokenId}, expected null or an id below vocab_size ({VocabSize})");
        return faults;
    }
}
