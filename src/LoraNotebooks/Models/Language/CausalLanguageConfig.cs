using System.Text.Json.Nodes;

namespace LoraNotebooks.Models.Language;

/// <summary>
/// What the architectures of all causal language models have in common. Keys of a config.json that mean nothing here are kept and saved again.
/// </summary>
public abstract record CausalLanguageConfig
{
    private protected CausalLanguageConfig()
    {
    }

    /// <summary>V, rows of the token embedding; at least the tokenizer's vocabulary size.</summary>
    public int VocabSize { get; init; }

    /// <summary>D, the size of a token's hidden state.</summary>
    public int HiddenSize { get; init; }

    /// <summary>The number of transformer layers.</summary>
    public int NumHiddenLayers { get; init; }

    /// <summary>The number of attention heads.</summary>
    public int NumAttentionHeads { get; init; }

    /// <summary>The longest sequence that the model was made for.</summary>
    public int MaxPositionEmbeddings { get; init; }

    /// <summary>Whether the logits are made with the token embedding's table in place of a head's own.</summary>
    public bool TieWordEmbeddings { get; init; }

    /// <summary>The keys of the file that have no property here; they are saved as they were.</summary>
    public IReadOnlyDictionary<string, JsonNode?> Extra { get; init; } = new Dictionary<string, JsonNode?>();

    /// <summary>Upstream's name of the architecture in the files, <c>model_type</c>.</summary>
    internal abstract string ModelType { get; }

    /// <summary>The name of everything but the head, which the names of its weights begin with.</summary>
    internal abstract string DecoderName { get; }

    /// <summary>The name of the token embedding in the decoder.</summary>
    internal abstract string EmbeddingName { get; }

    /// <summary>The row of the token embedding that stands for padding and is not trained, or <see langword="null"/>.</summary>
    internal virtual long? PaddingRow => null;

    /// <summary>The number of positions that have weights of their own, or <see langword="null"/> where positions are computed.</summary>
    internal virtual int? LearnedPositions => null;

    /// <summary>How many weights the architecture asks for.</summary>
    internal abstract double WeightCount { get; }

    /// <summary>The config.json of this architecture.</summary>
    public abstract JsonObject ToJson();

    /// <summary>Everything that is wrong or not supported: what was got, what is expected. Empty if all is well.</summary>
    public abstract IReadOnlyList<string> Validate();

    /// <summary>Throws if <see cref="Validate"/> finds faults.</summary>
    /// <exception cref="ArgumentException">Something is wrong; the message lists everything.</exception>
    public void ThrowIfInvalid() => Faults.ThrowIfAny(Validate());
}
