using LoraNotebooks.Tensors;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace LoraNotebooks.Models.Language;

/// <summary>
/// A language model that predicts each token from those before it: a decoder, and a head from its hidden states to logits over the vocabulary.
/// Folders are transformers', parameter names upstream's.
/// </summary>
/// <remarks>
/// It computes without dropout in training, too; upstream's dropout rates are kept in the configuration. Where the head is tied to the embedding it is
/// no layer of its own, so that there is one table, however the model is moved, saved or merged into.
/// </remarks>
public abstract class CausalLanguageModel : Module<Tensor, Tensor>, ILayerRoles
{
    private const string HeadName = "lm_head";

    /// <summary>Labels that do not count, as upstream marks them.</summary>
    private const long Ignored = -100;

    private readonly CausalDecoder decoder;
    private readonly Module<Tensor, Tensor>? head;

    private protected CausalLanguageModel(string name, CausalDecoder decoder, CausalLanguageConfig config)
        : base(name)
    {
        this.decoder = decoder;
        register_module(config.DecoderName, decoder);
        if (!config.TieWordEmbeddings)
        {
            head = Layers.Linear(config.HiddenSize, config.VocabSize, hasBias: false);
            register_module(HeadName, head);
        }
    }

    /// <summary>The architecture.</summary>
    public abstract CausalLanguageConfig Config { get; }

    /// <inheritdoc/>
    public string? OutputHead => head is null ? null : HeadName;

    /// <inheritdoc/>
    public long? PaddingRow(string path) => path == $"{Config.DecoderName}.{Config.EmbeddingName}" ? Config.PaddingRow : null;

    /// <summary>Reads the folder of any causal language model that there is a class for here, by its <c>model_type</c>.</summary>
    /// <inheritdoc cref="ModelFolder.Load{T}"/>
    public static CausalLanguageModel FromFolder(string folder, ScalarType? dtype = null, Device? device = null, string? variant = null)
    {
        ArgumentNullException.ThrowIfNull(folder);
        var path = Path.Combine(folder, ModelFolder.Config);
        return ConfigReader.ReadObject(path)["model_type"]?.ToString() switch
        {
            LlamaConfig.Type => LlamaForCausalLM.FromFolder(folder, dtype, device, variant),
            Qwen2Config.Type => Qwen2ForCausalLM.FromFolder(folder, dtype, device, variant),
            Gpt2Config.Type => Gpt2LMHeadModel.FromFolder(folder, dtype, device, variant),
            var type => throw new InvalidDataException(
                $"'{path}': got model_type {type ?? "null"}, expected {LlamaConfig.Type}, {Qwen2Config.Type} or {Gpt2Config.Type}. "
                    + "Give the folder of a causal language model of one of these architectures."),
        };
    }

    /// <summary>Writes a folder that <see cref="FromFolder"/> and transformers read.</summary>
    /// <param name="folder">Created where it is missing.</param>
    /// <param name="dtype">The type of the weights in the file, default as in memory.</param>
    public void Save(string folder, ScalarType? dtype = null) => ModelFolder.Save(this, folder, Config.ToJson(), ModelFolder.TransformersWeights, dtype);

    /// <summary>The logits of each next token.</summary>
    /// <param name="inputIds">Token ids, int64 [N, T].</param>
    /// <returns>[N, T, V]; those at t are about the token at t + 1.</returns>
    /// <exception cref="ArgumentException">The shape does not fit.</exception>
    public override Tensor forward(Tensor inputIds) => Logits(inputIds);

    /// <summary>The logits of each next token, for texts of different lengths.</summary>
    /// <param name="inputIds">Token ids, int64 [N, T].</param>
    /// <param name="attentionMask">[N, T], 1 for a token and 0 for padding, on either side; default no padding. Logits at padding mean nothing.</param>
    /// <param name="positions">The tokens' places in their texts, int64 [N, T] or [1, T]; default 0, 1, …, from the first column on, padding or not.</param>
    /// <returns>[N, T, V].</returns>
    /// <exception cref="ArgumentException">The shapes do not fit.</exception>
    public Tensor Logits(Tensor inputIds, Tensor? attentionMask = null, Tensor? positions = null)
    {
        using var scope = NewDisposeScope();
        return Head(Run(inputIds, attentionMask, positions, tap: null)).MoveToOuterDisposeScope();
    }

    /// <summary>The hidden states between the layers, as upstream counts them.</summary>
    /// <inheritdoc cref="Logits(Tensor, Tensor, Tensor)" path="/param"/>
    /// <returns>The embeddings, the states after each layer but the last, and those after the last layer and the final norm; [N, T, D] each.</returns>
    /// <exception cref="ArgumentException">The shapes do not fit.</exception>
    public IReadOnlyList<Tensor> HiddenStates(Tensor inputIds, Tensor? attentionMask = null, Tensor? positions = null)
    {
        using var scope = NewDisposeScope();
        var states = new List<Tensor>();
        states.Add(Run(inputIds, attentionMask, positions, states));
        states.ForEach(static state => state.MoveToOuterDisposeScope());
        return states;
    }

    /// <summary>The cross-entropy of the next tokens: the mean over all labels that count of −log softmax(logits at t)[label at t + 1], in float32.</summary>
    /// <param name="logits">[N, T, V].</param>
    /// <param name="labels">The same tokens as the input's, int64 [N, T], with −100 for those that do not count. The shift by one is made here.</param>
    /// <returns>A number; NaN if no label counts.</returns>
    /// <exception cref="ArgumentException">The shapes do not fit.</exception>
    /// <remarks>Source: transformers, loss/loss_utils.py, <c>ForCausalLMLoss</c>.</remarks>
    public static Tensor Loss(Tensor logits, Tensor labels)
    {
        ArgumentNullException.ThrowIfNull(logits);
        ArgumentNullException.ThrowIfNull(labels);
        if (logits.dim() != 3 || !labels.shape.SequenceEqual(logits.shape[..2]))
        {
            throw new ArgumentException(
                $"Got logits {Shapes.Text(logits.shape)} and labels {Shapes.Text(labels.shape)}, expected [N, T, V] and [N, T] with the same N and T.");
        }

        using var scope = NewDisposeScope();
        var last = logits.size(1) - 1;
        var predictions = logits.narrow(1, 0, last).to(ScalarType.Float32).flatten(0, 1);
        var targets = labels.narrow(1, 1, last).flatten();
        return functional.cross_entropy(predictions, targets, ignore_index: Ignored).MoveToOuterDisposeScope();
    }

    private protected static TModel Load<TConfig, TModel>(
        string folder,
        Func<string, TConfig> read,
        Func<TConfig, TModel> create,
        ScalarType? dtype,
        Device? device,
        string? variant)
        where TConfig : CausalLanguageConfig
        where TModel : CausalLanguageModel
    {
        TConfig? config = null;
        return ModelFolder.Load(
            folder,
            path =>
            {
                config = read(path);
                ModelFolder.RequireWeights(folder, variant, config.WeightCount);
                return create(config);
            },
            dtype, device, variant, key => ParameterName(key, config!));
    }

    /// <summary>
    /// A tied head may be in the file or not; older files carry masks and frequencies that are computed here; those of a bare decoder lack its name.
    /// </summary>
    private static string? ParameterName(string key, CausalLanguageConfig config)
    {
        var isComputed = key.EndsWith(".rotary_emb.inv_freq", StringComparison.Ordinal)
            || key.EndsWith(".attn.bias", StringComparison.Ordinal)
            || key.EndsWith(".attn.masked_bias", StringComparison.Ordinal);
        var isHead = key.StartsWith(HeadName + ".", StringComparison.Ordinal);
        var prefix = config.DecoderName + ".";
        return isComputed || (isHead && config.TieWordEmbeddings) ? null
            : isHead || key.StartsWith(prefix, StringComparison.Ordinal) ? key
            : prefix + key;
    }

    private Tensor Head(Tensor hidden) => head is null ? functional.linear(hidden, decoder.EmbeddingTable) : head.call(hidden);

    private Tensor Run(Tensor inputIds, Tensor? attentionMask, Tensor? positions, List<Tensor>? tap)
    {
        ArgumentNullException.ThrowIfNull(inputIds);
        if (inputIds.dim() != 2 || inputIds.numel() == 0 || inputIds.dtype != ScalarType.Int64 || inputIds.size(1) > (Config.LearnedPositions ?? long.MaxValue))
        {
            throw new ArgumentException(
                $"Got token ids {inputIds.dtype} {Shapes.Text(inputIds.shape)}, expected Int64 [N, T] with T from "
                    + $"1{(Config.LearnedPositions is { } most ? $" to {most}, the model's positions. Truncate the text" : " on")}.");
        }

        if (attentionMask is not null && !attentionMask.shape.SequenceEqual(inputIds.shape))
        {
            throw new ArgumentException(
                $"Got an attention mask {Shapes.Text(attentionMask.shape)}, expected {Shapes.Text(inputIds.shape)} as the token ids, "
                    + "1 for a token and 0 for padding.");
        }

        if (positions is not null
            && (positions.dtype != ScalarType.Int64 || positions.dim() != 2 || positions.size(1) != inputIds.size(1)
                || (positions.size(0) != 1 && positions.size(0) != inputIds.size(0))))
        {
            throw new ArgumentException(
                $"Got positions {positions.dtype} {Shapes.Text(positions.shape)}, expected Int64 {Shapes.Text(inputIds.shape)} or one row of them.");
        }

        return decoder.Run(inputIds, attentionMask, positions ?? Arithmetic.Range(inputIds.size(1), ScalarType.Int64, inputIds.device).unsqueeze(0), tap);
    }
}

/// <summary>Embeddings, layers and final norm of a causal language model.</summary>
internal abstract class CausalDecoder(string name) : Module(name)
{
    /// <summary>The token embedding's table, [V, D].</summary>
    public abstract Tensor EmbeddingTable { get; }

    /// <summary>The states after the last layer and the final norm.</summary>
    /// <param name="inputIds">[N, T].</param>
    /// <param name="attentionMask">[N, T] or nothing.</param>
    /// <param name="positions">[N, T] or [1, T].</param>
    /// <param name="tap">Gets the states before each layer, where it is given; else they are freed on the way.</param>
    /// <returns>[N, T, D].</returns>
    public abstract Tensor Run(Tensor inputIds, Tensor? attentionMask, Tensor positions, List<Tensor>? tap);

    /// <summary>Runs layer after layer.</summary>
    private protected static Tensor RunLayers<T>(Tensor hidden, IEnumerable<T> layers, Func<T, int, Tensor, Tensor> run, List<Tensor>? tap)
    {
        foreach (var (i, layer) in layers.Index())
        {
            var next = run(layer, i, hidden);
            if (tap is null)
            {
                hidden.Dispose();
            }
            else
            {
                tap.Add(hidden.MoveToOuterDisposeScope());
            }

            hidden = next;
        }

        return hidden;
    }
}
