using LoraNotebooks.Data;
using LoraNotebooks.Tests.Training;
using static LoraNotebooks.Tests.Data.DatasetFolder;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Data;

public sealed class PreparationTests
{
    private static readonly PreparationOptions Small = new() { Resolution = 16, ResolutionStep = 8 };

    [Fact]
    public void Prepare_WideImage_TakesTheMiddle()
    {
        using var folder = new DatasetFolder();
        RgbImage.Grid([Flat(32, 32, 1, 1, 1), Flat(32, 32, 90, 80, 70), Flat(32, 32, 2, 2, 2)], 3, 0).SavePng(folder["a.png"]);
        folder.Text("a.txt", "a");
        var image = Assert.Single(folder.Open().Prepare(Small).Images).Image;
        Assert.Equal((16, 16), (image.Width, image.Height));
        Assert.All(Enumerable.Range(0, 256), i => Assert.Equal((90, 80, 70), image[i % 16, i / 16]));
    }

    [Fact]
    public void Prepare_GivenCrop_IsUsedUnlessTheCentreIsAskedFor()
    {
        using var folder = new DatasetFolder();
        RgbImage.Grid([Flat(32, 32, 1, 1, 1), Flat(32, 32, 90, 80, 70)], 2, 0).SavePng(folder["a.png"]);
        folder.Image("b.png", "b", 32, 32).Text("metadata.jsonl", """{"file_name": "a.png", "text": "a", "crop": [34, 4, 16, 20]}""");
        var dataset = folder.Open();
        Assert.Equal((90, 80, 70), dataset.Prepare(Small).Images[0].Image[0, 0]);
        Assert.Equal((1, 1, 1), dataset.Prepare(Small with { Crop = CropMode.Centre }).Images[0].Image[0, 0]);
        Assert.Equal(2, dataset.Prepare(Small).Count);
    }

    [Fact]
    public void Prepare_MirrorRepeatsAndTrigger_GiveCopiesCountsAndCaptions()
    {
        using var folder = new DatasetFolder();
        folder.Image("3_x/a.png", "hat, mika, red").Image("b.png", "mika, hat").Image("c.png", "hat");
        var prepared = folder.Open().Prepare(Small with { Mirror = true, Repeats = 2, TriggerWord = "mika" });
        Assert.Equal(["mika, hat", "mika, hat", "mika, hat", "mika, hat", "mika, hat, red", "mika, hat, red"], prepared.Images.Select(image => image.Caption));
        Assert.Equal(["b", "b_mirrored", "c", "c_mirrored", "3_x_a", "3_x_a_mirrored"], prepared.Images.Select(image => image.Name));
        Assert.Equal([2, 2, 2, 2, 6, 6], prepared.Images.Select(image => image.Repeats));
        Assert.Equal("3_x/a.png", prepared.Images[5].SourceFile);
        Assert.True(prepared.Images[5].Mirrored);
        Assert.Equal(prepared.Images[4].Image.Pixels.ToArray(), prepared.Images[5].Image.Mirror().Pixels.ToArray());

        // Steps of an epoch = Σ repeats / batch.
        Assert.Equal(20, prepared.ImagesPerEpoch);
        Assert.Equal([0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 4, 4, 4, 4, 5, 5, 5, 5, 5, 5], prepared.EpochIndices());
    }

    [Fact]
    public void Prepare_WithProgress_TellsEveryImageOnceInOrderOfCompletion()
    {
        using var folder = new DatasetFolder();
        string[] files = [.. Enumerable.Range(0, 20).Select(i => $"{i:00}.png")];
        foreach (var file in files)
        {
            folder.Image(file, "a");
        }

        var (opened, prepared) = (new List<PreparationProgress>(), new List<PreparationProgress>());
        var dataset = ImageDataset.Open(folder.Path, progress: new Immediate<PreparationProgress>(opened.Add));
        dataset.Prepare(Small with { Mirror = true }, new Immediate<PreparationProgress>(prepared.Add));

        foreach (var reports in new[] { opened, prepared })
        {
            Assert.Equal(Enumerable.Range(1, 20).Select(done => (done, 20, 0)), reports.Select(report => (report.Done, report.Total, report.Errors)));
            Assert.Equal(files, reports.Select(report => report.File).Order());
        }

        Assert.All(opened, report => Assert.Null(report.Image));
        Assert.All(prepared, report => Assert.Equal((report.File, false), (report.Image!.SourceFile, report.Image.Mirrored)));
    }

    [Fact]
    public void Prepare_WithProgress_TellsOneAtATime()
    {
        using var folder = new DatasetFolder();
        for (var i = 0; i < 30; i++)
        {
            folder.Image($"{i:00}.png", "a");
        }

        var (inside, most) = (0, 0);
        var progress = new Immediate<PreparationProgress>(_ =>
        {
            most = Math.Max(most, Interlocked.Increment(ref inside));
            Thread.Sleep(1);
            Interlocked.Decrement(ref inside);
        });
        ImageDataset.Open(folder.Path, progress: progress).Prepare(Small, progress);

        Assert.Equal(1, most);
    }

    [Fact]
    public void Prepare_WithProgress_CountsErrorsAndGoesOn()
    {
        using var folder = new DatasetFolder();
        var reports = new List<PreparationProgress>();
        var dataset = folder.Image("a.png", "a").Image("b.png", "b", width: 8).Image("c.png", "c").Open();
        Assert.Throws<DatasetException>(() => dataset.Prepare(Small, new Immediate<PreparationProgress>(reports.Add)));
        Assert.Equal((3, 1), (reports[^1].Done, reports[^1].Errors));
        Assert.Equal("b.png", Assert.Single(reports, report => report.Image is null).File);
    }

    [Fact]
    public void Prepare_Cancelled_GivesUp()
    {
        using var folder = new DatasetFolder();
        using var source = new CancellationTokenSource();
        for (var i = 0; i < 50; i++)
        {
            folder.Image($"{i:00}.png", "a");
        }

        var dataset = folder.Open();
        var stop = new Immediate<PreparationProgress>(report => source.Cancel());
        Assert.ThrowsAny<OperationCanceledException>(() => dataset.Prepare(Small, stop, source.Token));
        Assert.ThrowsAny<OperationCanceledException>(() => ImageDataset.Open(folder.Path, cancellationToken: source.Token));
    }

    [Fact]
    public void EpochIndices_WithAGenerator_AreShuffledAlikeForOneSeed()
    {
        using var folder = new DatasetFolder();
        var prepared = folder.Image("a.png", "a").Image("b.png", "b").Open().Prepare(Small with { Repeats = 20 });
        using var generator = new Generator(5);
        using var same = new Generator(5);
        var order = prepared.EpochIndices(generator);
        Assert.Equal(order, prepared.EpochIndices(same));
        Assert.NotEqual(prepared.EpochIndices(), order);
        Assert.Equal(prepared.EpochIndices(), order.Order());
        Assert.NotEqual(order, prepared.EpochIndices(generator));
    }

    [Fact]
    public void Prepare_TinyImages_AreAllReportedOrEnlargedWhenAllowed()
    {
        using var folder = new DatasetFolder();
        var dataset = folder.Image("a.png", "a", 8, 40).Image("b.png", "b", 40, 15).Image("c.png", "c").Open();
        var error = Assert.Throws<DatasetException>(() => dataset.Prepare(Small));
        Assert.Equal([(DatasetFault.TooSmall, "a.png"), (DatasetFault.TooSmall, "b.png")], error.Report.Errors.Select(issue => (issue.Fault, issue.File)));
        Assert.Equal((16, 3), (dataset.Prepare(Small with { AllowUpscaling = true }).Width, dataset.Count));
    }

    [Fact]
    public void Prepare_FileThatVanished_IsReported()
    {
        using var folder = new DatasetFolder();
        var dataset = folder.Image("a.png", "a").Image("b.png", "b").Open();
        File.Delete(folder["a.png"]);
        Assert.Equal("a.png", Assert.Single(Assert.Throws<DatasetException>(() => dataset.Prepare(Small)).Report.Errors).File);
    }

    [Fact]
    public void Validate_SeveralFaults_AreReportedAtOnce()
    {
        var faults = new PreparationOptions { Resolution = 100, Repeats = 0, TriggerWord = "a, b", Crop = (CropMode)7 }.Validate();
        Assert.Equal(["Resolution", "Crop", "Repeats", "TriggerWord"], faults.Select(fault => fault.Split(':')[0]));
        Assert.Contains("128", faults[0]);
        Assert.Empty(new PreparationOptions().Validate());
        Assert.Empty(new PreparationOptions { Resolution = 72, ResolutionStep = 8 }.Validate());
        Assert.Single(new PreparationOptions { ResolutionStep = 0 }.Validate());
        Assert.Throws<ArgumentException>(() => new PreparationOptions { Resolution = 72 }.ThrowIfInvalid());
    }

    [Fact]
    public void Pixels_OfPreparedImages_AreATensorFromMinusOneToOne()
    {
        using var folder = new DatasetFolder();
        var prepared = folder.Image("a.png", "a").Image("b.png", "b").Open().Prepare(Small);
        using var scope = NewDisposeScope();
        var pixels = prepared.Pixels();
        Assert.Equal([2, 3, 16, 16], pixels.shape);
        Assert.InRange(pixels.min().item<float>(), -1, -0.9f);
        Assert.InRange(pixels.max().item<float>(), 0.9f, 1);
        Assert.Equal(0, Fixtures.MaxDifference(pixels[1], prepared.Pixels([1, 0, 1])[2]));
    }

    [Fact]
    public void Save_ThenLoad_GivesTheSameAgain()
    {
        using var folder = new DatasetFolder();
        var prepared = folder.Image("3_x/a.png", "é, \"tag\"").Image("a.png", "z").Image("a_1.png", "帽子").Open().Prepare(
            Small with { Mirror = true, TriggerWord = "mika" });
        using var target = new DatasetFolder();
        prepared.Save(target["ready"]);
        var read = PreparedDataset.Load(target["ready"]);

        Assert.Equal(prepared.ComputeHash(), read.ComputeHash());
        Assert.Equal(
            prepared.Images
                .Select(image => (image.Name, image.Caption, image.SourceFile, image.Mirrored, image.Repeats, Convert.ToHexString(image.Image.Pixels))),
            read.Images.Select(image => (image.Name, image.Caption, image.SourceFile, image.Mirrored, image.Repeats, Convert.ToHexString(image.Image.Pixels))));
        Assert.Empty(ImageDataset.Open(target["ready"]).Report.Issues);

        Assert.Throws<IOException>(() => prepared.Save(target["ready"]));
        prepared.WithCaptions(prepared.Tags.Prune("z")).Save(target["ready"], overwrite: true);
        Assert.Equal("mika", PreparedDataset.Load(target["ready"]).Images[0].Caption);
        Assert.Equal(["ready"], Directory.GetFileSystemEntries(target.Path).Select(Path.GetFileName));

        target.Text("ready/thesis.docx", "work of years");
        Assert.Contains("thesis.docx", Assert.Throws<IOException>(() => prepared.Save(target["ready"], overwrite: true)).Message);
        Assert.True(File.Exists(target["ready/thesis.docx"]));
    }

    [Theory]
    [InlineData(41, 30, CropMode.Given, false, 2, 0, 3)] // 30×30 from 5, 0; mirrored from 6, 0; 16/30 of both
    [InlineData(30, 42, CropMode.Given, false, 0, 3, 0)] // from 0, 6
    [InlineData(41, 30, CropMode.Given, true, 40, 16, 26)] // 8×8 from 20, 8; mirrored from 13, 8; twice as large
    [InlineData(41, 30, CropMode.Centre, true, 2, 0, 3)]
    [InlineData(16, 16, CropMode.Given, false, 0, 0, 0)]
    public void Prepare_CutAndScaledImage_KnowsItsPictureAndWhatWasCutOffTheScaledOne(
        int width, int height, CropMode mode, bool hasCrop, int left, int top, int mirroredLeft)
    {
        using var folder = new DatasetFolder();
        var crop = hasCrop ? """, "crop": [20, 2, 8, 20]""" : "";
        folder.Image("a.png", null, width, height).Text("metadata.jsonl", $$"""{"file_name": "a.png", "text": "a"{{crop}}}""");
        var prepared = folder.Open().Prepare(Small with { Crop = mode, Mirror = true, AllowUpscaling = true });

        ImageOrigin[] expected = [new(width, height, left, top), new(width, height, mirroredLeft, top)];
        Assert.Equal(expected, prepared.Images.Select(static image => image.Origin));
        using var target = new DatasetFolder();
        prepared.Save(target["ready"]);
        var read = PreparedDataset.Load(target["ready"]);
        Assert.Equal(expected, read.Images.Select(static image => image.Origin));
        Assert.Equal(prepared.ComputeHash(withOrigins: true), read.ComputeHash(withOrigins: true));
        Assert.Equal(expected, prepared.WithRegularization(prepared).Images.Where(static image => image.IsRegularization).Select(static image => image.Origin));
    }

    [Fact]
    public void Load_OriginThatIsNone_IsReported()
    {
        using var folder = new DatasetFolder();
        folder.Image("a.png", "a").Image("b.png", "b").Text("metadata.jsonl", """
            {"file_name": "a.png", "origin": [0, 8, 0, 0]}
            {"file_name": "b.png", "origin": "whole"}
            """);
        var error = Assert.Throws<DatasetException>(() => PreparedDataset.Load(folder.Path));
        Assert.All(error.Report.Errors, static issue => Assert.Equal(DatasetFault.InvalidMetadata, issue.Fault));
        Assert.Equal(["a.png", "b.png"], error.Report.Errors.Select(static issue => issue.File));

        PreparedImage[] images = [new("a", Picture(8, 8), "a", "a.png") { Origin = new ImageOrigin(8, 8, -1, 0) }];
        Assert.Contains("Left = -1", Assert.Throws<ArgumentException>(() => new PreparedDataset(images)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void PreparedDataset_ImagesThatDoNotFit_AreReportedAtOnce()
    {
        PreparedImage[] images = [new("a", Picture(8, 8), "a", "a.png"), new("A", Picture(8, 9), "two\nlines", "b.png", Repeats: 0)];
        Assert.Equal(4, Assert.Throws<ArgumentException>(() => new PreparedDataset(images)).Message.Split("\n- ").Length - 1);
        Assert.Throws<ArgumentException>(() => new PreparedDataset([]));
    }
}
