using LoraNotebooks.Comparison;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Models.Language;

namespace LoraNotebooks.Tests.Comparison;

public sealed class XyzSettingsTests
{
    private static readonly XyzSettings Plain = new() { Prompt = "p" };

    [Theory]
    [InlineData(nameof(XyzSettings.Prompt), null, "Prompt: got null, expected a text")]
    [InlineData(nameof(XyzSettings.Prompt), "", null)]
    [InlineData(nameof(XyzSettings.Steps), 0, "Steps: got 0, expected a positive whole number")]
    [InlineData(nameof(XyzSettings.Steps), 1, null)]
    [InlineData(nameof(XyzSettings.Guidance), 0.0, null)]
    [InlineData(nameof(XyzSettings.Guidance), -0.001, "Guidance: got -0.001, expected 0 or more")]
    [InlineData(nameof(XyzSettings.Guidance), double.PositiveInfinity, "Guidance: got")]
    [InlineData(nameof(XyzSettings.ClipSkip), 0, "ClipSkip: got 0, expected a positive whole number")]
    [InlineData(nameof(XyzSettings.ClipSkip), 1, null)]
    [InlineData(nameof(XyzSettings.Eta), 0.0, null)]
    [InlineData(nameof(XyzSettings.Eta), 1.0, null)]
    [InlineData(nameof(XyzSettings.Eta), 1.001, "Eta: got 1.001, expected 0 to 1")]
    [InlineData(nameof(XyzSettings.Eta), -0.001, "Eta: got -0.001")]
    [InlineData(nameof(XyzSettings.Width), 0, "Width: got 0, expected a positive number of pixels")]
    [InlineData(nameof(XyzSettings.Height), -1, "Height: got -1, expected a positive number of pixels")]
    [InlineData(nameof(XyzSettings.Height), 1, null)]
    [InlineData(nameof(XyzSettings.LoraWeight), -3.0, null)]
    [InlineData(nameof(XyzSettings.LoraWeight), double.NaN, "LoraWeight: got NaN, expected a finite number")]
    public void Validate_AtAndBeyondEveryBound_NamesWhatWasGot(string property, object? value, string? expected)
    {
        var settings = Plain with { };
        typeof(XyzSettings).GetProperty(property)!.SetValue(settings, value);
        Assert.Equal(expected is null ? 0 : 1, settings.Validate().Count);
        Assert.StartsWith(expected ?? "", settings.Validate().FirstOrDefault() ?? "");
    }

    [Fact]
    public void Validate_Reading_IsNamedWithItsPlace() =>
        Assert.StartsWith("Reading.MaxTokenLength: got -1", Assert.Single((Plain with { Reading = new() { MaxTokenLength = -1 } }).Validate()));

    [Fact]
    public void Settings_ByDefault_AreThoseOfTheirDocumentation()
    {
        Assert.Equal(("", 0L, 20, 3.0, null, null), (Plain.NegativePrompt, Plain.Seed, Plain.Steps, Plain.Guidance, Plain.Sampler, Plain.Spacing));
        Assert.Equal((0.0, 1, null, 1.0, null, null), (Plain.Eta, Plain.ClipSkip, Plain.Checkpoint, Plain.LoraWeight, Plain.Width, Plain.Height));
        Assert.Equal((new PromptReading(), -1L), (Plain.Reading, XyzSettings.RandomSeed));
    }

    /// <summary>Settings that paint the same picture, and such as do not; nothing else is left out.</summary>
    [Fact]
    public void Canonical_Settings_LeaveOutOnlyWhatMakesNoDifference()
    {
        var all = Plain with { Checkpoint = "a", Spacing = SigmaSpacing.Karras, Eta = 0.5 };
        Assert.Equal(all, all.Canonical());
        Assert.Equal(all with { Checkpoint = null, LoraWeight = 0 }, (all with { LoraWeight = 0 }).Canonical());
        Assert.Equal(all with { Sampler = SamplerKind.Ddim, Spacing = null }, (all with { Sampler = SamplerKind.Ddim }).Canonical());
        foreach (var kind in SamplerKind.All.Where(static kind => kind != SamplerKind.Ddim))
        {
            var isOfTimesteps = kind == SamplerKind.Ddpm || kind == SamplerKind.Pndm;
            Assert.Equal(all with { Sampler = kind, Eta = 0, Spacing = isOfTimesteps ? null : SigmaSpacing.Karras }, (all with { Sampler = kind }).Canonical());
        }
    }

    [Fact]
    public void Drawn_Seeds_AreOthersThanTheGivenOnesAndOnlyForMinusOne()
    {
        // So many that some would meet if a draw that is taken already were kept.
        const int count = 20_000;
        long[] given = [.. Enumerable.Repeat(-1L, count), 7, -2, 0];
        var drawn = XyzSettings.Drawn(given);
        Assert.Equal([7L, -2, 0], drawn.Skip(count));
        Assert.Equal(count + 3, drawn.Distinct().Count());
        Assert.All(drawn.Take(count), static seed => Assert.InRange(seed, 0, (1L << 32) - 1));
        Assert.Contains(drawn, static seed => seed > int.MaxValue); // of that many even chances
    }
}
