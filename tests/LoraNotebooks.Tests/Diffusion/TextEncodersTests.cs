using LoraNotebooks.Diffusion;
using LoraNotebooks.Models.Diffusion;
using LoraNotebooks.Models.Language;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Diffusion;

/// <summary>One text encoder, or two of SDXL: what they give the UNet, whether they fit it, and what they tell of texts.</summary>
public sealed class TextEncodersTests : IDisposable
{
    private readonly DisposeScope _scope = NewDisposeScope();
    private readonly StableDiffusionPipeline _one = TinyPipeline.Create();
    private readonly StableDiffusionPipeline _two = TinyPipeline.CreateXL();

    public void Dispose()
    {
        _one.Dispose();
        _two.Dispose();
        _scope.Dispose();
    }

    /// <summary>States of the layers before the last side by side, one more layer skipped for each skip; the pooled text is the second encoder's.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void Encode_OfTwoEncoders_PutsTheirStatesSideBySide(int clipSkip)
    {
        using var noGradient = no_grad();
        string[] prompts = ["long hair", "blue shirt"];
        var ids = _two.Tokenize(prompts);
        Assert.Equal([2L, 2, 12], ids.shape);
        Assert.Equal(prompts.SelectMany(_two.Text.Tokenizers[1].Encode), ids[1].data<long>().ToArray());
        var first = _two.TextEncoder.HiddenStates(ids[0], clipSkip + 1, finalLayerNorm: false);
        var second = _two.TextEncoder2!.HiddenStates(ids[1], clipSkip + 1, finalLayerNorm: false);
        var pooled = _two.TextEncoder2!.HiddenStatesAndTextEmbeds(ids[1]).TextEmbeds!;

        foreach (var encoded in new[] { _two.Text.Encode(ids, clipSkip), _two.Text.Encode(prompts, clipSkip), _two.EncodePrompts(prompts, clipSkip) })
        {
            Assert.Equal([2L, 12, 12], encoded.HiddenStates.shape);
            Assert.InRange(Fixtures.MaxDifference(first, encoded.HiddenStates.narrow(2, 0, 4)), 0, 1e-6);
            Assert.InRange(Fixtures.MaxDifference(second, encoded.HiddenStates.narrow(2, 4, 8)), 0, 1e-6);
            Assert.InRange(Fixtures.MaxDifference(pooled, encoded.TextEmbeds!), 0, 1e-6);
        }
    }

    [Fact]
    public void Encode_OfSeveralChunks_HasThePooledTextOfEachPromptsFirst()
    {
        using var noGradient = no_grad();
        string[] prompts = [string.Join(", ", Enumerable.Repeat("long hair", 6)), string.Join(", ", Enumerable.Repeat("blue shirt", 6))];
        var (whole, cut) = (_two.EncodePrompts(prompts, reading: new() { MaxTokenLength = 30 }), _two.EncodePrompts(prompts));
        Assert.Equal([2L, 32, 12], whole.HiddenStates.shape);
        Assert.InRange(Fixtures.MaxDifference(cut.TextEmbeds!, whole.TextEmbeds!), 0, 1e-6);
        Assert.InRange(Fixtures.MaxDifference(cut.HiddenStates.narrow(1, 0, 11), whole.HiddenStates.narrow(1, 0, 11)), 0, 1e-6);
    }

    [Fact]
    public void Encode_OfOneEncoder_IsItsLastStates()
    {
        using var noGradient = no_grad();
        var ids = _one.Tokenize(["long hair", "blue"]);
        Assert.Equal([2L, 12], ids.shape);
        foreach (var skip in (int[])[1, 2])
        {
            var expected = _one.TextEncoder.HiddenStates(ids, skip);
            Assert.InRange(Fixtures.MaxDifference(expected, _one.Text.Encode(ids, skip).HiddenStates), 0, 1e-6);
            Assert.InRange(Fixtures.MaxDifference(expected, _one.EncodePrompts(["long hair", "blue"], skip).HiddenStates), 0, 1e-6);
        }

        Assert.Null(_one.EncodePrompts(["a"]).TextEmbeds);
        Assert.Null(_one.EncodePrompts(["a"]).TimeIds);
        Assert.False(_one.EncodePrompts(["a"]).HiddenStates.requires_grad);
    }

    [Fact]
    public void TimeIds_OfEveryPicture_AreItsSizesOrTheModelsOwn()
    {
        Assert.Equal([16f, 16, 0, 0, 16, 16, 16, 16, 0, 0, 16, 16], _two.TimeIds(2)!.data<float>().ToArray());
        Assert.Equal([20f, 24, 0, 0, 20, 24], _two.TimeIds(1, SizeConditions.Whole(24, 20))!.data<float>().ToArray());
        Assert.Equal([2f, 1, 4, 3, 6, 5, 8, 7, 0, 0, 8, 7], _two.TimeIds([new(1, 2, 3, 4, 5, 6), SizeConditions.Whole(7, 8)])!.data<float>().ToArray());
        Assert.Equal(
            [20f, 24, 0, 0, 20, 24, 20, 24, 0, 0, 20, 24],
            _two.EncodePrompts(["a", "b"], sizes: SizeConditions.Whole(24, 20)).TimeIds!.data<float>().ToArray());
        Assert.Null(_one.TimeIds(2));
    }

    [Fact]
    public void Encoders_OfBothKinds_AreCountedAndLimitTheSkip()
    {
        Assert.Equal((false, 2, true, 2), (_one.Text.IsDual, _one.Text.LargestClipSkip, _two.Text.IsDual, _two.Text.LargestClipSkip));
        Assert.Equal((null, _two.Text.Encoders[1]), (_one.TextEncoder2, _two.TextEncoder2));
        Assert.Same(_two.Text.Tokenizers[0], _two.Tokenizer);
        Assert.Same(_two.Text.Encoders[0], _two.TextEncoder);
        Assert.Empty(_one.Text.Validate(_one.UNet.Config));
        Assert.Empty(_two.Text.Validate(_two.UNet.Config));
    }

    [Fact]
    public void Validate_EncodersThatDoNotFit_NamesEachFault()
    {
        var tokenizer = _one.Tokenizer;
        Assert.Equal(["the text encoder gives hidden states of size 6, the UNet expects 8"], _one.Text.Validate(_one.UNet.Config with { CrossAttentionDim = 8 }));
        Assert.Contains(
            "the model has 1 text encoder, the UNet's addition_embed_type is text_time",
            Assert.Single(_one.Text.Validate(_two.UNet.Config with { CrossAttentionDim = 6 })));
        Assert.Equal(
            ["the model has 2 text encoders, the UNet's addition_embed_type is null; expected two with text_time (SDXL), or one without"],
            _two.Text.Validate(_one.UNet.Config with { CrossAttentionDim = 12 }));
        Assert.Equal(
            ["the second text encoder projects to size 5, the UNet expects 6"],
            _two.Text.Validate(_two.UNet.Config with { ProjectionClassEmbeddingsInputDim = 6 * 4 + 6 }));

        using var few = Encoder(static config => config with { VocabSize = 8 });
        using var small = Encoder(static config => config with { MaxPositionEmbeddings = 11 });
        using var plain = Encoder(static config => config with { HiddenSize = 8 });
        Assert.Equal(
            [$"the tokenizer has {tokenizer.VocabularySize} tokens, the text encoder only 8 embeddings, expected at least as many"],
            new TextEncoders(tokenizer, few).Validate(_one.UNet.Config));
        Assert.Equal(
            ["the tokenizer pads to 12 tokens, the text encoder has only 11 positions, expected at least as many"],
            new TextEncoders(tokenizer, small).Validate(_one.UNet.Config));
        Assert.Contains(
            "the second text encoder has no projection; expected CLIPTextModelWithProjection",
            new TextEncoders(tokenizer, _two.TextEncoder, tokenizer, plain).Validate(_two.UNet.Config));
        var shorter = ClipTokenizer.Train(["portrait"], vocabularySize: 520, modelMaxLength: 10);
        Assert.Equal(
            ["the tokenizers pad to 12 and 10 tokens, expected the same length"],
            new TextEncoders(tokenizer, _two.TextEncoder, shorter, _two.TextEncoder2!).Validate(_two.UNet.Config));

        ClipTextModel Encoder(Func<ClipTextConfig, ClipTextConfig> change) => new(change(_one.TextEncoder.Config));
    }

    [Fact]
    public void UnseenOf_SeveralTexts_CountsThemAndShortensLongOnes()
    {
        var hair = string.Join(' ', Enumerable.Repeat("hair", 12)); // 59 characters, twelve tokens
        var told = _one.Text.UnseenOf("prompt", ["blue", hair, hair + "s", hair], new());
        Assert.Equal(
            $"2 prompts longer than the text encoder sees: \"{hair[..24]}…{hair[^24..]}\": {_one.Text.Unseen(hair)}; \"{hair[..24]}…{(hair + "s")[^24..]}\": {_one.Text.Unseen(hair + "s")}.",
            told);
        Assert.Null(_one.Text.UnseenOf("prompt", ["blue"], new()));
        var whole = new string('x', 48);
        Assert.Contains($"\"{whole}\"", _one.Text.UnseenOf("prompt", [whole], new()));
        Assert.Contains($"\"{whole[..24]}…{whole[..24]}\"", _one.Text.UnseenOf("prompt", [whole + "x"], new()));
    }

    /// <summary>Where two tokenizers cut a text differently, by the one that needs more.</summary>
    [Fact]
    public void Unseen_OfTwoTokenizers_IsByTheOneThatSeesLess()
    {
        var coarse = ClipTokenizer.Train(["portrait"], vocabularySize: 520, modelMaxLength: 12);
        var (fine, text) = (_two.Tokenizer, string.Join(' ', Enumerable.Repeat("hair", 9)));
        Assert.Null(new TextEncoders(fine, _two.TextEncoder, fine, _two.TextEncoder2!).Unseen(text));
        Assert.Equal("17 of 27 tokens are not seen; set Reading.MaxTokenLength to 27", new TextEncoders(fine, _two.TextEncoder, coarse, _two.TextEncoder2!).Unseen(text));
        Assert.Equal("17 of 27 tokens are not seen; set Reading.MaxTokenLength to 27", new TextEncoders(coarse, _two.TextEncoder, fine, _two.TextEncoder2!).Unseen(text));
    }

    [Fact]
    public void Unseen_OfTheLongestTextThatCanBeRead_SaysHow()
    {
        Assert.EndsWith($"set Reading.MaxTokenLength to {PromptReading.Longest}", _one.Text.Unseen(Words(PromptReading.Longest)));
        Assert.EndsWith("shorten the text", _one.Text.Unseen(Words(PromptReading.Longest + 1)));

        static string Words(int count) => string.Join(' ', Enumerable.Repeat("hair", count));
    }

    [Fact]
    public void PlainOf_SeveralTexts_NamesEachNotationOnce()
    {
        var told = TextEncoders.PlainOf("prompt", ["(a:1.3) x", "y (a:1.3)", "<lora:b:1>", "plain"], new());
        Assert.StartsWith("In the prompts: (a:1.3) is text here", told);
        Assert.Equal(2, told!.Split("(a:1.3)").Length);
        Assert.Contains("; <lora:b:1> is text here", told);
        Assert.Null(TextEncoders.PlainOf("prompt", ["plain"], new()));
    }

    /// <summary>Of each text with each reading once, until there are too many to remember.</summary>
    [Fact]
    public void MarkTold_OfMoreTextsThanAreRemembered_BeginsAnew()
    {
        PromptReading reading = new(), other = new() { MaxTokenLength = 30 };
        Assert.Equal(["a", "b"], _one.Text.MarkTold(["a", "b", "a"], reading));
        Assert.Equal(["c"], _one.Text.MarkTold(["a", "b", "c"], reading));
        Assert.Equal(["a"], _one.Text.MarkTold(["a"], other));
        Assert.Equal(9_996, _one.Text.MarkTold(Enumerable.Range(0, 9_996).Select(static i => $"{i}"), reading).Count);
        Assert.Empty(_one.Text.MarkTold(["a"], reading));
        Assert.Single(_one.Text.MarkTold(["last"], reading));
        Assert.Single(_one.Text.MarkTold(["a"], reading));
    }

    [Fact]
    public void TellUnused_OfANegativePromptWithoutGuidance_IsToldOnceAndShort()
    {
        var text = new string('n', 49);
        Assert.Contains(
            $"The negative prompt \"{text[..24]}…{text[..24]}\" has no effect: guidance is 1",
            Heard.During(() => _one.Text.TellUnused(text, new())));
        Assert.Equal("", Heard.During(() => _one.Text.TellUnused(text, new())));
        Assert.Equal("", Heard.During(() => _one.Text.TellUnused("", new())));
        Assert.Contains("\"another\" has no effect", Heard.During(() => _one.Text.TellUnused("another", new())));
    }

    [Fact]
    public void Dispose_FreesEveryEncoder()
    {
        using var xl = TinyPipeline.CreateXL();
        var weights = xl.Text.Encoders.Select(static encoder => encoder.parameters().First()).ToList();
        xl.Text.Dispose();
        Assert.All(weights, static weight => Assert.True(weight.IsInvalid));
    }
}
