using System.Text.RegularExpressions;
using LoraNotebooks.Data;
using LoraNotebooks.Training;

namespace LoraNotebooks.Interactive.Tests;

public partial class SampleStripTests
{
    private static readonly RgbImage Image = Some.Image(200, 200);

    private sealed record OwnSample(int Epoch, string Prompt, long Seed) : TrainingSample(Epoch, Prompt, Seed);

    [Fact]
    public void Draw_SamplesInAnyOrder_StandByEpochAndPrompt()
    {
        var strip = new SampleStrip(
        [
            new PictureSample(2, "b", 1, Image), new PictureSample(0, "b", 1, Image),
            new PictureSample(2, "a", 1, Image), new PictureSample(0, "b", 2, Image),
        ]);
        Assert.Equal(["Samples", "before", "epoch 2", "b", "a", "—", "b", "—"], Some.Words(strip.ToHtml()));
        Assert.Equal(["epoch 0: b", "epoch 2: b", "epoch 2: a", "epoch 0: b"], Alternative().Matches(strip.ToHtml()).Select(match => match.Groups[1].Value));
        Assert.Equal("samples: 3 at epoch 2", strip.ToText());
        Assert.Equal("", new SampleStrip([]).ToText());
        Assert.Equal(["Samples"], Some.Words(new SampleStrip([]).ToHtml()));
    }

    [Fact]
    public void Draw_Texts_StandWherePicturesWould()
    {
        var strip = new SampleStrip([new TextSample(0, "Once", 1, "Once a <b>"), new TextSample(4, "Once", 1, "Once upon a time"), new OwnSample(4, "other", 1)]);

        string[] words = Some.Words(strip.ToHtml());
        Assert.Equal(["Samples", "before", "epoch 4", "Once", "Once a <b>", "Once upon a time", "other", "—"], words[..8]);
        Assert.StartsWith("OwnSample {", words[8], StringComparison.Ordinal);
        Some.AssertHarmless(strip.ToHtml());
    }

    [Fact]
    public void Draw_SampleDrawnAgain_IsTheLatest()
    {
        var latest = Some.Image(shade: 7);
        var strip = new SampleStrip([new PictureSample(1, "a", 1, Some.Image()), new PictureSample(1, "a", 1, latest)]);
        Assert.Contains(ImageTag.Source(latest, 128), strip.ToHtml());
        Assert.Equal("samples: 1 at epoch 1", strip.ToText());
    }

    [Theory]
    [InlineData(1, 128, new[] { 1 })]
    [InlineData(5, 128, new[] { 1, 2, 3, 4, 5 })]
    [InlineData(6, 106, new[] { 1, 2, 3, 4, 5, 6 })] // 640 / 6
    [InlineData(8, 80, new[] { 1, 2, 3, 4, 5, 6, 7, 8 })]
    [InlineData(9, 80, new[] { 1, 2, 3, 4, 5, 6, 7, 8, 9 })]
    [InlineData(10, 80, new[] { 1, 2, 3, 4, 5, 7, 8, 9, 10 })] // 1 + round(9 i / 8), a half to the even
    [InlineData(33, 80, new[] { 1, 5, 9, 13, 17, 21, 25, 29, 33 })] // every fourth
    public void Draw_ManyEpochs_ShowsNineEvenlySpreadAndSaysSo(int epochs, int side, int[] shown)
    {
        var html = new SampleStrip(Enumerable.Range(1, epochs).Select(epoch => new PictureSample(epoch, "p", 1, Image))).ToHtml();
        string[] facts = shown.Length < epochs ? [$"9 of {epochs} epochs"] : [];
        Assert.Equal(["Samples", .. facts, .. shown.Select(epoch => $"epoch {epoch}"), "p"], Some.Words(html));
        Assert.Equal(shown.Length, html.Split($"width=\"{side}\" height=\"{side}\"").Length - 1);
    }

    [Fact]
    public void Draw_LiveStrip_TakesWhatWasEncodedBefore()
    {
        var brief = new BriefImages();
        var image = Some.Image(300, 300);
        brief.Begin();
        var source = brief.Source(image, 128);
        Assert.Contains(source, new SampleStrip([new PictureSample(1, "p", 1, image)], brief).ToHtml());
        Assert.Same(source, brief.Source(image, 128));
        Assert.DoesNotContain(source, new SampleStrip([new PictureSample(1, "p", 1, image)]).ToHtml());
    }

    [GeneratedRegex("alt=\"([^\"]*)\"")]
    private static partial Regex Alternative();
}
