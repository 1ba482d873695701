using static TorchSharp.torch;

namespace LoraNotebooks.Models.Language;

/// <summary>
/// Prompts as token ids in chunks that the text encoder sees one by one, and the weight of each token. Each chunk has a begin and an end;
/// in the joined hidden states only the first begin and the last end are left.
/// </summary>
/// <remarks>Source: kohya-ss/sd-scripts, library/strategy_base.py (<c>_get_input_ids</c>) and strategy_sd.py (<c>encode_tokens_with_weights</c>).</remarks>
public sealed class PromptTokens
{
    private readonly long[] _ids;
    private readonly float[] _weights;
    private readonly PromptWeighting _weighting;

    private PromptTokens(int count, int chunks, int length, long[] ids, float[] weights, PromptWeighting weighting) =>
        (Count, Chunks, Length, _ids, _weights, _weighting) = (count, chunks, length, ids, weights, weighting);

    /// <summary>N, the number of prompts.</summary>
    public int Count { get; }

    /// <summary>n, the chunks of each prompt.</summary>
    public int Chunks { get; }

    /// <summary>L, the tokens of a chunk with begin and end.</summary>
    public int Length { get; }

    /// <summary>The ids of all chunks, [N·n, L] row by row.</summary>
    public IReadOnlyList<long> Ids => _ids;

    /// <summary>The weight of each place of the joined states, [N, n·(L−2)+2] row by row; 1 at begin, end and padding.</summary>
    public IReadOnlyList<float> Weights => _weights;

    /// <summary>Reads prompts.</summary>
    /// <param name="tokenizer">The tokenizer of the encoder that will see them.</param>
    /// <param name="prompts">N texts.</param>
    /// <param name="reading">Their length and the meaning of brackets; default one chunk and none.</param>
    /// <exception cref="ArgumentException">The settings have faults; all are listed.</exception>
    public static PromptTokens Of(ClipTokenizer tokenizer, IReadOnlyList<string> prompts, PromptReading? reading = null)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        ArgumentNullException.ThrowIfNull(prompts);
        reading ??= new();
        Faults.ThrowIfAny(reading.Validate());
        var (length, chunks) = (tokenizer.ModelMaxLength, reading.Chunks(tokenizer.ModelMaxLength));
        var capacity = chunks * (length - 2);
        var (ids, weights) = (new List<long>(), new List<float>());
        foreach (var prompt in prompts)
        {
            var tokens = Read(tokenizer, prompt, reading).Take(capacity).ToArray();
            long[] whole =
            [
                tokenizer.BosTokenId,
                .. tokens.Select(token => token.Id),
                tokenizer.EosTokenId,
                .. Enumerable.Repeat(tokenizer.PadTokenId, capacity - tokens.Length),
            ];
            ids.AddRange(chunks == 1 ? whole : Enumerable.Range(0, chunks).SelectMany(i => Chunk(tokenizer, whole, i)));
            weights.AddRange([1, .. tokens.Select(token => token.Weight), .. Enumerable.Repeat(1f, capacity - tokens.Length + 1)]);
        }

        return new PromptTokens(prompts.Count, chunks, length, [.. ids], [.. weights], reading.Weighting);
    }

    /// <summary>How many tokens a prompt has, and how many of them, at its end, are cut off.</summary>
    /// <param name="tokenizer">The tokenizer of the encoder that will see it.</param>
    /// <param name="prompt">The text.</param>
    /// <param name="reading">Its length and the meaning of brackets; default one chunk and none.</param>
    public static (int Unseen, int Count) CutOff(ClipTokenizer tokenizer, string prompt, PromptReading? reading = null)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        ArgumentNullException.ThrowIfNull(prompt);
        reading ??= new();
        var count = Read(tokenizer, prompt, reading).Count();
        return (Math.Max(0, count - (reading.Chunks(tokenizer.ModelMaxLength) * (tokenizer.ModelMaxLength - 2))), count);
    }

    /// <summary>The ids as the encoder takes them.</summary>
    /// <param name="device">Where they are wanted.</param>
    /// <returns>int64 [N·n, L].</returns>
    public Tensor ToTensor(Device device) => tensor(_ids, [Count * Chunks, Length], device: device);

    /// <summary>Joins the states of the chunks and weighs them; gradients pass.</summary>
    /// <param name="states">What the encoder made of <see cref="ToTensor"/>, [N·n, L, D].</param>
    /// <returns>[N, n·(L−2)+2, D].</returns>
    public Tensor Join(Tensor states)
    {
        ArgumentNullException.ThrowIfNull(states);
        using var scope = NewDisposeScope();
        var inner = Length - 2;
        var perChunk = states.view(Count, Chunks, Length, -1);
        var middle = perChunk.narrow(2, 1, inner).reshape(Count, Chunks * inner, -1);
        var joined = Chunks == 1 ? states : cat([perChunk.select(1, 0).narrow(1, 0, 1), middle, perChunk.select(1, Chunks - 1).narrow(1, Length - 1, 1)], 1);
        return Weigh(joined).alias().MoveToOuterDisposeScope();
    }

    /// <summary>All tokens of a prompt with their weights, without begin and end.</summary>
    private static IEnumerable<(long Id, float Weight)> Read(ClipTokenizer tokenizer, string prompt, PromptReading reading)
    {
        var parts = reading.Weighting == PromptWeighting.Off ? [new(prompt, 1)] : WeightedText.Parse(prompt);
        return parts.SelectMany(part => tokenizer.EncodeUnpadded(part.Text)[1..^1].Select(id => (Id: id, Weight: (float)part.Weight)));
    }

    private Tensor Weigh(Tensor states)
    {
        if (_weighting == PromptWeighting.Off)
        {
            return states;
        }

        // z' = w·z, and with the mean kept z'·mean(z)/mean(z') over all of a prompt's numbers
        var weighted = states * tensor(_weights, [Count, states.size(1), 1], device: states.device).to(states.dtype);
        return _weighting == PromptWeighting.Scale ? weighted : weighted * (Mean(states) / Mean(weighted)).to(states.dtype);

        static Tensor Mean(Tensor z) => z.to(ScalarType.Float32).mean([1, 2], keepdim: true);
    }

    /// <summary>
    /// Chunk i of begin, tokens, end and padding. Where padding is not the end token, a full chunk ends with that and an empty one begins with it.
    /// </summary>
    private static long[] Chunk(ClipTokenizer tokenizer, long[] whole, int i)
    {
        var (inner, end, pad) = (tokenizer.ModelMaxLength - 2, tokenizer.EosTokenId, tokenizer.PadTokenId);
        long[] chunk = [whole[0], .. whole[(1 + i * inner)..(1 + (i + 1) * inner)], whole[^1]];
        if (pad != end)
        {
            chunk[^1] = chunk[^2] != end && chunk[^2] != pad ? end : chunk[^1];
            chunk[1] = chunk[1] == pad ? end : chunk[1];
        }

        return chunk;
    }
}
