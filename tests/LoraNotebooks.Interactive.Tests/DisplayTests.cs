using LoraNotebooks.Comparison;
using LoraNotebooks.Data;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Training;
using LoraNotebooks.Training.Diffusion;
using Microsoft.Data.Analysis;
using SkiaSharp;
using TorchSharp;

namespace LoraNotebooks.Interactive.Tests;

public class DisplayTests
{
    [Fact]
    public void Gallery_SmallImages_AreShownAtTwiceTheirSizeAndKeptExactly()
    {
        var image = Some.Image(64, 48);
        var html = new Gallery([image]).ToHtml();
        Assert.Contains("width=\"128\" height=\"96\"", html);
        Assert.Contains("data:image/png;base64," + Convert.ToBase64String(image.EncodePng()), html);
        Assert.DoesNotContain("pixelated", html);
    }

    [Fact]
    public void Gallery_LargeImages_AreStoredSmall()
    {
        var html = new Gallery([Some.Image(1024, 768)]).ToHtml();
        Assert.Contains("data:image/jpeg", html);
        Assert.InRange(html.Length, 1_000, 200_000);
    }

    [Fact]
    public void Gallery_Columns_MakeRows() =>
        Assert.Equal(3, new Gallery(Enumerable.Repeat(Some.Image(), 5)) { Columns = 2 }.ToHtml().Split("<tr").Length - 1);

    [Fact]
    public void Tags_Table_ShowsCountShareAndFiles()
    {
        var html = new TagTableDisplay(new TagTable([new("a.png", "mika, smiling"), new("b.png", "mika")])) { MostTags = 1 }.ToHtml();
        Assert.Contains("2 different in 2 captions, the first 1 shown", html);
        Assert.Contains("100 %", html);
        Assert.Contains("a.png, b.png", html);
        Assert.DoesNotContain("smiling", html);
    }

    [Fact]
    public void Dataset_Folder_ShowsImagesWithCaptions()
    {
        var folder = Directory.CreateTempSubdirectory("dataset").FullName;
        try
        {
            Some.Image(300, 300).SavePng(Path.Combine(folder, "one.png"));
            File.WriteAllText(Path.Combine(folder, "one.txt"), "mika, smiling");
            var bundle = DisplayFormatter.Format(ImageDataset.Open(folder));
            Assert.Contains("1 image", bundle.Text(MimeTypes.Html));
            Assert.Contains("mika, smiling", bundle.Text(MimeTypes.Html));
            Assert.Contains("one.png: mika, smiling", bundle.Text(MimeTypes.PlainText));
            Assert.Contains(
                "1 image of 64 × 64 pixels",
                DisplayFormatter.Format(ImageDataset.Open(folder).Prepare(new() { Resolution = 64, ResolutionStep = 8 })).Text(MimeTypes.Html));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Fact]
    public void BeforeAfter_UnequalRows_SaysWhatItGot()
    {
        var fault = Assert.Throws<ArgumentException>(() => new BeforeAfter([Some.Image()], []));
        Assert.Contains("1 and 0 images", fault.Message);
    }

    [Fact]
    public void Grid_Png_HasAPlaceForEveryCell()
    {
        using var picture = SKBitmap.Decode(new XyzGridDisplay(Some.Result()).ToPng());
        Assert.InRange(picture.Width, 2 * 128, 2 * 128 + 200);
        Assert.InRange(picture.Height, 2 * 128, 2 * 128 + 120);
    }

    [Fact]
    public void Grid_StoppedHalfway_ShowsWhatThereIs()
    {
        using var stop = new CancellationTokenSource();
        var grid = new XyzGrid(new XyzSettings { Prompt = "p" }, XyzAxis.Seed(1, 2, 3));
        var display = new XyzGridDisplay(grid.Run(new Painter(), new Stopper(stop), stop.Token));
        Assert.Contains("1 of 3 images, stopped", display.ToHtml());
        Assert.NotEmpty(display.ToPng());
    }

    /// <summary>Labels in page and picture, and nothing said of all images that an axis of another name has changed.</summary>
    [Fact]
    public void XyzGrid_AxisOfItsOwn_IsLabelledAndWhatItChangesIsNoCommonFact()
    {
        var plain = new XyzSettings { Prompt = "a cat", Seed = 5 };
        var axis = XyzAxis.Of("effort", ["low", "high"], static (settings, effort) => settings with { Steps = effort == "low" ? 20 : 40 });
        var own = new XyzGridDisplay(new XyzGrid(plain, axis).Run(new Painter()));
        var known = new XyzGridDisplay(new XyzGrid(plain, XyzAxis.Steps(20, 40)).Run(new Painter()));

        Assert.Contains("2 images · “a cat” · seed 5 · guidance 3", Some.Words(own.ToHtml()));
        Assert.Equal(
            Some.Words(known.ToHtml()).Select(static word => word switch { "steps" => "effort", "20" => "low", "40" => "high", _ => word }),
            Some.Words(own.ToHtml()));
        Assert.NotEqual(known.ToPng(), own.ToPng());
        Assert.Equal(
            known.ToPng(),
            new XyzGridDisplay(
                new XyzGrid(plain, XyzAxis.Of("steps", [20, 40], static (settings, steps) => settings with { Steps = steps })).Run(new Painter()))
                .ToPng());
    }

    [Fact]
    public void Plan_WithWarnings_ShowsThem()
    {
        var plan = TrainingPlan.For(new DiffusionTrainingConfig { Epochs = 2, SaveEveryEpochs = 6 }, 20, 200);
        Assert.Contains("SaveEveryEpochs is 6", new TrainingPlanDisplay(plan).ToHtml());
        Assert.Contains("warning: SaveEveryEpochs is 6", DisplayFormatter.Format(plan).Text(MimeTypes.PlainText));
        Assert.DoesNotContain("warning", new TrainingPlanDisplay(TrainingPlan.For(new DiffusionTrainingConfig(), 20, 200)).ToHtml());
    }

    [Fact]
    public void PreparedDataset_WithLosses_ShowsThem()
    {
        var folder = Directory.CreateTempSubdirectory("dataset").FullName;
        new RgbImage(8, 80, new byte[3 * 8 * 80]).SavePng(Path.Combine(folder, "tall.png"));
        var prepared = ImageDataset.Open(folder, new() { RequireCaptions = false }).Prepare(new() { Resolution = 8, ResolutionStep = 8 });
        Assert.Contains("90 % of the picture is cut off", new DatasetDisplay(prepared).ToHtml());
        Assert.Contains("90 % of the picture is cut off", new DatasetDisplay(prepared).ToText());
        Directory.Delete(folder, recursive: true);
    }

    [Fact]
    public void DatasetReport_ManyIssuesOfAKind_ShowsTenAndTheirNumber()
    {
        var folder = Directory.CreateTempSubdirectory("dataset").FullName;
        Enumerable.Range(0, 13).ToList().ForEach(i => File.WriteAllText(Path.Combine(folder, $"{i:D2}.png"), ""));
        var html = new DatasetReportDisplay(ImageDataset.Inspect(folder)).ToHtml();
        Directory.Delete(folder, recursive: true);
        Assert.Contains("26 errors", html);
        Assert.Equal(2, html.Split("09.png").Length - 1);
        Assert.DoesNotContain("10.png", html);
        Assert.Equal(2, html.Split("3 more files of this kind").Length - 1);
    }

    [Fact]
    public void Table_DataFrame_AlignsNumbersAndCutsLongTables()
    {
        var frame = new DataFrame(
            new StringDataFrameColumn("name", Enumerable.Range(0, 50).Select(i => $"n{i}")),
            new DoubleDataFrameColumn("value", Enumerable.Range(0, 50).Select(i => i / 8.0)));
        var bundle = DisplayFormatter.Format(frame);
        Assert.Contains("first 40 of 50 rows", bundle.Text(MimeTypes.Html));
        Assert.Contains("n3    0.375", bundle.Text(MimeTypes.PlainText));
    }

    [Fact]
    public void Format_LibraryObjects_DrawThemselves()
    {
        Assert.NotNull(DisplayFormatter.Format(Some.Image()).Text(MimeTypes.Png));
        Assert.Contains("<table", DisplayFormatter.Format(Some.Result()).Text(MimeTypes.Html));
        Assert.NotNull(DisplayFormatter.Format(new LossChart([1, 2]).Chart.ToFigure()).Node(MimeTypes.Plotly));
    }

    private sealed class Stopper(CancellationTokenSource stop) : IProgress<XyzProgress>
    {
        public void Report(XyzProgress value) => stop.Cancel();
    }

    [Fact]
    public void MemoryPlanDisplay_MemoryForSome_SaysOfEachWhetherItFits()
    {
        var outline = PipelineOutline.Read(BaseModel.Folder);
        var options = new MemoryPlanOptions { Types = [torch.ScalarType.Float32], Resolutions = [32, 128, 512] };
        var needs = MemoryPlan.For(outline, new DiffusionTrainingConfig(), options).Needs;
        var plan = MemoryPlan.For(outline, new DiffusionTrainingConfig(), options with { AvailableBytes = (long)(needs[1].ToDraw / 0.9) + 1 });

        var html = new MemoryPlanDisplay(plan).ToHtml();

        Assert.True(needs[0].ToTrain < needs[1].ToDraw && needs[1].ToDraw < needs[1].ToTrain);
        int[] places =
        [
            html.IndexOf("32 px", StringComparison.Ordinal),
            html.IndexOf("fits", StringComparison.Ordinal),
            html.IndexOf("128 px", StringComparison.Ordinal),
            html.IndexOf("draws only", StringComparison.Ordinal),
            html.IndexOf("512 px", StringComparison.Ordinal),
            html.IndexOf("does not fit", StringComparison.Ordinal),
        ];
        Assert.DoesNotContain(-1, places);
        Assert.Equal(places.Order(), places);
        Assert.Contains("avatar-diffusion", html, StringComparison.Ordinal);
        Assert.Contains("512 px", new MemoryPlanDisplay(plan).ToText(), StringComparison.Ordinal);
        Assert.Contains("<table", DisplayFormatter.Format(plan).Text(MimeTypes.Html), StringComparison.Ordinal);
    }
}
