using LoraNotebooks.Diffusion;
using LoraNotebooks.Models.Language;

namespace LoraNotebooks.Tests.Diffusion;

/// <summary>Texts that are longer than the text encoders see: told with numbers and the remedy, each once.</summary>
public sealed class UnseenTextTests
{
    private static readonly string Long = string.Join(", ", Enumerable.Repeat("long hair", 8)) + ", blue shirt";

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Unseen_TextOfAnyLength_CountsTokens(bool isXL)
    {
        using var pipeline = isXL ? TinyPipeline.CreateXL() : TinyPipeline.Create();

        // Three tokens for each of eight tags with its comma, and two; the encoder sees ten.
        Assert.Equal("16 of 26 tokens are not seen; set Reading.MaxTokenLength to 26", pipeline.Text.Unseen(Long));
        Assert.Equal("6 of 26 tokens are not seen; set Reading.MaxTokenLength to 26", pipeline.Text.Unseen(Long, new() { MaxTokenLength = 20 }));
        Assert.Null(pipeline.Text.Unseen(Long, new() { MaxTokenLength = 26 }));
        Assert.Null(pipeline.Text.Unseen("long hair, long hair, long hair, blue"[..26]));
        Assert.Null(pipeline.Text.Unseen(""));
        Assert.StartsWith("4 of 14 tokens", pipeline.Text.Unseen("(long hair:1.5), (long hair:1.5), (long hair:1.5), (long hair:1.5), (long hair:1.5)", new() { Weighting = PromptWeighting.Scale }));
        Assert.EndsWith("shorten the text", pipeline.Text.Unseen(string.Join(' ', Enumerable.Repeat("hair", 8000))));
    }

    [Fact]
    public void Generate_NotationOfWebInterfaces_IsToldWhereItIsPlainText()
    {
        using var pipeline = TinyPipeline.Create();
        var options = new GenerationOptions { Prompt = "(blue:1.3)", Steps = 1, Guidance = 1 };

        Assert.Contains("(blue:1.3) is text here and weighs nothing; set Reading.Weighting", Heard.During(() => pipeline.Generate(options)));
        Assert.Contains("<lora:mika:0.8> is text here", Heard.During(() => pipeline.Generate(options with { Prompt = "<lora:mika:0.8>" })));
        Assert.Equal("", Heard.During(() => pipeline.Generate(options with { Reading = new() { Weighting = PromptWeighting.Scale } })));
        Assert.Equal("", Heard.During(() => pipeline.Generate(options with { Prompt = "hair (x) 16:9" })));
    }

    [Fact]
    public void Generate_PromptsTooLong_AreToldOnceAndDrawnAlike()
    {
        using var pipeline = TinyPipeline.Create();
        var options = new GenerationOptions { Prompt = Long, NegativePrompt = "no " + Long, Steps = 1 };

        var told = Heard.During(() => pipeline.Generate(options));

        Assert.Contains("1 prompt longer than the text encoder sees: \"long hair, long hair, lo…r, long hair, blue shirt\": 16 of 26 tokens are not seen", told);
        Assert.Contains("1 negative prompt longer", told);
        Assert.Equal("", Heard.During(() => pipeline.Generate(options)));
        Assert.Equal("", Heard.During(() => pipeline.Generate(options with { Reading = new() { MaxTokenLength = 30 } })));
        Assert.Equal("", Heard.During(() => pipeline.Generate(new() { Prompt = "long hair", Steps = 1, Guidance = 1 })));
        var unused = new GenerationOptions { Prompt = "long hair", NegativePrompt = "blue", Steps = 1, Guidance = 1 };
        Assert.Contains("The negative prompt \"blue\" has no effect", Heard.During(() => pipeline.Generate(unused)));
        Assert.Equal("", Heard.During(() => pipeline.Generate(unused)));
        Assert.NotEqual("", Heard.During(() => pipeline.Generate(options with { Reading = new() { MaxTokenLength = 20 } })));
    }
}
