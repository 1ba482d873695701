using LoraNotebooks.Diffusion;
using LoraNotebooks.Models.Language;

namespace LoraNotebooks.Tests.Diffusion;

public sealed class GenerationOptionsTests
{
    [Theory]
    [InlineData(nameof(GenerationOptions.Width), 0, "Width: got 0, expected a positive number of pixels")]
    [InlineData(nameof(GenerationOptions.Width), 1, null)]
    [InlineData(nameof(GenerationOptions.Height), -2, "Height: got -2, expected a positive number of pixels")]
    [InlineData(nameof(GenerationOptions.Height), 1, null)]
    [InlineData(nameof(GenerationOptions.Height), 0, "Height: got 0")]
    [InlineData(nameof(GenerationOptions.Steps), 0, "Steps: got 0, expected a positive whole number")]
    [InlineData(nameof(GenerationOptions.Steps), 1, null)]
    [InlineData(nameof(GenerationOptions.Guidance), double.NaN, "Guidance: got NaN, expected a finite number")]
    [InlineData(nameof(GenerationOptions.Guidance), double.NegativeInfinity, "Guidance: got -Infinity")]
    [InlineData(nameof(GenerationOptions.Guidance), -1.0, null)]
    [InlineData(nameof(GenerationOptions.Count), 0, "Count: got 0")]
    [InlineData(nameof(GenerationOptions.Count), 1, null)]
    [InlineData(nameof(GenerationOptions.BatchSize), 0, "BatchSize: got 0")]
    [InlineData(nameof(GenerationOptions.BatchSize), 1, null)]
    [InlineData(nameof(GenerationOptions.Eta), 0.0, null)]
    [InlineData(nameof(GenerationOptions.Eta), 1.0, null)]
    [InlineData(nameof(GenerationOptions.Eta), 1.001, "Eta: got 1.001, expected 0 to 1")]
    [InlineData(nameof(GenerationOptions.Eta), -0.001, "Eta: got -0.001")]
    [InlineData(nameof(GenerationOptions.Eta), double.NaN, "Eta: got NaN")]
    [InlineData(nameof(GenerationOptions.ClipSkip), 0, "ClipSkip: got 0")]
    [InlineData(nameof(GenerationOptions.ClipSkip), 1, null)]
    public void Validate_AtAndBeyondEveryBound_NamesWhatWasGot(string property, object value, string? expected)
    {
        var options = new GenerationOptions();
        typeof(GenerationOptions).GetProperty(property)!.SetValue(options, value);
        Assert.Equal(expected is null ? 0 : 1, options.Validate().Count);
        Assert.Contains(expected ?? "", options.Validate().FirstOrDefault() ?? "");
        if (expected is not null)
        {
            Assert.Contains(expected, Assert.Throws<ArgumentException>(options.ThrowIfInvalid).Message);
        }
    }

    [Fact]
    public void Options_ByDefault_AreThoseOfTheirDocumentation()
    {
        var options = new GenerationOptions();
        Assert.Equal(("", "", null, null, 20, 7.5), (options.Prompt, options.NegativePrompt, options.Width, options.Height, options.Steps, options.Guidance));
        Assert.Equal((0L, 1, 4, null, null, 0.0, 1), (options.Seed, options.Count, options.BatchSize, options.Sampler, options.Spacing, options.Eta, options.ClipSkip));
        Assert.Equal(new PromptReading(), options.Reading);
        Assert.Equal(["Reading.MaxTokenLength"], (options with { Reading = new() { MaxTokenLength = -1 } }).Validate().Select(static fault => fault.Split(':')[0]));
    }
}
