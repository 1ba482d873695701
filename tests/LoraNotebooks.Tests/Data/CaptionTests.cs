using LoraNotebooks.Data;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Data;

public sealed class CaptionTests
{
    private const string Caption = "mika, a, b, c, d, e";

    private static readonly TagTable Table = new(
    [
        new("1.png", "1girl, Blue hair, hat"),
        new("2.png", "1girl,  blue hair"),
        new("3.png", "hat, 1girl, 1girl"),
        new("4.png", "1girl, smile"),
        new("5.png", "a boy with a dog"),
    ]);

    [Fact]
    public void Tags_OfCaptions_AreCountedOncePerImageMostFrequentFirst()
    {
        Assert.Equal([("1girl", 4, 0.8), ("Blue hair", 2, 0.4), ("hat", 2, 0.4), ("a boy with a dog", 1, 0.2), ("smile", 1, 0.2)], Table.Tags.Select(tag => (tag.Tag, tag.Count, tag.Share)));
        Assert.Equal(["1.png", "3.png"], Table["HAT"]!.Files);
        Assert.Null(Table["cat"]);
    }

    [Fact]
    public void Prune_Tags_RemovesThemAndLeavesOtherCaptionsAlone()
    {
        var pruned = Table.Prune("BLUE HAIR", "absent");
        Assert.Equal(["1girl, hat", "1girl", "hat, 1girl, 1girl", "1girl, smile", "a boy with a dog"], pruned.Captions.Select(caption => caption.Caption));
        Assert.Equal("1girl,  blue hair", Table.Captions[1].Caption);
        Assert.Equal("1girl,  blue hair", Table.Prune("hat").Captions[1].Caption);
        Assert.Throws<ArgumentException>(() => Table.Prune("a, b"));
    }

    [Fact]
    public void Replace_ATag_PutsTheNewOneInItsPlaceOnce()
    {
        Assert.Equal("1girl, cap", Table.Replace("hat", "cap").Replace("blue hair", "CAP").Captions[0].Caption.Replace("CAP", "cap"));
        Assert.Equal("red, beret, 1girl", Table.Replace("hat", "red, beret").Captions[2].Caption);
        Assert.Contains("1girl, Blue hair", Assert.Throws<ArgumentException>(() => Table.Replace("cat", "dog")).Message);
        Assert.Throws<ArgumentException>(() => Table.Replace("hat", " "));
        Assert.Throws<ArgumentException>(() => Table.Replace("hat", "a\nb"));
    }

    [Fact]
    public void Add_ATag_GoesFirstOrLastWhereItLacks()
    {
        Assert.Equal(["1girl, Blue hair, hat", "1girl, blue hair, hat", "hat, 1girl, 1girl"], Table.Add("hat").Captions.Take(3).Select(caption => caption.Caption));
        Assert.Equal("hat, 1girl, blue hair", Table.Add("hat", first: true, files: ["2.png"]).Captions[1].Caption);
        Assert.Equal("1girl, smile", Table.Add("hat", files: ["2.png"]).Captions[3].Caption);
        Assert.Contains("9.png", Assert.Throws<ArgumentException>(() => Table.Add("hat", files: ["9.png"])).Message);
    }

    [Fact]
    public void WithTriggerWord_EveryCaption_BeginsWithIt()
    {
        var table = Table.WithTriggerWord("hat");
        Assert.Equal(["hat, 1girl, Blue hair", "hat, 1girl, blue hair", "hat, 1girl, 1girl", "hat, 1girl, smile", "hat, a boy with a dog"], table.Captions.Select(caption => caption.Caption));
        Assert.Equal(table.Captions, table.WithTriggerWord("hat").Captions);
    }

    [Fact]
    public void Redundant_Tags_AreThoseOfMostImages()
    {
        Assert.Equal(["1girl"], Table.Redundant(0.8).Select(tag => tag.Tag));
        Assert.Equal(["1girl", "Blue hair", "hat"], Table.Redundant(0.4).Select(tag => tag.Tag));
        Assert.Empty(Table.Redundant(0.8, except: "1girl"));
        Assert.Throws<ArgumentOutOfRangeException>(() => Table.Redundant(0));
    }

    [Fact]
    public void Draw_WithoutOptions_KeepsTheCaptionToTheLetter()
    {
        using var generator = new Generator(1);
        Assert.Equal("  spaced ,  tags , , empty ", new CaptionOptions { KeepTokens = 3 }.Draw("  spaced ,  tags , , empty ", generator));
    }

    [Fact]
    public void Draw_Shuffle_KeepsTheHeadAndEveryTag()
    {
        using var generator = new Generator(1);
        var options = new CaptionOptions { Shuffle = true, KeepTokens = 2 };
        var drawn = Enumerable.Range(0, 40).Select(_ => options.Draw(Caption, generator)).ToList();
        Assert.All(drawn, caption => Assert.StartsWith("mika, a, ", caption));
        Assert.All(drawn, caption => Assert.Equal(Caption.Split(", ").Order(), caption.Split(", ").Order()));
        Assert.InRange(drawn.Distinct().Count(), 15, 24);
        Assert.Equal("single", options.Draw("single", generator));
        Assert.Equal("", options.Draw("", generator));
    }

    [Fact]
    public void Draw_Dropout_HasTheRatesAskedForAndSparesTheKept()
    {
        using var generator = new Generator(2);
        var options = new CaptionOptions { KeepTokens = 1, TagDropout = 0.3, CaptionDropout = 0.1 };
        var drawn = Enumerable.Range(0, 2000).Select(_ => options.Draw(Caption, generator)).ToList();
        var whole = drawn.Where(caption => caption.Length > 0).ToList();
        Assert.All(whole, caption => Assert.StartsWith("mika", caption));

        // Four standard deviations: √(0.1·0.9/2000) = 0.0067 and √(0.3·0.7/9000) = 0.0048.
        Assert.InRange(1 - whole.Count / 2000.0, 0.1 - 0.027, 0.1 + 0.027);
        Assert.InRange(1 - whole.Average(caption => caption.Split(", ").Length - 1) / 5, 0.3 - 0.02, 0.3 + 0.02);
        Assert.Equal("mika", (options with { TagDropout = 1, CaptionDropout = 0 }).Draw(Caption, generator));
        Assert.Equal("", (options with { CaptionDropout = 1 }).Draw(Caption, generator));
    }

    [Fact]
    public void Draw_SameSeed_GivesTheSameCaptions()
    {
        using var first = new Generator(3);
        using var second = new Generator(3);
        var options = new CaptionOptions { Shuffle = true, TagDropout = 0.5 };
        Assert.Equal(Enumerable.Range(0, 10).Select(_ => options.Draw(Caption, first)).ToList(), Enumerable.Range(0, 10).Select(_ => options.Draw(Caption, second)).ToList());
    }

    [Fact]
    public void Validate_CaptionOptionsWithFaults_ReportsAll() =>
        Assert.Equal(3, new CaptionOptions { KeepTokens = -1, CaptionDropout = 1.5, TagDropout = double.NaN }.Validate().Count);
}
