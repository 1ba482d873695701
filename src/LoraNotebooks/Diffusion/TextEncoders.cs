using LoraNotebooks.Models.Diffusion;
using LoraNotebooks.Models.Language;
using static TorchSharp.torch;

namespace LoraNotebooks.Diffusion;

/// <summary>
/// How a pipeline reads prompts: one tokenizer with its text encoder in Stable Diffusion 1.x and 2.x, two pairs in SDXL. Either way
/// prompts become a <see cref="Conditioning"/>, which is all that the rest of the library knows of text.
/// </summary>
public sealed class TextEncoders : IDisposable
{
    private const int SdxlSkip = 1;
    private const int ShortLength = 48;

    /// <summary>How many texts are remembered as told; after that they are told again.</summary>
    private const int MostTold = 10_000;

    private readonly HashSet<(string Text, PromptReading Reading)> _told = [];

    /// <summary>One encoder, whose last states after the final layer norm condition the UNet.</summary>
    /// <param name="tokenizer">The prompt's tokenizer.</param>
    /// <param name="encoder">The encoder; this owns it.</param>
    public TextEncoders(ClipTokenizer tokenizer, ClipTextModel encoder)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        ArgumentNullException.ThrowIfNull(encoder);
        (Tokenizers, Encoders) = ([tokenizer], [encoder]);
    }

    /// <summary>Two encoders as in SDXL: the states of the layers before the last lie side by side, and the second gives the pooled text.</summary>
    /// <param name="tokenizer">The first encoder's tokenizer.</param>
    /// <param name="encoder">The first encoder; this owns it.</param>
    /// <param name="tokenizer2">The second encoder's tokenizer, which pads differently.</param>
    /// <param name="encoder2">The second encoder, with a projection; this owns it.</param>
    public TextEncoders(ClipTokenizer tokenizer, ClipTextModel encoder, ClipTokenizer tokenizer2, ClipTextModel encoder2)
        : this(tokenizer, encoder)
    {
        ArgumentNullException.ThrowIfNull(tokenizer2);
        ArgumentNullException.ThrowIfNull(encoder2);
        (Tokenizers, Encoders) = ([tokenizer, tokenizer2], [encoder, encoder2]);
    }

    /// <summary>The tokenizers, one per encoder.</summary>
    public IReadOnlyList<ClipTokenizer> Tokenizers { get; }

    /// <summary>The encoders: one, or two in SDXL.</summary>
    public IReadOnlyList<ClipTextModel> Encoders { get; }

    /// <summary>Whether there are two encoders and a pooled text, as in SDXL.</summary>
    public bool IsDual => Encoders.Count == 2;

    /// <summary>The largest clip skip for which every encoder has layers.</summary>
    public int LargestClipSkip => Encoders.Min(static encoder => encoder.Config.NumHiddenLayers) - (IsDual ? SdxlSkip : 0);

    /// <summary>Whether an empty negative prompt is zeros in place of the encoded empty text; default no, SDXL's model_index.json says yes.</summary>
    public bool ForceZerosForEmptyPrompt { get; init; }

    /// <summary>Everything in which encoders, tokenizers and UNet do not fit each other.</summary>
    /// <param name="unet">The UNet's architecture.</param>
    public IReadOnlyList<string> Validate(UNetConfig unet)
    {
        ArgumentNullException.ThrowIfNull(unet);
        var faults = new Faults();
        foreach (var (tokenizer, text) in Tokenizers.Zip(Encoders, static (tokenizer, encoder) => (tokenizer, encoder.Config)))
        {
            faults.Require(
                tokenizer.VocabularySize <= text.VocabSize,
                $"the tokenizer has {tokenizer.VocabularySize} tokens, the text encoder only {text.VocabSize} embeddings, expected at least as many");
            faults.Require(
                tokenizer.ModelMaxLength <= text.MaxPositionEmbeddings,
                $"the tokenizer pads to {tokenizer.ModelMaxLength} tokens, the text encoder has only {text.MaxPositionEmbeddings} positions, "
                + "expected at least as many");
        }

        var width = Encoders.Sum(static encoder => encoder.Config.HiddenSize);
        faults.Require(
            unet.CrossAttentionDim.All(size => size == width),
            $"the text encoder gives hidden states of size {width}, the UNet expects {unet.CrossAttentionDim}");
        faults.Require(
            IsDual == unet.HasAddedConditions,
            $"the model has {Encoders.Count} text encoder{(IsDual ? "s" : "")}, "
            + $"the UNet's addition_embed_type is {unet.AdditionEmbedType ?? "null"}; expected two with text_time (SDXL), or one without");
        if (IsDual)
        {
            var pooled = Encoders[1].Config;
            faults.Require(
                Tokenizers[0].ModelMaxLength == Tokenizers[1].ModelMaxLength,
                $"the tokenizers pad to {Tokenizers[0].ModelMaxLength} and {Tokenizers[1].ModelMaxLength} tokens, expected the same length");
            faults.Require(pooled.HasProjection, "the second text encoder has no projection; expected CLIPTextModelWithProjection");
            faults.Require(
                !unet.HasAddedConditions || pooled.ProjectionDim == unet.TextEmbedsDim,
                $"the second text encoder projects to size {pooled.ProjectionDim}, the UNet expects {unet.TextEmbedsDim}");
        }

        return faults;
    }

    /// <summary>Token ids of prompts, padded and truncated to the tokenizers' length.</summary>
    /// <param name="prompts">N texts.</param>
    /// <returns>int64 [N, T], with two encoders [2, N, T].</returns>
    public Tensor Tokenize(IReadOnlyList<string> prompts)
    {
        ArgumentNullException.ThrowIfNull(prompts);
        using var scope = NewDisposeScope();
        var device = Encoders[0].parameters().First().device;
        Tensor[] ids = [.. Tokenizers.Select(tokenizer =>
            tensor(prompts.SelectMany(tokenizer.Encode).ToArray(), device: device).reshape(prompts.Count, tokenizer.ModelMaxLength))];
        return (IsDual ? stack(ids) : ids[0]).MoveToOuterDisposeScope();
    }

    /// <summary>What the encoders make of token ids; gradients reach the encoders.</summary>
    /// <param name="tokenIds">As <see cref="Tokenize"/> gives them.</param>
    /// <param name="clipSkip">1 (default) for the states that the model was trained with, 2 for those of one layer before, …</param>
    /// <returns>Hidden states, and pooled text where there are two encoders; no sizes.</returns>
    /// <remarks>The states that SDXL was trained with are those of the layers before the last: what is 1 here others call clip skip 2.</remarks>
    public Conditioning Encode(Tensor tokenIds, int clipSkip = 1)
    {
        ArgumentNullException.ThrowIfNull(tokenIds);
        if (!IsDual)
        {
            return Encoders[0].HiddenStates(tokenIds, clipSkip);
        }

        using var scope = NewDisposeScope();
        var (first, _) = Encoders[0].HiddenStatesAndTextEmbeds(tokenIds[0], clipSkip + SdxlSkip);
        var (second, embeds) = Encoders[1].HiddenStatesAndTextEmbeds(tokenIds[1], clipSkip + SdxlSkip);
        return new Conditioning(cat([first, second], -1), embeds).MoveToOuterDisposeScope();
    }

    /// <summary>What the encoders make of prompts, chunk by chunk and weighted where the reading asks for it.</summary>
    /// <param name="prompts">N texts.</param>
    /// <param name="clipSkip">As for token ids.</param>
    /// <param name="reading">The length of the texts and the meaning of brackets in them. Default one chunk, and none.</param>
    /// <returns>Hidden states [N, T, D], T growing with the chunks; the pooled text is that of the first chunk.</returns>
    public Conditioning Encode(IReadOnlyList<string> prompts, int clipSkip = 1, PromptReading? reading = null)
    {
        ArgumentNullException.ThrowIfNull(prompts);
        using var scope = NewDisposeScope();
        var device = Encoders[0].parameters().First().device;
        PromptTokens[] tokens = [.. Tokenizers.Select(tokenizer => PromptTokens.Of(tokenizer, prompts, reading))];
        if (!IsDual)
        {
            return new Conditioning(tokens[0].Join(Encoders[0].HiddenStates(tokens[0].ToTensor(device), clipSkip))).MoveToOuterDisposeScope();
        }

        var (first, _) = Encoders[0].HiddenStatesAndTextEmbeds(tokens[0].ToTensor(device), clipSkip + SdxlSkip);
        var (second, embeds) = Encoders[1].HiddenStatesAndTextEmbeds(tokens[1].ToTensor(device), clipSkip + SdxlSkip);
        var pooled = embeds?[TensorIndex.Slice(0, null, tokens[1].Chunks)];
        return new Conditioning(cat([tokens[0].Join(first), tokens[1].Join(second)], -1), pooled).MoveToOuterDisposeScope();
    }

    /// <summary>What of a text the encoders do not see, and what to do; <see langword="null"/> where they see all of it.</summary>
    /// <param name="text">The text.</param>
    /// <param name="reading">Its length and the meaning of brackets. Default one chunk, and none.</param>
    /// <example><code>534 of 609 tokens are not seen; set Reading.MaxTokenLength to 609</code></example>
    public string? Unseen(string text, PromptReading? reading = null)
    {
        ArgumentNullException.ThrowIfNull(text);
        var (unseen, count) = Tokenizers.Select(tokenizer => PromptTokens.CutOff(tokenizer, text, reading)).Max();
        var remedy = count <= PromptReading.Longest ? $"set Reading.MaxTokenLength to {count}" : "shorten the text";
        return unseen == 0 ? null : $"{unseen} of {count} tokens are not seen; {remedy}";
    }

    /// <summary>What of some texts the encoders do not see, named by their beginnings; <see langword="null"/> where they see all of all.</summary>
    /// <param name="what">What the texts are, one of them: "prompt".</param>
    /// <param name="texts">The texts.</param>
    /// <param name="reading">Their length and the meaning of brackets.</param>
    internal string? UnseenOf(string what, IEnumerable<string> texts, PromptReading reading)
    {
        var faults = texts.Distinct().Select(text => (Text: text, Fault: Unseen(text, reading))).Where(static pair => pair.Fault is not null)
            .Select(static pair => $"\"{Short(pair.Text)}\": {pair.Fault}").ToList();
        return faults.Count == 0 ? null : $"{Listing.Count(faults.Count, what)} longer than the text encoder sees: {Listing.Inline(faults, "; ")}.";
    }

    /// <summary>
    /// What of some texts means something elsewhere and is plain text here, e.g. weights in brackets; <see langword="null"/> where nothing does.
    /// </summary>
    /// <param name="what">What the texts are, one of them: "prompt".</param>
    /// <param name="texts">The texts.</param>
    /// <param name="reading">How they are read.</param>
    internal static string? PlainOf(string what, IEnumerable<string> texts, PromptReading reading)
    {
        var found = texts.SelectMany(text => PromptNotation.PlainHere(text, reading)).Distinct().ToList();
        return found.Count == 0 ? null : $"In the {what}s: {Listing.Inline(found, "; ")}.";
    }

    /// <summary>Beginning and end, which tell prompts of one beginning apart.</summary>
    private static string Short(string text) => text.Length <= ShortLength ? text : $"{text[..(ShortLength / 2)]}…{text[^(ShortLength / 2)..]}";

    /// <summary>Tells what is not seen, and what is read as plain text, of texts that are about to be encoded; of each text once.</summary>
    /// <param name="what">What the texts are, one of them.</param>
    /// <param name="texts">The texts.</param>
    /// <param name="reading">Their length and the meaning of brackets.</param>
    internal void TellUnseen(string what, IEnumerable<string> texts, PromptReading reading)
    {
        var fresh = MarkTold(texts, reading);
        foreach (var fault in new[] { UnseenOf(what, fresh, reading), PlainOf(what, fresh, reading) }.OfType<string>())
        {
            Notice.Tell(fault);
        }
    }

    /// <summary>Tells once of a negative prompt that guidance 1 leaves unused.</summary>
    internal void TellUnused(string negativePrompt, PromptReading reading)
    {
        if (negativePrompt.Length > 0 && MarkTold([$"unused {negativePrompt}"], reading).Count > 0)
        {
            Notice.Tell($"The negative prompt \"{Short(negativePrompt)}\" has no effect: guidance is 1, where there is none.");
        }
    }

    /// <summary>Notes that of these texts is told elsewhere what is not seen; returns those of which nothing was told yet.</summary>
    internal IReadOnlyList<string> MarkTold(IEnumerable<string> texts, PromptReading reading)
    {
        lock (_told)
        {
            if (_told.Count > MostTold)
            {
                _told.Clear();
            }

            return [.. texts.Where(text => _told.Add((text, reading)))];
        }
    }

    /// <summary>Frees the encoders.</summary>
    public void Dispose()
    {
        foreach (var encoder in Encoders)
        {
            encoder.Dispose();
        }
    }
}
