using System.Text.Json;
using LoraNotebooks.Data;
using SkiaSharp;
using static LoraNotebooks.Tests.Data.DatasetFolder;

namespace LoraNotebooks.Tests.Data;

public sealed class ImageDatasetTests
{
    [Fact]
    public void Open_CaptionFiles_UsesTheFirstLine()
    {
        using var folder = new DatasetFolder();
        folder.Image("b.png", "blue hair, hat").Image("a.png").Text("a.caption", "\uFEFF red hair \r\nsecond line\r\n").Text("README.md", "about")
            .Text("LICENSE.txt", "free");
        var dataset = folder.Open();
        Assert.Equal(["a.png", "b.png"], dataset.Items.Select(item => item.File));
        Assert.Equal(["red hair", "blue hair, hat"], dataset.Items.Select(item => item.Caption));
        var warning = Assert.Single(dataset.Report.Issues);
        Assert.Equal((DatasetFault.ExtraCaptionLines, "a.caption"), (warning.Fault, warning.File));
        Assert.Equal((16, 16), (dataset.Items[0].Width, dataset.Items[0].Height));
    }

    [Fact]
    public void Open_Metadata_GivesOrderCaptionCropAndFields()
    {
        using var folder = new DatasetFolder();
        folder.Image("b.png").Image("deep/a.png").Image("c.png", "from the file")
            .Text("metadata.jsonl", """
                {"file_name": "c.png", "crop": [1, 2, 8, 9]}
                {"file_name": "b.png", "text": "café, 帽子", "split": "train", "score": 3}

                {"file_name": "deep/a.png", "text": "below"}
                """);
        var dataset = folder.Open();
        Assert.Equal(["c.png", "b.png", "deep/a.png"], dataset.Items.Select(item => item.File));
        Assert.Equal(["from the file", "café, 帽子", "below"], dataset.Items.Select(item => item.Caption));
        Assert.Equal(new CropRectangle(1, 2, 8, 9), dataset.Items[0].Crop);
        Assert.Equal("train", dataset.Items[1].Field("split"));
        Assert.Equal(3, dataset.Items[1].Fields["score"].GetInt32());
        Assert.Null(dataset.Items[0].Field("split"));
        Assert.Equal("b.png", Assert.Single(dataset.Where(item => item.Field("split") == "train").Items).File);
    }

    // Names, whether they are used, and repeats as kohya-ss sd-scripts reads them.
    [Theory]
    [InlineData("5_sks person", 5, "sks person")]
    [InlineData("1_a_b_c", 1, "a_b_c")]
    [InlineData("0_zero", null, null)]
    [InlineData("-3_neg", null, null)]
    [InlineData("abc", null, null)]
    [InlineData("_x", null, null)]
    [InlineData("7", 7, "")]
    [InlineData("12_", 12, "")]
    [InlineData("05_lead", 5, "lead")]
    [InlineData("3.5_f", null, null)]
    [InlineData(" 4_space", 4, "space")]
    [InlineData("2__double", 2, "_double")]
    public void Parse_FolderName_ReadsRepeats(string name, int? repeats, string? classTokens)
    {
        var folder = RepeatFolder.Parse(name);
        Assert.Equal((repeats, classTokens), (folder?.Repeats, folder?.ClassTokens));
    }

    [Fact]
    public void Open_RepeatFolders_GiveRepeatsAndCaptions()
    {
        using var folder = new DatasetFolder();
        folder.Image("top.png", "top").Image("3_sks cat/a.png").Image("3_sks cat/b.png", "own").Image("3_dog/e.png", "dog").Image("other/c.png", "unused")
            .Image("10_x/d.png", seed: 77).Text("metadata.jsonl", """{"file_name": "10_x/d.png", "text": "stated"}""");
        var dataset = folder.Open();
        Assert.Equal(
            [("10_x/d.png", "stated", 10), ("top.png", "top", 1), ("3_dog/e.png", "dog", 3), ("3_sks cat/a.png", "sks cat", 3), ("3_sks cat/b.png", "own", 3)],
            dataset.Items.Select(item => (item.File, item.Caption, item.Repeats)));
        Assert.Equal(
            [(DatasetFault.MissingCaption, "3_sks cat/a.png"), (DatasetFault.IgnoredFolder, "other")],
            dataset.Report.Issues.Select(issue => (issue.Fault, issue.File)));
    }

    [Fact]
    public void Open_ManyFaults_AreReportedAllAtOnceByFileName()
    {
        using var folder = new DatasetFolder();
        var png = Picture(64, 64).EncodePng();
        folder.Image("good.png", "fine", 64, 64)
            .Bytes("zero.png", []).Text("zero.txt", "a")
            .Bytes("truncated.png", png[..(png.Length / 2)]).Text("truncated.txt", "a")
            .Text("words.jpg", "no image at all").Text("words.txt", "a")
            .Image("tiny.png", "a", 63, 200)
            .Image("uncaptioned.png", null, 64, 64)
            .Image("blank.png", " \n", 64, 64)
            .Image("utf16.png", null, 64, 64).Bytes("utf16.txt", [0xFF, 0xFE, (byte)'a', 0, (byte)'b', 0])
            .Image("latin1.png", null, 64, 64).Bytes("latin1.txt", [(byte)'c', (byte)'a', (byte)'f', 0xE9])
            .Bytes("disguised.png", Encode(Picture(64, 64, 5), SKEncodedImageFormat.Jpeg)).Text("disguised.txt", "a")
            .Bytes("picture.dat", png)
            .Text("old.tiff", "II*\0")
            .Image("twin.png", "a", 64, 64, 8).Bytes("twin.jpg", Encode(Picture(64, 64, 9), SKEncodedImageFormat.Jpeg))
            .Image("conflict.png", "one thing", 64, 64).Image("cropped.png", "a", 64, 64)
            .Text("metadata.jsonl", """
                {"file_name": "absent.png", "text": "a"}
                {"file_name": "conflict.png", "text": "another thing"}
                {"file_name": "cropped.png", "crop": [10, 0, 64, 64]}
                {"file_name": "good.png", "crop": [0, 0, "wide"]}
                {"file_name": "good.png"}
                {"file_name": "../outside.png"}
                {"text": "nameless"}
                not json
                """)
            .Text("orphan.txt", "a").Text("notes.xyz", "a");

        var error = Assert.Throws<DatasetException>(() => folder.Open(new() { Resolution = 64 }));

        (DatasetFault, string)[] expected =
        [
            (DatasetFault.EmptyFile, "zero.png"),
            (DatasetFault.CorruptImage, "truncated.png"),
            (DatasetFault.CorruptImage, "words.jpg"),
            (DatasetFault.TooSmall, "tiny.png"),
            (DatasetFault.MissingCaption, "uncaptioned.png"),
            (DatasetFault.MissingCaption, "blank.png"),
            (DatasetFault.TextEncoding, "utf16.txt"),
            (DatasetFault.TextEncoding, "latin1.txt"),
            (DatasetFault.WrongExtension, "disguised.png"),
            (DatasetFault.WrongExtension, "picture.dat"),
            (DatasetFault.UnsupportedFile, "old.tiff"),
            (DatasetFault.DuplicateName, "twin.jpg"),
            (DatasetFault.ConflictingCaption, "conflict.png"),
            (DatasetFault.InvalidCrop, "cropped.png"),
            (DatasetFault.MissingFile, "absent.png"),
            (DatasetFault.InvalidCrop, "metadata.jsonl"),
            (DatasetFault.DuplicateName, "metadata.jsonl"),
            (DatasetFault.InvalidMetadata, "metadata.jsonl"),
            (DatasetFault.InvalidMetadata, "metadata.jsonl"),
            (DatasetFault.InvalidMetadata, "metadata.jsonl"),
        ];
        Assert.Equal(expected.Order(), error.Report.Errors.Select(issue => (issue.Fault, issue.File)).Order());
        Assert.Equal(
            [(DatasetFault.UnsupportedFile, "notes.xyz"), (DatasetFault.OrphanCaption, "orphan.txt")],
            error.Report.Warnings.Select(issue => (issue.Fault, issue.File)));
        Assert.All(error.Report.Issues, issue => Assert.Contains($"{issue.File}: {issue.Message}", error.Message));
        Assert.StartsWith($"{folder.Path}: 20 errors, 2 warnings", error.Message);
        Assert.DoesNotContain("fine", error.Message);
    }

    [Fact]
    public void Inspect_Faults_AreReturnedAndNotThrown()
    {
        using var folder = new DatasetFolder();
        folder.Image("a.png");
        Assert.Equal(DatasetFault.MissingCaption, Assert.Single(ImageDataset.Inspect(folder.Path).Errors).Fault);
        Assert.Empty(ImageDataset.Inspect(folder.Path, new() { RequireCaptions = false }).Errors);
        Assert.Equal("", Assert.Single(folder.Open(new() { RequireCaptions = false }).Items).Caption);
    }

    [Fact]
    public void Open_TinyImageWithUpscalingAllowed_WarnsOnly()
    {
        using var folder = new DatasetFolder();
        folder.Image("a.png", "a");
        Assert.Equal(DatasetFault.TooSmall, Assert.Single(folder.Open(new() { Resolution = 64, AllowUpscaling = true }).Report.Warnings).Fault);
        Assert.Equal(
            2,
            Assert.Throws<ArgumentException>(() => folder.Open(new() { Resolution = 0, Checks = ImageChecks.None })).Message.Split("\n- ").Length - 1);
    }

    [Fact]
    public void Open_NoFolderOrNoImages_SaysSo()
    {
        using var folder = new DatasetFolder();
        Assert.StartsWith(
            $"There is no folder {folder["absent"]}.",
            Assert.Throws<DirectoryNotFoundException>(() => ImageDataset.Open(folder["absent"])).Message);
        Assert.Throws<ArgumentException>("folder", () => ImageDataset.Open(""));
        var error = Assert.Single(Assert.Throws<DatasetException>(() => folder.Open()).Report.Errors);
        Assert.Equal(
            (DatasetFault.NoImages, "got no images, expected files that end in .png, .jpg, .jpeg, .webp or .bmp, here or in subfolders called N_name."),
            (error.Fault, error.Message));
    }

    [Fact]
    public void Open_SameFileTwice_WarnsWhereFilesAreReadWhole()
    {
        using var folder = new DatasetFolder();
        folder.Image("a.png", "a", seed: 1).Image("b.png", "b", seed: 1);
        Assert.Equal(DatasetFault.DuplicateImage, Assert.Single(folder.Open().Report.Warnings).Fault);
        Assert.Empty(folder.Open(new() { Checks = ImageChecks.Header }).Report.Warnings);
    }

    [Fact]
    public void Open_WithoutDeepChecks_LeavesTruncatedImagesToTheReader()
    {
        using var folder = new DatasetFolder();
        var png = Picture(64, 64).EncodePng();
        folder.Image("a.png", "a", 64, 64).Bytes("b.png", png[..(png.Length / 2)]).Text("b.txt", "b").Image("c.png", "c", 32, 64);
        Assert.Null(folder.Open(new() { Checks = ImageChecks.None }).Items[0].Width);
        var dataset = folder.Open(new() { Checks = ImageChecks.Header });
        Assert.Equal(64, dataset.Items[1].Width);
        var error = Assert.Throws<DatasetException>(() => dataset.LoadPixels());
        Assert.Equal(
            [(DatasetFault.CorruptImage, "b.png"), (DatasetFault.DifferentSize, "c.png")],
            error.Report.Errors.Select(issue => (issue.Fault, issue.File)));
    }

    [Fact]
    public void LoadPixels_ImagesOfOneSize_GivesTheirBytes()
    {
        using var folder = new DatasetFolder();
        for (var i = 0; i < 9; i++)
        {
            folder.Image($"{i}.png", "a", 12, 8, i + 1);
        }

        var dataset = folder.Open(new() { Checks = ImageChecks.None });
        using var all = dataset.LoadPixels();
        Assert.Equal([9, 8, 12, 3], all.shape);
        for (var i = 0; i < 9; i++)
        {
            using var one = all[i];
            Assert.Equal(Picture(12, 8, i + 1).Pixels.ToArray(), one.bytes.ToArray());
        }

        using var some = dataset.LoadPixels([4, 2]);
        using var second = some[1];
        Assert.Equal(Picture(12, 8, 3).Pixels.ToArray(), second.bytes.ToArray());
    }

    [Fact]
    public void LoadPixels_IndicesOrFaults_AreThoseAskedFor()
    {
        using var folder = new DatasetFolder();
        folder.Image("a.png", "a", 4, 4).Image("b.png", "b", 4, 4).Image("c.png", "c", 8, 4).Image("d.png", "d", 4, 8);
        var dataset = folder.Open();

        using var pixels = dataset.LoadPixels([1, 0, 1]);
        Assert.Equal(
            dataset.Items[1].Load().Pixels.ToArray().Concat(dataset.Items[0].Load().Pixels.ToArray()).Concat(dataset.Items[1].Load().Pixels.ToArray()),
            pixels.bytes.ToArray());
        Assert.Contains(
            "Pixels of no images were asked for, expected one index or more.",
            Assert.Throws<ArgumentException>(() => dataset.LoadPixels([])).Message);
        Assert.Equal(
            ["c.png: got 8×4, expected 4×4 as a.png. Prepare the dataset instead.", "d.png: got 4×8, expected 4×4 as a.png. Prepare the dataset instead."],
            Assert.Throws<DatasetException>(() => dataset.LoadPixels()).Report.Errors.Select(issue => $"{issue.File}: {issue.Message}"));

        folder.Bytes("a.png", [1]).Bytes("b.png", [2]);
        Assert.Equal(["a.png", "b.png"], Assert.Throws<DatasetException>(() => dataset.LoadPixels([0, 1])).Report.Errors.Select(issue => issue.File));
        Assert.Equal(["a.png"], Assert.Throws<DatasetException>(() => dataset.LoadPixels([0, 2])).Report.Errors.Select(issue => issue.File));
    }

    [Fact]
    public void Open_ImagesFarBelow_AreNamedDownToTheEighthFolder()
    {
        using var folder = new DatasetFolder();
        folder.Image("a.png", "a").Image("1/2/3/4/5/6/7/8/b.png").Image("1/2/3/4/5/6/7/8/9/c.png");
        Directory.CreateSymbolicLink(folder["1/around"], folder.Path);

        Assert.Equal(["1/2/3/4/5/6/7/8"], folder.Open().Report.Issues.Select(issue => issue.File));
    }

    [Fact]
    public void Item_Fields_AreReadByTheirKind()
    {
        using var folder = new DatasetFolder();
        folder.Image("a.png", "a").Image("b.png", "b").Text(
            "metadata.jsonl", """
            {"file_name": "b.png", "text": "b", "crop": [0, 0, 8, 8], "split": 7, "note": "n", "note": "last", "loss_weight": 0.25, "regularization": true}
            """);
        var dataset = folder.Open();
        var (plain, item) = (dataset.Items.Single(entry => entry.File == "a.png"), dataset.Items.Single(entry => entry.File == "b.png"));

        Assert.Equal((null, "last", null), (item.Field("split"), item.Field("note"), item.Field("absent")));
        Assert.Equal((0.25, true, 1.0, false), (item.LossWeight, item.IsRegularization, plain.LossWeight, plain.IsRegularization));
        Assert.Equal(["loss_weight", "note", "regularization", "split"], item.Fields.Keys.Order());
        Assert.Empty(plain.Fields);
        Assert.Equal(1, (plain with { Fields = new Dictionary<string, JsonElement> { ["loss_weight"] = item.Fields["note"] } }).LossWeight);
        Assert.Equal((folder["a.png"], 1), (plain.Path, plain.Repeats));

        var one = dataset.Where(entry => entry.IsRegularization);
        Assert.Equal((folder.Path, 1), (one.Folder, one.Count));
        Assert.Same(dataset.Report, one.Report);
        Assert.Equal(
            ["changed", "a"],
            dataset.WithCaptions(new TagTable([new("b.png", "changed"), new("x.png", "none")])).Items.Select(entry => entry.Caption));
    }

    [Fact]
    public void ComputeHash_AnyChangeOfData_ChangesIt()
    {
        using var folder = new DatasetFolder();
        folder.Image("a.png", "a").Image("b.png", "b");
        var hash = folder.Open().ComputeHash();
        Assert.Matches("^[0-9a-f]{64}$", hash);
        Assert.Equal(hash, folder.Open(new() { Checks = ImageChecks.None }).ComputeHash());
        var changed = new HashSet<string> { hash };
        Assert.True(changed.Add(folder.Text("a.txt", "c").Open().ComputeHash()));
        Assert.True(changed.Add(folder.Image("a.png", null, seed: 99).Open().ComputeHash()));
        Assert.True(changed.Add(folder.Text("metadata.jsonl", """{"file_name": "a.png", "crop": [0, 0, 8, 8]}""").Open().ComputeHash()));
    }

    [Fact]
    public void SaveCaptions_CaptionsFromAllPlaces_GoBackThere()
    {
        using var folder = new DatasetFolder();
        folder.Image("both.png", "tag").Image("file.png", "tag\nkept line\n").Image("meta.png").Image("none.png").Image("same.png", "  other ,  text")
            .Text("metadata.jsonl", """
                {"file_name": "both.png", "text": "tag", "crop": [0, 0, 8, 8]}
                {"file_name": "meta.png", "text": "tag", "split": "é"}
                """);
        var dataset = folder.Open(new() { RequireCaptions = false });
        var edited = dataset.WithCaptions(dataset.Tags.Prune("absent").Replace("tag", "new"));
        edited = edited.WithCaptions(edited.Tags.Add("extra", files: ["none.png"])).SaveCaptions();

        Assert.Equal("tag", dataset.Items[0].Caption);
        Assert.Equal("new\n", File.ReadAllText(folder["both.txt"]));
        Assert.Equal("new\nkept line\n", File.ReadAllText(folder["file.txt"]));
        Assert.Equal("extra\n", File.ReadAllText(folder["none.txt"]));
        Assert.Equal("  other ,  text", File.ReadAllText(folder["same.txt"]));
        Assert.False(File.Exists(folder["meta.txt"]));
        var read = folder.Open();
        Assert.Equal(edited.Items.Select(item => (item.File, item.Caption)), read.Items.Select(item => (item.File, item.Caption)));
        Assert.Equal("é", read.Items[1].Field("split"));
        Assert.Equal(new CropRectangle(0, 0, 8, 8), read.Items[0].Crop);
        Assert.Empty(Directory.GetFiles(folder.Path, "*.tmp"));
    }
}
