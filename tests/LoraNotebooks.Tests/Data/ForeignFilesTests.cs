using LoraNotebooks.Data;
using LoraNotebooks.Tests.Diffusion;
using static LoraNotebooks.Tests.Data.DatasetFolder;

namespace LoraNotebooks.Tests.Data;

/// <summary>What other programs, cameras and people leave in a folder: taken as it is meant, or named.</summary>
public sealed class ForeignFilesTests
{
    // Ink as it is stored, then red, green, blue.
    [Theory]
    [InlineData(0, 255, 255, 0, 255, 0, 0)]
    [InlineData(0, 0, 0, 0, 255, 255, 255)]
    [InlineData(0, 0, 0, 255, 0, 0, 0)]
    [InlineData(255, 0, 0, 0, 0, 255, 255)]
    [InlineData(60, 120, 200, 40, 164, 114, 46)]
    public void Decode_CmykWithoutAMark_HasZeroAsNoInk(byte cyan, byte magenta, byte yellow, byte black, int red, int green, int blue)
    {
        byte[] ink = [cyan, magenta, yellow, black];
        byte[][] files =
        [
            ForeignImage.Jpeg(ink), ForeignImage.Jpeg(ink, table: static i => i), ForeignImage.Jpeg(ink, table: static i => i % 2),
            ForeignImage.Jpeg(ink, table: static _ => 1),
        ];

        Assert.All(files, file => AssertColour((red, green, blue), RgbImage.Decode(file)[5, 5], 2));
        AssertColour((red, green, blue), RgbImage.Decode(ForeignImage.Jpeg([.. ink.Select(static value => (byte)(255 - value))], transform: 0))[5, 5], 2);
    }

    [Fact]
    public void Decode_OtherColourModels_AreAsMeant()
    {
        // Inverted, and then as luma and chroma.
        AssertColour((255, 0, 0), RgbImage.Decode(ForeignImage.Jpeg([179, 171, 1, 255], transform: 2))[0, 0], 4);
        AssertColour((40, 40, 40), RgbImage.Decode(ForeignImage.Jpeg([40]))[0, 0], 1);
        AssertColour((255, 128, 0), RgbImage.Decode(ForeignImage.Png(1, [[255, 255, 128, 128, 0, 0]], 16, 2))[0, 0], 1);
        AssertColour((127, 127, 127), RgbImage.Decode(ForeignImage.Png(1, [[0, 128]], 8, 4))[0, 0], 1);
        var palette = RgbImage.Decode(ForeignImage.Png(2, [[0, 1]], 8, 3, ("PLTE", [255, 0, 0, 0, 0, 255]), ("tRNS", [0])));
        Assert.Equal(((255, 255, 255), (0, 0, 255)), (palette[0, 0], palette[1, 0]));
        AssertColour((127, 127, 127), RgbImage.Decode(ForeignImage.Png(1, [[0, 0, 0, 0, 0, 0, 128, 0]], 16, 6))[0, 0], 1);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Decode_OrientationOfPngAndWebP_IsApplied(bool isLittle)
    {
        // A quarter to the right: the left pixel comes to the top.
        var png = RgbImage.Decode(ForeignImage.Png(2, [[255, 0, 0, 0, 0, 255]], 8, 2, ("eXIf", ForeignImage.Exif(6, isLittle))));
        Assert.Equal((1, 2), (png.Width, png.Height));
        Assert.Equal(((255, 0, 0), (0, 0, 255)), (png[0, 0], png[0, 1]));

        var webp = RgbImage.Decode(ForeignImage.WebP(RgbImage.Grid([Flat(16, 16, 200, 0, 0), Flat(16, 16, 0, 0, 200)], 2, 0), ForeignImage.Exif(6, isLittle)));
        Assert.Equal((16, 32), (webp.Width, webp.Height));
        AssertColour((200, 0, 0), webp[8, 4], 12);

        // Damaged directions lie as they are stored.
        Assert.Equal(2, RgbImage.Decode(ForeignImage.Png(2, [[255, 0, 0, 0, 0, 255]], 8, 2, ("eXIf", ForeignImage.Exif(77, isLittle)))).Width);
        Assert.Equal(2, RgbImage.Decode(ForeignImage.Png(2, [[255, 0, 0, 0, 0, 255]], 8, 2, ("eXIf", ForeignImage.Exif(6, isLittle)[..9]))).Width);
    }

    [Fact]
    public void Open_PngOfACamera_HasTheSizeOfTheUprightImage()
    {
        using var folder = new DatasetFolder();
        folder.Bytes("a.png", ForeignImage.Png(2, [[255, 0, 0, 0, 0, 255]], 8, 2, ("eXIf", ForeignImage.Exif(8, true)))).Text("a.txt", "a");
        Assert.Equal((1, 2), (folder.Open().Items[0].Width, folder.Open().Items[0].Height));
    }

    [Fact]
    public void Decode_MovingPictures_GiveTheFirstAndSaySo()
    {
        var told = Heard.During(static () =>
        {
            Assert.Equal((255, 0, 0), RgbImage.Decode(ForeignImage.MovingGif, "moving.gif")[0, 0]);
            AssertColour(
                (200, 0, 0),
                RgbImage.Decode(ForeignImage.MovingWebP(Flat(16, 16, 200, 0, 0), Flat(16, 16, 0, 0, 200), Flat(16, 16, 0, 0, 0)), "moving.webp")[3, 3],
                12);
        });
        Assert.Contains("moving.gif: got 2 frames, the first is used.", told);
        Assert.Contains("moving.webp: got 3 frames", told);
        Assert.Equal("", Heard.During(static () => RgbImage.Decode(Picture(4, 4).EncodePng())));

        using var folder = new DatasetFolder();
        folder.Bytes("a.webp", ForeignImage.MovingWebP(Flat(16, 16, 200, 0, 0), Flat(16, 16, 0, 0, 200))).Text("a.txt", "a")
            .Bytes("b.png", ForeignImage.Png(1, [[9, 9, 9]], 8, 2, ("acTL", [0, 0, 0, 7, 0, 0, 0, 0]))).Text("b.txt", "b");
        Assert.Equal(
            [("a.webp", "got 2 frames"), ("b.png", "got 7 frames")],
            folder.Open().Report.Warnings.Select(static issue => (issue.File, issue.Message[..12])));
        Assert.Equal("", Heard.During(() => folder.Open().Items[0].Load()));
    }

    [Theory]
    [InlineData("IMG_1.PNG", "IMG_1.TXT")]
    [InlineData("IMG_2.png", "img_2.txt")]
    [InlineData("dsc.JPG", "DSC.Caption")]
    [InlineData("a.b.png", "A.B.CAPTION")]
    public void Open_NamesInOtherCapitals_BelongTogether(string image, string caption)
    {
        using var folder = new DatasetFolder();
        folder
            .Bytes(
                image,
                image.EndsWith("JPG", StringComparison.Ordinal) ? Encode(Picture(16, 16), SkiaSharp.SKEncodedImageFormat.Jpeg) : Picture(16, 16).EncodePng())
            .Text(caption, "red hair");
        var dataset = folder.Open();
        Assert.Equal("red hair", Assert.Single(dataset.Items).Caption);
        Assert.Empty(dataset.Report.Issues);
        dataset.WithCaptions(dataset.Tags.Add("hat")).SaveCaptions();
        Assert.Equal("red hair, hat\n", File.ReadAllText(folder[caption]));
        Assert.Equal(2, Directory.GetFiles(folder.Path).Length);
    }

    [Fact]
    public void Open_CaptionsOfOneNameInTwoCapitals_TheExactOneCountsAndTheOtherIsNamed()
    {
        using var folder = new DatasetFolder();
        folder.Image("a.png", "right").Text("A.TXT", "other").Image("b.png").Text("B.txt", "one").Text("B.Caption", "two").Text("C.TXT", "lost");
        var report = ImageDataset.Inspect(folder.Path);
        Assert.Equal(
            [(DatasetFault.ConflictingCaption, "b.png"), (DatasetFault.OrphanCaption, "A.TXT"), (DatasetFault.OrphanCaption, "C.TXT")],
            report.Issues.Select(static issue => (issue.Fault, issue.File)));
    }

    [Fact]
    public void Open_MetadataOfWindows_IsReadAndNamesWhatDiffersInCapitals()
    {
        using var folder = new DatasetFolder();
        folder.Image("sub/a.png").Image("B.png", "b").Text("METADATA.JSONL", """
            {"file_name": "sub\\a.png", "text": "hat"}
            {"file_name": "b.png", "text": "b"}
            """);
        var report = ImageDataset.Inspect(folder.Path);
        Assert.Contains("B.png is there: write it so", Assert.Single(report.Issues).Message);
        folder.Text("METADATA.JSONL", """{"file_name": "sub\\a.png", "text": "hat"}""");
        var dataset = folder.Open();
        Assert.Equal(["hat", "b"], dataset.Items.Select(static item => item.Caption));
        dataset.WithCaptions(dataset.Tags.Replace("hat", "cap")).SaveCaptions();
        Assert.Equal("cap", folder.Open().Items[0].Caption);
    }

    [Theory]
    [InlineData("\uFEFFmika\u200B, red\u00A0hair", "mika, red hair", "U+00A0 once, U+200B once")]
    [InlineData("\u202Emika\u2003hat\u2003big", "mika hat big", "U+2003 2 times, U+202E once")]
    [InlineData("mi\u00ADka\u2060\thair\u2028red", "mika hair red", "U+0009 once, U+00AD once, U+2028 once, U+2060 once")]
    [InlineData("mi\u200Dka", "mika", "U+200D once")]
    [InlineData(
        "\u0645\u06CC\u200C\u062E\u0648\u0627\u0647\u0645 \U0001F469\u200D\U0001F692",
        "\u0645\u06CC\u200C\u062E\u0648\u0627\u0647\u0645 \U0001F469\u200D\U0001F692",
        null)]
    [InlineData("café\r", "café", null)]
    public void Open_InvisibleCharacters_AreLeftOutAndNamed(string text, string caption, string? found)
    {
        using var folder = new DatasetFolder();
        folder.Image("a.png", text).Image("b.png")
            .Text("metadata.jsonl", $$"""{"file_name": "b.png", "text": {{System.Text.Json.JsonSerializer.Serialize(text.TrimStart('\uFEFF'))}}}""");
        var dataset = folder.Open();
        Assert.Equal([caption, caption], dataset.Items.Select(static item => item.Caption));
        Assert.Equal(found is null ? [] : ["a.txt", "b.png"], dataset.Report.Warnings.Select(static issue => issue.File).Order());
        Assert.All(dataset.Report.Warnings, issue => Assert.Contains(found!, issue.Message));
        Assert.Equal(DatasetFault.InvisibleCharacters, dataset.Report.Warnings.FirstOrDefault()?.Fault ?? DatasetFault.InvisibleCharacters);
    }

    [Fact]
    public void Validate_TriggerWordWithInvisibleCharacters_IsRefused()
    {
        Assert.Contains("U+200B once", Assert.Single(new PreparationOptions { TriggerWord = "mi\u200Bka" }.Validate()));
        Assert.Contains("cannot be seen", Assert.Throws<ArgumentException>(() => new TagTable([]).Add("red\u00A0hair")).Message);
    }

    [Theory]
    [InlineData(70, 9000, "99 % of the picture is cut off")]
    [InlineData(640, 16, "97 % of the picture")]
    [InlineData(16, 22, "27 % of the picture")]
    [InlineData(16, 21, null)]
    public void Prepare_WhatTheSquareLeavesOut_IsToldByImage(int width, int height, string? expected)
    {
        using var folder = new DatasetFolder();
        folder.Image("long.png", "a", width, height).Image("square.png", "b");
        PreparedDataset? prepared = null;
        var told = Heard.During(() => prepared = folder.Open().Prepare(new() { Resolution = 16, ResolutionStep = 8 }));

        Assert.Equal(expected is null ? 0 : 1, prepared!.Report.Issues.Count);
        Assert.Equal(expected is null ? 0 : 1, folder.Open().Report.Issues.Count);
        Assert.Equal(expected is null, told.Length == 0);
        if (expected is not null)
        {
            Assert.Equal((DatasetFault.LostPicture, "long.png"), (prepared.Report.Issues[0].Fault, prepared.Report.Issues[0].File));
            Assert.StartsWith(expected, prepared.Report.Issues[0].Message);
            Assert.Contains("long.png: " + expected, told);
            Assert.Contains(expected, Assert.Single(new DiffusionTrainingConfig().PlanFor(prepared.WithCaptions(prepared.Tags.Add("hat"))).Warnings));

            // A crop that is a square loses nothing that was not meant to be lost; one that is none does.
            folder.Text("metadata.jsonl", """{"file_name": "long.png", "crop": [0, 0, 16, 16]}""");
            Assert.Empty(folder.Open().Prepare(new() { Resolution = 16, ResolutionStep = 8 }).Report.Issues);
            Assert.Empty(folder.Open().Report.Issues);
        }
    }

    [Fact]
    public void Prepare_Upscaling_IsToldByImage()
    {
        using var folder = new DatasetFolder();
        folder.Image("small.png", "a", 8, 8);
        var prepared = folder.Open().Prepare(new() { Resolution = 16, ResolutionStep = 8, AllowUpscaling = true });
        Assert.Equal((DatasetFault.TooSmall, "small.png"), (prepared.Report.Issues[0].Fault, prepared.Report.Issues[0].File));
    }

    [Fact]
    public void Open_ImagesTooDeepOrHidden_AreNamedTenAtMost()
    {
        using var folder = new DatasetFolder();
        folder.Image("a.png", "a").Image("3_x/b.png", "b").Image("3_x/inner/c.PNG").Image("other/deep/deeper/d.png").Image(".hidden.png")
            .Bytes("._a.png", [0]).Image(".git/e.png").Image("__MACOSX/f.png");
        for (var i = 0; i < 13; i++)
        {
            folder.Image($"many/{i:D2}.png");
        }

        var issues = folder.Open().Report.Issues;

        Assert.Equal([".", "3_x/inner", "many", "other/deep/deeper"], issues.Select(static issue => issue.File));
        Assert.All(issues, static issue => Assert.Equal(DatasetFault.IgnoredFolder, issue.Fault));
        Assert.Contains("1 image that is not used: .hidden.png. Names that begin with a dot", issues[0].Message);
        Assert.Contains("c.PNG. Only folders called N_name", issues[1].Message);
        Assert.Contains("13 images that are not used: 00.png, ", issues[2].Message);
        Assert.Contains("09.png, and 3 more. Call the folder N_many", issues[2].Message);
    }

    [Fact]
    public void Open_MetadataFieldsOfAnotherKind_AreNamed()
    {
        using var folder = new DatasetFolder();
        folder.Image("a.png").Image("b.png").Text("metadata.jsonl", """
            {"file_name": "a.png", "text": "hat\nsecond", "regularization": "true", "loss_weight": "2", "repeats": 0, "mirrored": 1}
            {"file_name": "b.png", "text": "b", "regularization": true, "loss_weight": 0.5, "repeats": 2, "mirrored": false, "other": "x"}
            """);
        var report = ImageDataset.Inspect(folder.Path);
        Assert.Equal(4, report.Errors.Count(static issue => issue.Fault == DatasetFault.InvalidMetadata));
        Assert.Contains("regularization of a.png: got \"true\", expected true or false", report.ToString());
        Assert.Equal((DatasetFault.ExtraCaptionLines, "a.png"), (report.Warnings.Single().Fault, report.Warnings.Single().File));
    }

    [Fact]
    public void WithRegularization_MoreImagesThanAreTaken_SaysSo()
    {
        PreparedDataset Images(int count) => new(Enumerable.Range(0, count).Select(static i => new PreparedImage($"{i}", Flat(8, 8, 1, 2, 3), "a", "a.png")));
        Assert.Contains("3 of 5 regularization images are left out", Heard.During(() => Images(2).WithRegularization(Images(5))));
        Assert.Equal("", Heard.During(() => Images(5).WithRegularization(Images(2))));
    }

    [Fact]
    public void ToString_ManyIssuesOfAKind_NamesTen()
    {
        using var folder = new DatasetFolder();
        for (var i = 0; i < 12; i++)
        {
            folder.Image($"{i:D2}.png", seed: i + 1);
        }

        folder.Text("lost.txt", "a");
        var text = ImageDataset.Inspect(folder.Path).ToString();
        Assert.Contains("12 errors, 1 warning", text);
        Assert.Contains("09.png", text);
        Assert.DoesNotContain("10.png", text);
        Assert.Contains("MissingCaption: 2 more files of this kind", text);
        Assert.Contains("lost.txt", text);
    }

    [Fact]
    public void Open_CaptionThatIsSurelyTooLong_IsNamed()
    {
        using var folder = new DatasetFolder();
        folder.Image("long.png", string.Join(", ", Enumerable.Range(10, 30).Select(static i => $"tag{i}")))
            .Image("short.png", string.Join(", ", Enumerable.Repeat("hat", 38)));
        var issue = Assert.Single(folder.Open().Report.Issues);
        Assert.Equal((DatasetFault.LongCaption, "long.png"), (issue.Fault, issue.File));
        Assert.Contains("119 tokens or more, 75 are seen", issue.Message);
        Assert.Empty(folder.Open(new() { MaxTokenLength = 150 }).Report.Issues);
        Assert.Empty(folder.Open(new() { MaxTokenLength = null }).Report.Issues);
    }

    [Fact]
    public void LeastTokens_AnyCaption_IsNoMoreThanTheTokenizerFinds()
    {
        using var pipeline = TinyPipeline.Create();
        string[] captions = ["portrait, long hair, blue shirt", "it's 1999!!! (red:1.3)", "café, 帽子、ひらがな", "a--b__c", "", "🙂🙂 x"];
        Assert.All(captions, caption => Assert.InRange(CaptionLength.LeastTokens(caption), 0, pipeline.Tokenizer.EncodeUnpadded(caption).Length - 2));
        Assert.Equal(7, CaptionLength.LeastTokens(captions[0]));
    }

    private static void AssertColour((int Red, int Green, int Blue) expected, (byte Red, byte Green, byte Blue) actual, int tolerance) => Assert.True(
        Math.Abs(expected.Red - actual.Red) <= tolerance && Math.Abs(expected.Green - actual.Green) <= tolerance
            && Math.Abs(expected.Blue - actual.Blue) <= tolerance,
        $"got {actual}, expected {expected}");
}
