using System.Text.Json.Nodes;
using LoraNotebooks.Data;
using static LoraNotebooks.Tests.Data.DatasetFolder;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Data;

/// <summary>Prepared images: which fit together, how many an epoch shows, what lies in their folder, and what they were cut from.</summary>
public sealed class PreparedDatasetTests
{
    private static readonly PreparationOptions Small = new() { Resolution = 8, ResolutionStep = 8 };

    private static readonly PreparedImage Good = new("a", Picture(4, 2), "a", "a.png");

    public static TheoryData<int> Faults => [.. Enumerable.Range(0, Unfit.Length)];

    private static readonly (PreparedImage[] Images, string Fault)[] Unfit =
    [
        ([], "Images: got none, expected one or more"),
        ([Good, Good with { Name = "b", Image = Picture(5, 2) }], "b: got 5×2, expected 4×2 as a"),
        ([Good, Good with { Name = "b", Image = Picture(4, 3) }], "b: got 4×3, expected 4×2 as a"),
        ([Good with { Caption = "a\nb" }], "a: got a caption with line breaks or zero bytes, expected one line"),
        ([Good with { Caption = "a\rb" }], "a: got a caption with line breaks or zero bytes, expected one line"),
        ([Good with { Caption = "\0" }], "a: got a caption with line breaks or zero bytes, expected one line"),
        ([Good with { Caption = "a\0b" }], "a: got a caption with line breaks or zero bytes, expected one line"),
        ([Good with { LossWeight = -0.1 }], "a: got the loss weight -0.1, expected 0 or more"),
        ([Good with { LossWeight = double.NaN }], "a: got the loss weight NaN, expected 0 or more"),
        ([Good with { LossWeight = double.PositiveInfinity }], "a: got the loss weight Infinity, expected 0 or more"),
        (
            [Good with { Origin = new(0, 2, 0, 0) }],
            "a: got the origin ImageOrigin { Width = 0, Height = 2, Left = 0, Top = 0 }, expected a width and height from 1, left and top from 0"),
        (
            [Good with { Origin = new(4, 0, 0, 0) }],
            "a: got the origin ImageOrigin { Width = 4, Height = 0, Left = 0, Top = 0 }, expected a width and height from 1, left and top from 0"),
        (
            [Good with { Origin = new(4, 2, -1, 0) }],
            "a: got the origin ImageOrigin { Width = 4, Height = 2, Left = -1, Top = 0 }, expected a width and height from 1, left and top from 0"),
        (
            [Good with { Origin = new(4, 2, 0, -1) }],
            "a: got the origin ImageOrigin { Width = 4, Height = 2, Left = 0, Top = -1 }, expected a width and height from 1, left and top from 0"),
        ([Good with { Repeats = 0 }], "a: got 0 repeats, expected 1 or more"),
        ([Good with { Name = "" }], "'': expected a file name without folder"),
        ([Good with { Name = "x/a" }], "'x/a': expected a file name without folder"),
        ([Good, Good, Good with { Name = "A" }], "a: got 3 images of this name, expected one"),
    ];

    [Theory]
    [MemberData(nameof(Faults))]
    public void PreparedDataset_ImagesThatDoNotFit_AreNamed(int number)
    {
        var (images, fault) = Unfit[number];
        Assert.Equal(
            $"PreparedDataset has 1 unsupported or wrong value:\n- {fault}",
            Assert.Throws<ArgumentException>(() => new PreparedDataset(images)).Message);
    }

    [Fact]
    public void PreparedDataset_NumbersAtTheirBounds_Fit()
    {
        var dataset = new PreparedDataset([Good with { LossWeight = 0, Repeats = 1, Origin = new(1, 1, 0, 0), Caption = " a \n" }]);

        Assert.Equal(("a", 4, 2, 1, 1), (dataset.Images[0].Caption, dataset.Width, dataset.Height, dataset.Count, dataset.ImagesPerEpoch));
        Assert.Equal((false, 1.0, new ImageOrigin(4, 2, 0, 0), false, 1), (Good.IsRegularization, Good.LossWeight, Good.Origin, Good.Mirrored, Good.Repeats));
        Assert.Equal(("", 0), (dataset.Report.Folder, dataset.Report.Issues.Count));
        Assert.Equal(Good, Good with { Origin = new(4, 2, 0, 0) });
        Assert.NotEqual(Good, Good with { Origin = new(4, 2, 0, 1) });
    }

    // Training repeats, class repeats; the repeats of the class images taken.
    [Theory]
    [InlineData("1 1 1", "1 1 1", "1 1 1")]
    [InlineData("2 3", "1 1", "3 2")]
    [InlineData("1 1", "1 1 1 1", "1 1")]
    [InlineData("3", "2 2 2", "2 2")]
    [InlineData("7", "1 2", "3 4")]
    [InlineData("1", "5", "5")]
    public void WithRegularization_ClassImages_AreTakenOrRepeatedToAsMany(string training, string regularization, string expected)
    {
        var dataset = new PreparedDataset(Images(training)) { Report = new DatasetReport("here", []) };

        PreparedDataset? both = null;
        var told = Heard.During(() => both = dataset.WithRegularization(new(Images(regularization))));

        var taken = both!.Images.Skip(dataset.Count).ToList();
        Assert.Equal(expected.Split(' ').Select(int.Parse), taken.Select(static image => image.Repeats));
        Assert.Equal(Enumerable.Range(0, taken.Count).Select(static i => $"regularization-{i}"), taken.Select(static image => image.Name));
        Assert.All(taken, static image => Assert.True(image.IsRegularization));
        Assert.Equal(dataset.Images, both.Images.Take(dataset.Count));
        Assert.Same(dataset.Report, both.Report);
        var left = regularization.Split(' ').Length - taken.Count;
        var notice = $"{left} of {regularization.Split(' ').Length} regularization images are left out: as many are taken as there are training images, " +
            $"{dataset.ImagesPerEpoch} with repeats.";
        Assert.Equal(left == 0 ? "" : notice, told.Trim());

        static IEnumerable<PreparedImage> Images(string repeats) =>
            repeats.Split(' ').Select(static (count, i) => Good with { Name = $"{i}", Repeats = int.Parse(count) });
    }

    [Fact]
    public void EpochIndices_WithAGenerator_AreThoseOfItsPermutation()
    {
        var dataset = new PreparedDataset([Good with { Repeats = 3 }, Good with { Name = "b" }, Good with { Name = "c", Repeats = 2 }]);
        using var generator = new Generator(7);
        using var same = new Generator(7);
        using var order = randperm(6, ScalarType.Int64, CPU, generator: same);

        Assert.Equal([0, 0, 0, 1, 2, 2], dataset.EpochIndices());
        Assert.Equal(order.data<long>().ToArray().Select(static i => new[] { 0, 0, 0, 1, 2, 2 }[i]), dataset.EpochIndices(generator));
    }

    [Fact]
    public void WithCaptions_Table_ChangesThoseItHas()
    {
        var dataset = new PreparedDataset([Good, Good with { Name = "b", Caption = "b" }]) { Report = new DatasetReport("here", []) };

        var changed = dataset.WithCaptions(new TagTable([new("b", "new"), new("c", "none")]));

        Assert.Equal(["a", "new"], changed.Images.Select(static image => image.Caption));
        Assert.Same(dataset.Report, changed.Report);
        Assert.Equal([("a", 1), ("b", 1)], dataset.Tags.Tags.Select(static tag => (tag.Tag, tag.Count)));
    }

    [Fact]
    public void Save_Folder_HoldsWhatOtherProgramsRead()
    {
        using var folder = new DatasetFolder();
        var dataset = new PreparedDataset(
        [
            new("a", Picture(4, 2, 1), "é, \"red\"", "x/a.png", Mirrored: true, Repeats: 3),
            new("b", Picture(4, 2, 2), "", "b.png") { IsRegularization = true, LossWeight = 0.25, Origin = new(8, 9, 1, 2) },
            new("c", Picture(4, 2, 3), "c", "c.png") { Origin = new(4, 2, 0, 0) },
        ]);

        dataset.Save(folder["ready"]);

        Assert.Equal(
            ["a.png", "a.txt", "b.png", "b.txt", "c.png", "c.txt", "metadata.jsonl"],
            Directory.GetFiles(folder["ready"]).Select(Path.GetFileName).Order(StringComparer.Ordinal));
        Assert.Equal(("é, \"red\"\n", "\n"), (File.ReadAllText(folder["ready/a.txt"]), File.ReadAllText(folder["ready/b.txt"])));
        Assert.Equal(Picture(4, 2, 2).Pixels.ToArray(), RgbImage.Load(folder["ready/b.png"]).Pixels.ToArray());
        Assert.Equal(
            """
            {"file_name":"a.png","text":"é, \"red\"","source":"x/a.png","mirrored":true,"repeats":3}
            {"file_name":"b.png","text":"","source":"b.png","mirrored":false,"repeats":1,"regularization":true,"loss_weight":0.25,"origin":[8,9,1,2]}
            {"file_name":"c.png","text":"c","source":"c.png","mirrored":false,"repeats":1}

            """.ReplaceLineEndings("\n"),
            File.ReadAllText(folder["ready/metadata.jsonl"]));
        Assert.Equal(
            dataset.Images.Select(Facts),
            PreparedDataset.Load(folder["ready"]).Images.Select(Facts));

        static object Facts(PreparedImage image) =>
            (image.Name, image.Caption, image.SourceFile, image.Mirrored, image.Repeats, image.IsRegularization, image.LossWeight, image.Origin);
    }

    [Fact]
    public void Save_ThatFails_LeavesTheFormerFolderOrNone()
    {
        using var folder = new DatasetFolder();
        new PreparedDataset([Good]).Save(folder["ready"]);

        // No file system takes a name of so many letters.
        var unwritable = new PreparedDataset([Good with { Caption = "new" }, Good with { Name = new string('n', 300) }]);
        Assert.ThrowsAny<Exception>(() => unwritable.Save(folder["ready"], overwrite: true));
        Assert.ThrowsAny<Exception>(() => unwritable.Save(folder["other"]));

        Assert.Equal(["ready"], Directory.GetFileSystemEntries(folder.Path).Select(Path.GetFileName));
        Assert.Equal("a\n", File.ReadAllText(folder["ready/a.txt"]));
    }

    // What lies in the folder, whether overwriting is allowed; what keeps it from being written.
    [Theory]
    [InlineData("", false, null)]
    [InlineData("", true, null)]
    [InlineData("metadata.jsonl old.png old.txt", true, null)]
    [InlineData("metadata.jsonl", false, "has files already. Give another folder, or allow overwriting.")]
    [InlineData("old.png old.txt", true, "is not a folder that was saved here: it lacks metadata.jsonl. Give another folder.")]
    [InlineData("metadata.jsonl a.jpg", true, "is not a folder that was saved here: it has a.jpg. Give another folder.")]
    [InlineData("metadata.jsonl sub.png/a.png", true, "is not a folder that was saved here: it has sub.png. Give another folder.")]
    [InlineData("metadata.jsonl 1.doc 2.doc 3.doc 4.doc 5.doc 6.doc", true, "is not a folder that was saved here: it has {five}. Give another folder.")]
    public void Save_FolderThatIsThere_IsReplacedWhereItWasSavedHere(string files, bool overwrite, string? fault)
    {
        using var folder = new DatasetFolder();
        Directory.CreateDirectory(folder["ready"]);
        foreach (var file in files.Split(' ', StringSplitOptions.RemoveEmptyEntries))
        {
            folder.Text($"ready/{file}", "old");
        }

        if (fault is null)
        {
            new PreparedDataset([Good]).Save(folder["ready"] + Path.DirectorySeparatorChar, overwrite);
            Assert.Equal(["a.png", "a.txt", "metadata.jsonl"], Directory.GetFiles(folder["ready"]).Select(Path.GetFileName).Order(StringComparer.Ordinal));
            return;
        }

        var message = Assert.Throws<IOException>(() => new PreparedDataset([Good]).Save(folder["ready"], overwrite)).Message;
        Assert.StartsWith(folder["ready"], message);
        Assert.True(fault.Contains("{five}") ? message.Split(".doc").Length == 6 : message.EndsWith(fault, StringComparison.Ordinal), message);
        Assert.All(files.Split(' '), file => Assert.Equal("old", File.ReadAllText(folder[$"ready/{file}"])));
    }

    [Theory]
    [InlineData("[1, 1, 0, 0]", true)]
    [InlineData("[0, 1, 0, 0]", false)]
    [InlineData("[1, 0, 0, 0]", false)]
    [InlineData("[1, 1, -1, 0]", false)]
    [InlineData("[1, 1, 0, -1]", false)]
    [InlineData("[1, 1, 0]", false)]
    [InlineData("[1, 1, 0, 0, 0]", false)]
    [InlineData("[1, 1, 0, \"0\"]", false)]
    [InlineData("[1, 1, 0, 0.5]", false)]
    [InlineData("{}", false)]
    public void Load_Origin_IsFourNumbersFromTheirBounds(string origin, bool isOne)
    {
        using var folder = new DatasetFolder();
        folder.Image("a.png", "a").Text("metadata.jsonl", new JsonObject { ["file_name"] = "a.png", ["origin"] = JsonNode.Parse(origin) }.ToJsonString());
        if (isOne)
        {
            Assert.Equal(new ImageOrigin(1, 1, 0, 0), PreparedDataset.Load(folder.Path).Images[0].Origin);
            return;
        }

        var issue = Assert.Single(Assert.Throws<DatasetException>(() => PreparedDataset.Load(folder.Path)).Report.Errors);
        Assert.Equal("a.png", issue.File);
        Assert.Contains("expected [width, height, left, top] in whole pixels, width and height from 1, left and top from 0.", issue.Message);
    }

    [Fact]
    public void Load_FolderOfOtherPrograms_HasWhatItSays()
    {
        using var folder = new DatasetFolder();
        folder.Image("a.png", "a").Image("b.png").Text("metadata.jsonl", """{"file_name": "b.png", "text": "b", "mirrored": false}""");

        var images = PreparedDataset.Load(folder.Path).Images;

        Assert.Equal(
            [("b", "b", "b.png", false, 1), ("a", "a", "a.png", false, 1)],
            images.Select(static image => (image.Name, image.Caption, image.SourceFile, image.Mirrored, image.Repeats)));
        Assert.All(images, static image => Assert.Equal(new ImageOrigin(16, 16, 0, 0), image.Origin));
    }

    // A picture, perhaps its crop; the square that is taken of it.
    [Theory]
    [InlineData(13, 8, "", 2, 0, 8)]
    [InlineData(8, 13, "", 0, 2, 8)]
    [InlineData(14, 9, "", 2, 0, 9)]
    [InlineData(20, 20, "[3, 5, 12, 9]", 4, 5, 9)]
    [InlineData(20, 20, "[3, 5, 9, 12]", 3, 6, 9)]
    public void Prepare_Square_LiesInTheMiddle(int width, int height, string crop, int left, int top, int side)
    {
        using var folder = new DatasetFolder();
        folder.Image("a.png", "a", width, height).Text("metadata.jsonl", "{\"file_name\": \"a.png\"" + (crop.Length > 0 ? $", \"crop\": {crop}" : "") + "}");

        var images = folder.Open().Prepare(Small with { Mirror = true }).Images;

        var expected = RgbImage.Load(folder["a.png"]).Crop(left, top, side, side).Resize(8, 8);
        Assert.Equal(expected.Pixels.ToArray(), images[0].Image.Pixels.ToArray());
        Assert.Equal(expected.Mirror().Pixels.ToArray(), images[1].Image.Pixels.ToArray());
        Assert.Equal(
            [new(width, height, left * 8 / side, top * 8 / side), new(width, height, (width - left - side) * 8 / side, top * 8 / side)],
            images.Select(static image => image.Origin));
        Assert.Equal([false, true], images.Select(static image => image.Mirrored));
        Assert.Equal(expected.Pixels.ToArray(), ImagePreparation.Square(RgbImage.Load(folder["a.png"]), folder.Open().Items[0].Crop, 8).Pixels.ToArray());
    }

    [Fact]
    public void Prepare_RegularizationImages_KeepTheirCaptionWithoutTheTriggerWord()
    {
        using var folder = new DatasetFolder();
        folder.Image("a.png").Image("b.png").Text("metadata.jsonl", """
            {"file_name": "a.png", "text": "cat", "regularization": true, "loss_weight": 0.5}
            {"file_name": "b.png", "text": "cat", "regularization": false}
            """);

        var images = folder.Open().Prepare(Small with { TriggerWord = "sks", Mirror = true, Repeats = 2 }).Images;

        Assert.Equal(["cat", "cat", "sks, cat", "sks, cat"], images.Select(static image => image.Caption));
        Assert.Equal([true, true, false, false], images.Select(static image => image.IsRegularization));
        Assert.Equal([0.5, 0.5, 1, 1], images.Select(static image => image.LossWeight));
        Assert.Equal([2, 2, 2, 2], images.Select(static image => image.Repeats));
    }

    [Fact]
    public void Prepare_NamesThatWouldMeet_AreNumbered()
    {
        using var folder = new DatasetFolder();
        folder.Image("3_x/a.png", "a").Image("3_x_a.png", "a", seed: 2).Image("3_x_a_mirrored.png", "a", seed: 3);
        folder.Image("b_mirrored.png", "a", seed: 4).Image("B.png", "a", seed: 5).Image("3_X_A_2.png", "a", seed: 6);
        folder.Image("C_mirrored.png", "a", seed: 7).Image("c.png", "a", seed: 8);

        var images = folder.Open().Prepare(Small with { Mirror = true }).Images;

        Assert.Equal(images.Count, images.Select(static image => image.Name.ToUpperInvariant()).Distinct().Count());
        Assert.Equal(
            ["3_X_A_2", "3_x_a", "3_x_a_mirrored_2", "B", "C_mirrored", "b_mirrored_2", "c_2", "3_x_a_3"],
            images.Where(static image => !image.Mirrored).Select(static image => image.Name));
    }

    [Fact]
    public void Prepare_Faults_AreAllReportedWithTheirKind()
    {
        using var folder = new DatasetFolder();
        var dataset = folder.Image("a.png", "a", 7, 8).Image("b.png", "b").Image("c.png", "c", 8, 8).Text(
            "metadata.jsonl", """{"file_name": "b.png", "crop": [0, 0, 16, 16]}""").Open();
        folder.Image("b.png", null, 15, 16);
        folder.Bytes("c.png", [1, 2, 3]);

        var error = Assert.Throws<DatasetException>(() => dataset.Prepare(Small));

        Assert.Equal(
            [("a.png", DatasetFault.TooSmall), ("b.png", DatasetFault.InvalidCrop), ("c.png", DatasetFault.CorruptImage)],
            error.Report.Issues.Select(static issue => (issue.File, issue.Fault)));
        Assert.Equal(
            DatasetFault.NoImages,
            Assert.Single(Assert.Throws<DatasetException>(() => dataset.Where(static _ => false).Prepare(Small)).Report.Errors).Fault);
        Assert.Contains("got no images, expected one or more.", Assert.Throws<DatasetException>(() => dataset.Where(static _ => false).Prepare(Small)).Message);
        Assert.Throws<ArgumentException>(() => dataset.Prepare(new() { Resolution = 1 }));
    }

    [Fact]
    public void Prepare_Warnings_AreToldOnceByKind()
    {
        using var folder = new DatasetFolder();
        var dataset = folder.Image("a.png", "a", 4, 4).Image("b.png", "b", 20, 10).Image("c.png", "c", 5, 5).Open();

        PreparedDataset? prepared = null;
        var told = Heard.During(() => prepared = dataset.Prepare(Small with { AllowUpscaling = true, Mirror = true }));

        Assert.Equal(
            2,
            told.Split('\n', StringSplitOptions.RemoveEmptyEntries).Count(static line => line.StartsWith("Prepared images: ", StringComparison.Ordinal)));
        Assert.Equal(["a.png", "b.png", "c.png"], prepared!.Report.Warnings.Select(static issue => issue.File));
        Assert.Equal((8, 8, 6), (prepared.Width, prepared.Height, prepared.Count));
    }
}
