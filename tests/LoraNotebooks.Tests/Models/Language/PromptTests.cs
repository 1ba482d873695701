using System.Text.Json;
using LoraNotebooks.Models.Language;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Models.Language;

public sealed class PromptTests
{
    private static JsonElement Kohya => Fixtures.Json("kohya-data", "kohya-data.json");

    [Fact]
    [Trait("Category", "Parity")]
    public void Parse_KohyasPrompts_GivesItsPartsAndWeights()
    {
        var cases = Kohya.GetProperty("prompt_weights_parse_prompt_attention").EnumerateArray().ToList();
        Assert.NotEmpty(cases);
        foreach (var item in cases)
        {
            var expected = item.GetProperty("parsed").EnumerateArray().Select(part => new WeightedText(part[0].GetString()!, part[1].GetDouble()));
            Assert.Equal(expected, WeightedText.Parse(item.GetProperty("text").GetString()!));
        }
    }

    [Fact]
    [Trait("Category", "Parity")]
    public void Of_KohyasChunks_HasItsIds()
    {
        var cases = Kohya.GetProperty("tokenize_chunks").EnumerateArray().ToList();
        Assert.NotEmpty(cases);
        var tokenizers = cases.Select(item => item.GetProperty("tokenizer").GetString()!).Distinct().ToDictionary(name => name, Tokenizer);
        foreach (var item in cases)
        {
            var tokenizer = tokenizers[item.GetProperty("tokenizer").GetString()!];
            long[] expected = [.. item.GetProperty("input_ids").EnumerateArray().SelectMany(row => row.EnumerateArray()).Select(id => id.GetInt64())];

            // kohya's 77 stands for no setting, with begin and end; 150 and 225 are without.
            var length = item.GetProperty("max_token_length").GetInt32();
            var reading = new PromptReading { MaxTokenLength = length == tokenizer.ModelMaxLength ? null : length };
            var tokens = PromptTokens.Of(tokenizer, [item.GetProperty("text").GetString()!], reading);
            Assert.Equal(expected, tokens.Ids);
            Assert.All(tokens.Weights, weight => Assert.Equal(1, weight));
        }
    }

    [Theory]
    [InlineData("", "=1")]
    [InlineData("(open", "open=1.1")]
    [InlineData("[[open", "open=0.826446")]
    [InlineData("closed)]", "closed)]=1")]
    [InlineData("a:1.3)", "a:1.3)=1")]
    [InlineData("(a:1.2.3)", "a:1.2.3)=1.1")]
    [InlineData("(a:-0.5)", "a=-0.5")]
    [InlineData(@"\\(a)", @"\=1|a=1.1")]
    [InlineData("time: 12:30", "time: 12:30=1")]
    [InlineData("([a])", "a=1")]
    public void Parse_Brackets_WeighWhatTheyEnclose(string prompt, string expected) =>
        Assert.Equal(
            expected,
            string.Join(
                '|',
                WeightedText.Parse(prompt)
                    .Select(part => string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{part.Text}={part.Weight:0.######}"))));

    [Fact]
    public void Of_WeightedPrompt_GivesEachTokenItsWeight()
    {
        var tokenizer = Small(length: 6);
        var tokens = PromptTokens.Of(tokenizer, ["a (b:2) c d e", "a"], new() { MaxTokenLength = 7, Weighting = PromptWeighting.Scale });

        Assert.Equal((2, 2, 6), (tokens.Count, tokens.Chunks, tokens.Length));
        Assert.Equal([1, 1, 2, 1, 1, 1, 1, 1, 1, 1], tokens.Weights.Take(10));
        Assert.Equal(tokenizer.Encode("a b c d"), tokens.Ids.Take(6));
        Assert.Equal(tokenizer.Encode("e"), tokens.Ids.Skip(6).Take(6));
        Assert.Equal(tokenizer.Encode(""), tokens.Ids.Skip(18).Take(6));
    }

    [Fact]
    public void Of_BracketsWithoutWeighting_AreText()
    {
        var tokenizer = Small(length: 8);
        Assert.Equal(tokenizer.Encode("(a:2)"), PromptTokens.Of(tokenizer, ["(a:2)"]).Ids);
    }

    [Fact]
    public void Join_Chunks_KeepsOneBeginAndOneEnd()
    {
        using var scope = NewDisposeScope();
        var tokens = PromptTokens.Of(Small(length: 4), ["a b c d", "e"], new() { MaxTokenLength = 4 });
        var states = arange(16, ScalarType.Float32).view(4, 4, 1);

        Assert.Equal([0, 1, 2, 5, 6, 7, 8, 9, 10, 13, 14, 15], tokens.Join(states).data<float>().ToArray());
    }

    [Theory]
    [InlineData(PromptWeighting.Scale, 1)]
    [InlineData(PromptWeighting.KeepMean, 10d / 12)]
    public void Join_Weights_MultiplyTheStatesAndMayKeepTheMean(PromptWeighting weighting, double factor)
    {
        using var scope = NewDisposeScope();
        var tokens = PromptTokens.Of(Small(length: 4), ["a (b:2)"], new() { Weighting = weighting });
        var states = tensor(new float[] { 1, 2, 2, 5 }).view(1, 4, 1);

        var expected = tensor(new[] { 1, 2, 4, 5 }).view(1, 4, 1) * factor;
        Assert.InRange(Fixtures.MaxDifference(expected, tokens.Join(states)), 0, 1e-6);
    }

    [Fact]
    public void Join_ManyTimes_LeavesNoTensorBehind()
    {
        using var scope = NewDisposeScope();
        var tokens = PromptTokens.Of(Small(length: 4), ["a (b:2) c"], new() { MaxTokenLength = 4, Weighting = PromptWeighting.KeepMean });
        var states = rand(2, 4, 3);
        var before = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
        tokens.Join(states).Dispose();
        Assert.Equal(before, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
    }

    [Fact]
    public void Of_BadLength_SaysWhatIsUsual() =>
        Assert.Contains("75, 150 and 225", Assert.Throws<ArgumentException>(() => PromptTokens.Of(Small(4), [""], new() { MaxTokenLength = 0 })).Message);

    private static ClipTokenizer Small(int length) => ClipTokenizer.Train(["a b c d e"], vocabularySize: 514, modelMaxLength: length);

    private static ClipTokenizer Tokenizer(string name) => ClipTokenizer.FromFolder(Fixtures.Case(name switch
    {
        _ when name.StartsWith("sd1 ", StringComparison.Ordinal) => "sd15-tiny",
        _ when name.StartsWith("sd2/", StringComparison.Ordinal) => "sd2-tiny",
        _ => throw new InvalidDataException($"The case has a tokenizer '{name}' that is not covered."),
    }, "tokenizer"));
}
