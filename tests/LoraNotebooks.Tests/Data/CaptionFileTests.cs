using LoraNotebooks.Data;

namespace LoraNotebooks.Tests.Data;

/// <summary>Captions that are put back into their files: whole or not at all, the rest of the file as it was.</summary>
public sealed class CaptionFileTests
{
    [Theory]
    [InlineData("tag", "new\n")]
    [InlineData("tag\n", "new\n")]
    [InlineData("tag\r\nsecond\r\n", "new\r\nsecond\r\n")]
    [InlineData("\uFEFFtag\nsecond", "new\nsecond")]
    [InlineData("  tag  \n", "new\n")]
    [InlineData("\nsecond", "new\nsecond")]
    public void SaveCaptions_FirstLine_IsReplacedAndTheRestIsKept(string before, string after)
    {
        using var folder = new DatasetFolder();
        var dataset = folder.Image("a.png", before).Open(new() { RequireCaptions = false });

        dataset.WithCaptions(new TagTable([new("a.png", "new")])).SaveCaptions();

        Assert.Equal(after, File.ReadAllText(folder["a.txt"]));
    }

    [Fact]
    public void SaveCaptions_Metadata_KeepsItsOtherLinesAndFields()
    {
        using var folder = new DatasetFolder();
        var dataset = folder.Image("a.png").Image("b.png").Text("metadata.jsonl", """
            {"file_name": "b.png",   "text": "other", "n": 1.50}

            {"file_name": "a.png", "split": "é<帽>", "text": "tag", "crop": [0, 0, 8, 8]}
            """.ReplaceLineEndings("\r\n")).Open();

        dataset.WithCaptions(dataset.Tags.Replace("tag", "é & \"new\"")).SaveCaptions();

        Assert.Equal(
            """
            {"file_name": "b.png",   "text": "other", "n": 1.50}
            {"file_name":"a.png","split":"é<帽>","text":"é & \"new\"","crop":[0,0,8,8]}

            """.ReplaceLineEndings("\n"),
            File.ReadAllText(folder["metadata.jsonl"]));
    }

    [Fact]
    public void SaveCaptions_WhoReadsMeanwhile_SeesTheFormerFilesWhole()
    {
        using var folder = new DatasetFolder();
        var dataset = folder.Image("a.png", "tag").Image("b.png").Text("metadata.jsonl", """{"file_name": "b.png", "text": "tag"}""").Open();
        using (var caption = Reader("a.txt"))
        using (var metadata = Reader("metadata.jsonl"))
        {
            dataset.WithCaptions(dataset.Tags.Replace("tag", "new")).SaveCaptions();

            Assert.Equal("tag", caption.ReadToEnd());
            Assert.Equal("""{"file_name": "b.png", "text": "tag"}""", metadata.ReadToEnd());
        }

        Assert.Equal(["new", "new"], folder.Open().Items.Select(static item => item.Caption));
        Assert.Equal(4, Directory.GetFiles(folder.Path).Length);

        StreamReader Reader(string file) => new(new FileStream(folder[file], FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete));
    }

    [Fact]
    public void SaveCaptions_FileThatIsNoTextAnyMore_LeavesAllAsTheyWere()
    {
        using var folder = new DatasetFolder();
        var dataset = folder.Image("a.png", "tag").Image("b.png", "tag").Image("c.png").Text(
            "metadata.jsonl", """{"file_name": "c.png", "text": "tag"}""").Open();
        folder.Bytes("b.txt", [0xFF, 0xFE, 0]);

        var message = Assert.Throws<InvalidDataException>(() => dataset.WithCaptions(dataset.Tags.Replace("tag", "new")).SaveCaptions()).Message;

        Assert.StartsWith($"{folder["b.txt"]}: got UTF-16", message);
        Assert.Equal("tag", File.ReadAllText(folder["a.txt"]));
        Assert.Equal("""{"file_name": "c.png", "text": "tag"}""", File.ReadAllText(folder["metadata.jsonl"]));
    }

    [Fact]
    public void SaveCaptions_Again_WritesOnlyWhatDiffersFromTheFiles()
    {
        using var folder = new DatasetFolder();
        var opened = folder.Image("a.png", "tag").Image("b.png").Image("c.png", "other").Open(new() { RequireCaptions = false });
        var once = opened.WithCaptions(opened.Tags.Add("new", files: ["a.png", "b.png"])).SaveCaptions();
        Assert.Equal("tag, new\n", File.ReadAllText(folder["a.txt"]));
        Assert.Equal("new\n", File.ReadAllText(folder["b.txt"]));

        folder.Text("a.txt", "by hand").Text("b.txt", "by hand").Text("c.txt", "by hand");
        once.SaveCaptions();
        Assert.All(new[] { "a.txt", "b.txt", "c.txt" }, file => Assert.Equal("by hand", File.ReadAllText(folder[file])));

        once.WithCaptions(once.Tags.Replace("new", "last")).SaveCaptions();
        Assert.Equal(["tag, last\n", "last\n", "by hand"], new[] { "a.txt", "b.txt", "c.txt" }.Select(file => File.ReadAllText(folder[file])));
    }

    [Fact]
    public void SaveCaptions_Again_GoesWhereTheCaptionsStandByThen()
    {
        using var folder = new DatasetFolder();
        folder.Image("a.png", "tag").Image("b.png").Image("c.png").Text("c.caption", "tag").Image("d.png").Image("e.png");
        var dataset = folder.Text("metadata.jsonl", """{"file_name": "d.png", "text": "tag"}""").Open(new() { RequireCaptions = false });
        string[] all = ["a.png", "b.png", "c.png", "d.png"];

        var once = dataset.WithCaptions(dataset.Tags.Add("once", files: all)).SaveCaptions();
        folder.Text("b.txt", "by hand\nkept");
        once.WithCaptions(once.Tags.Add("twice", files: [.. all, "e.png"])).SaveCaptions();

        Assert.Equal(
            ["a.txt: tag, once, twice\n", "b.txt: once, twice\nkept", "c.caption: tag, once, twice\n", "e.txt: twice\n"],
            Directory.GetFiles(folder.Path).Where(CaptionFinder.IsCaption).Order(StringComparer.Ordinal)
                .Select(file => $"{Path.GetFileName(file)}: {File.ReadAllText(file)}"));
        Assert.Equal("tag, once, twice", folder.Open().Items.Single(static item => item.File == "d.png").Caption);
    }

    [Fact]
    public void SaveCaptions_TwoCaptionFiles_BothHaveIt()
    {
        using var folder = new DatasetFolder();
        var dataset = folder.Image("a.png", "tag").Text("a.caption", "tag\nmore").Open();

        dataset.WithCaptions(dataset.Tags.Replace("tag", "new")).SaveCaptions();

        Assert.Equal(("new\n", "new\nmore"), (File.ReadAllText(folder["a.txt"]), File.ReadAllText(folder["a.caption"])));
    }

    [Theory]
    [InlineData("a", 1)]
    [InlineData("a b, c", 4)]
    [InlineData("it's I'LL we'd they've I'm you're don't", 14)]
    [InlineData("o'clock", 3)]
    [InlineData("1999", 4)]
    [InlineData("abc123def", 5)]
    [InlineData("!!! (red:1.3)", 8)]
    [InlineData("a--b__c", 5)]
    [InlineData("e\u0301 帽子", 2)]
    [InlineData("  ", 0)]
    public void LeastTokens_Caption_CountsWordsDigitsAndSigns(string caption, int tokens) => Assert.Equal(tokens, CaptionLength.LeastTokens(caption));

    [Theory]
    [InlineData("plain, text", "plain, text", null)]
    [InlineData("a\u00A0b\u3000c", "a b c", "U+00A0 once, U+3000 once")]
    [InlineData("a\tb\vc\fd\u0085e", "a b c d e", "U+0009 once, U+000B once, U+000C once, U+0085 once")]
    [InlineData("a\u200Bb\u200Bc\u200B", "abc", "U+200B 3 times")]
    [InlineData("a\u0007b", "ab", "U+0007 once")]
    [InlineData("a\rb\nc\0", "a\rb\nc\0", null)]
    [InlineData("\u200Dé", "é", "U+200D once")]
    [InlineData("é\u200D", "é", "U+200D once")]
    [InlineData("é\u200Dé", "é\u200Dé", null)]
    [InlineData("é\u200Ca", "éa", "U+200C once")]
    [InlineData("a\u200Cé", "aé", "U+200C once")]
    [InlineData("\u200C", "", "U+200C once")]
    public void Clean_Characters_AreKeptMadeSpacesOrLeftOut(string text, string clean, string? found) =>
        Assert.Equal((clean, found), InvisibleText.Clean(text));
}
