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
        Assert.Equal(
            [("1girl", 4, 0.8), ("Blue hair", 2, 0.4), ("hat", 2, 0.4), ("a boy with a dog", 1, 0.2), ("smile", 1, 0.2)],
            Table.Tags.Select(tag => (tag.Tag, tag.Count, tag.Share)));
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
        Assert.Equal(
            ["1girl, Blue hair, hat", "1girl, blue hair, hat", "hat, 1girl, 1girl"],
            Table.Add("hat").Captions.Take(3).Select(caption => caption.Caption));
        Assert.Equal("hat, 1girl, blue hair", Table.Add("hat", first: true, files: ["2.png"]).Captions[1].Caption);
        Assert.Equal("1girl, smile", Table.Add("hat", files: ["2.png"]).Captions[3].Caption);
        Assert.Contains("9.png", Assert.Throws<ArgumentException>(() => Table.Add("hat", files: ["9.png"])).Message);
    }

    [Fact]
    public void WithTriggerWord_EveryCaption_BeginsWithIt()
    {
        var table = Table.WithTriggerWord("hat");
        Assert.Equal(
            ["hat, 1girl, Blue hair", "hat, 1girl, blue hair", "hat, 1girl, 1girl", "hat, 1girl, smile", "hat, a boy with a dog"],
            table.Captions.Select(caption => caption.Caption));
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

    [Theory]
    [InlineData(1.0, true)]
    [InlineData(1e-9, true)]
    [InlineData(0.0, false)]
    [InlineData(1.0000001, false)]
    [InlineData(double.NaN, false)]
    public void Redundant_Share_IsAPartAboveZero(double share, bool isOne)
    {
        if (isOne)
        {
            Table.Redundant(share);
            return;
        }

        Assert.Throws<ArgumentOutOfRangeException>(() => Table.Redundant(share));
    }

    [Fact]
    public void Redundant_ShareThatIsNoBinaryFraction_CountsWholeImages()
    {
        // 7 of 10 images: 0.7 in floating point is less than 7.0 / 10 or not, as its last bit has it.
        for (var count = 1; count <= 50; count++)
        {
            for (var share = 1; share <= count; share++)
            {
                var table = new TagTable(Enumerable.Range(0, count).Select(i => new CaptionedImage($"{i}", i < share ? "a" : "b")));
                Assert.Contains(table.Redundant(share * (1.0 / count)), static tag => tag.Tag == "a");
                Assert.DoesNotContain(table.Redundant(Math.Min(1, (share + 0.001) / count)), tag => tag.Tag == "a" && share < count);
            }
        }
    }

    [Fact]
    public void Redundant_WithoutAShare_IsFourFifths()
    {
        Assert.Equal(["1girl"], Table.Redundant().Select(static tag => tag.Tag));
        Assert.Empty(Table.Redundant(0.81));
        Assert.Empty(Table.Redundant(except: "1GIRL"));
    }

    [Fact]
    public void Tags_EquallyFrequent_AreInAlphabeticalOrderAsFirstSpelt()
    {
        var table = new TagTable([new("1", "b, B, a"), new("2", "c, A"), new("3", " ,, ")]);
        Assert.Equal(
            [("a", "1 2", 2.0 / 3), ("b", "1", 1.0 / 3), ("c", "2", 1.0 / 3)],
            table.Tags.Select(static tag => (tag.Tag, string.Join(' ', tag.Files), tag.Share)));
    }

    [Fact]
    public void Edits_ThatCannotBe_SayWhatWasExpected()
    {
        Assert.StartsWith(
            "unwanted: got 'a, b', expected one tag: not empty, without commas, line breaks and outer spaces",
            Assert.Throws<ArgumentException>(() => Table.Prune("a, b")).Message);
        Assert.StartsWith("old: got '', expected one tag", Assert.Throws<ArgumentException>(() => Table.Replace("", "a")).Message);
        Assert.StartsWith("tag: got ' a', expected one tag", Assert.Throws<ArgumentException>(() => Table.Add(" a")).Message);
        Assert.StartsWith("word: got 'a\n', expected one tag", Assert.Throws<ArgumentException>(() => Table.WithTriggerWord("a\n")).Message);
        Assert.StartsWith(
            "The replacement of 'hat' is empty, expected a tag. Use Prune to remove a tag.",
            Assert.Throws<ArgumentException>(() => Table.Replace("hat", " , ")).Message);
        Assert.StartsWith(
            "Got a line break in 'a\rb', expected one line: a caption is the first line of its file.",
            Assert.Throws<ArgumentException>(() => Table.Replace("hat", "a\rb")).Message);
        Assert.StartsWith(
            "No caption has the tag 'cat'. The most frequent tags are 1girl, Blue hair, hat, a boy with a dog, smile.",
            Assert.Throws<ArgumentException>(() => Table.Replace("cat", "a")).Message);
        Assert.StartsWith(
            "No caption has the tag 'cat'. There are no tags.",
            Assert.Throws<ArgumentException>(() => new TagTable([new("1", "")]).Replace("cat", "a")).Message);
        Assert.StartsWith(
            "The table has no 8.png, 9.png. Give names as in Captions, for example 1.png.",
            Assert.Throws<ArgumentException>(() => Table.Add("a", files: ["8.png", "1.png", "9.png"])).Message);
        Assert.StartsWith("The table has no 1.png. It is empty.", Assert.Throws<ArgumentException>(() => new TagTable([]).Add("a", files: ["1.png"])).Message);
        Assert.StartsWith("Got a line break in '\na'", Assert.Throws<ArgumentException>(() => Table.Replace("hat", "\na")).Message);
        var many = new TagTable([new("1", string.Join(", ", Enumerable.Range(0, 12).Select(static i => $"t{i:D2}")))]);
        Assert.Contains("are t00, t01, t02, t03, t04, t05, t06, t07.", Assert.Throws<ArgumentException>(() => many.Replace("cat", "a")).Message);
    }

    [Theory]
    [InlineData("a,  b", "b", "b, a")]
    [InlineData("b,  a, b", "b", "b,  a, b")]
    [InlineData("a, B, b", "b", "b, a")]
    [InlineData("B, a", "b", "b, a")]
    [InlineData("", "b", "b")]
    public void WithTriggerWord_Caption_HasItFirstAndOnce(string caption, string word, string expected) =>
        Assert.Equal(expected, new TagTable([new("1", caption)]).WithTriggerWord(word).Captions[0].Caption);

    [Theory]
    [InlineData("a,  b", "c", "a, b, c")]
    [InlineData("a,  C", "c", "a,  C")]
    public void Add_Tag_LeavesCaptionsThatHaveItToTheLetter(string caption, string tag, string expected) =>
        Assert.Equal(expected, new TagTable([new("1", caption)]).Add(tag).Captions[0].Caption);

    [Theory]
    [InlineData("a,  b", "A", "c", "c, b")]
    [InlineData("a, b, c", "a", "C, d", "C, d, b")]
    [InlineData("b,  c", "a", "d", "b,  c")]
    [InlineData("b,  B", "a", "d", "b,  B")]
    [InlineData("a, b", "a", "a", "a, b")]
    public void Replace_Tag_TakesItsPlaceAndStaysOnce(string caption, string old, string replacement, string expected) =>
        Assert.Equal(expected, new TagTable([new("1", caption), new("2", "a")]).Replace(old, replacement).Captions[0].Caption);

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
        Assert.Equal(
            Enumerable.Range(0, 10).Select(_ => options.Draw(Caption, first)).ToList(),
            Enumerable.Range(0, 10).Select(_ => options.Draw(Caption, second)).ToList());
    }

    [Fact]
    public void Validate_CaptionOptionsWithFaults_ReportsAll() =>
        Assert.Equal(3, new CaptionOptions { KeepTokens = -1, CaptionDropout = 1.5, TagDropout = double.NaN }.Validate().Count);
}
