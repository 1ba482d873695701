using System.Text.Json.Nodes;
using LoraNotebooks.Adapters;
using LoraNotebooks.Comparison;
using LoraNotebooks.Data;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Training;
using LoraNotebooks.Training.Diffusion;
using Microsoft.Extensions.Time.Testing;
using TorchSharp;

namespace LoraNotebooks.Interactive.Tests;

public class HtmlTests
{
    [Fact]
    public void Text_EverythingWithAMeaning_IsEscaped() =>
        Assert.Equal(
            "&lt;b a=&quot;1&quot; c=&#39;2&#39;&gt; &amp;amp; &#96;x&#96; <span>&#36;</span>y<span>&#36;</span> <span>\\</span>(z",
            Html.Text("<b a=\"1\" c='2'> &amp; `x` $y$ \\(z\u0000\u0007").ToString());

    [Fact]
    public void Attribute_QuotesAndBrackets_CannotLeaveTheValue() =>
        Assert.Equal("<span title=\"&quot; onclick=&quot;x&lt;&gt;\"></span>", Html.Element("span", [("title", "\" onclick=\"x<>")]).ToString());

    [Theory]
    [InlineData("script")]
    [InlineData("style")]
    [InlineData("svg")]
    [InlineData("iframe")]
    [InlineData("b onclick=x")]
    public void Element_OutsideTheList_IsRefused(string name) => Assert.Throws<ArgumentException>(() => Html.Element(name));

    [Theory]
    [InlineData("onerror", "x")]
    [InlineData("srcset", "x")]
    [InlineData("src", "http://e.example/x.png")]
    [InlineData("src", "data:text/html;base64,PHNjcmlwdD4=")]
    [InlineData("src", "data:image/svg+xml;base64,PHN2Zz4=")]
    [InlineData("style", "background:URL(http://e.example)")]
    public void Attribute_ThatLoadsOrRuns_IsRefused(string name, string value) => Assert.Throws<ArgumentException>(() => Html.Element("img", [(name, value)]));

    public static TheoryData<string> EveryDisplay => [.. Displays("x").Select(d => d.Name)];

    [Theory]
    [MemberData(nameof(EveryDisplay))]
    public void EveryDisplay_HostileTexts_AreShownAsText(string name)
    {
        foreach (var text in Some.HostileTexts)
        {
            var display = Displays(text).Single(d => d.Name == name).Display;
            var bundle = display.ToMimeBundle();
            Some.AssertHarmless(display.ToHtml());
            Assert.Equal(display.ToHtml(), bundle.Text(MimeTypes.Html));
            Assert.NotNull(bundle.Text(MimeTypes.PlainText));
            Assert.DoesNotContain("<script", bundle.Node(MimeTypes.Plotly)?.ToJsonString() ?? "", StringComparison.OrdinalIgnoreCase);
        }
    }

    [Fact]
    public void EveryDisplay_IsListedAbove()
    {
        var types = typeof(RichDisplay).Assembly.GetTypes().Where(t => t.IsSubclassOf(typeof(RichDisplay)) && t.IsPublic && !t.IsAbstract);
        Assert.Empty(types.Select(t => t.Name).Except(Displays("x").Select(d => d.Display.GetType().Name)));
    }

    private static IEnumerable<(string Name, RichDisplay Display)> Displays(string text)
    {
        using var host = NotebookHost.Use(new RecordingHost());
        var image = Some.Image();
        yield return ("gallery", new Gallery([image, image], [text, text]) { Title = text });
        yield return ("gallery of one large image", new Gallery([Some.Image(300, 260)], [text]));
        yield return ("before and after", new BeforeAfter([(text, [image]), (text, [image])], [text]) { Title = text });
        yield return ("grid", new XyzGridDisplay(Some.Result(text, [text + text])) { Title = text });
        yield return ("parameters", new ParameterReportDisplay(new AdapterReport(
            text,
            [.. Enumerable.Range(0, 20).Select(i => new AdapterReportRow(text + i, text, [3, 4], i == 0 ? null : 2, null, 14, 116.7))],
            1000)));
        yield return ("tags", new TagTableDisplay(new TagTable([new(text, text), new("b", text + ", x")])) { Title = text });
        yield return ("prepared dataset", new DatasetDisplay(new PreparedDataset([new("a", image, text.Replace('\0', ' '), text)])) { Title = text });
        yield return ("dataset report", new DatasetReportDisplay(Report(text)));
        var outline = PipelineOutline.Read(BaseModel.Folder) with { Source = Path.GetFullPath("model") + text };
        yield return ("memory", new MemoryPlanDisplay(MemoryPlan.For(
            outline,
            new DiffusionTrainingConfig(),
            new MemoryPlanOptions { AvailableBytes = 60_000_000 })));
        yield return ("plan", new TrainingPlanDisplay(TrainingPlan.For(new DiffusionTrainingConfig { Name = "a" }, 20, 200)));
        yield return ("result", new TrainingResultDisplay(Result(text, image)));
        yield return ("matrix", new MatrixDisplay((text, torch.eye(3))) { Title = text });
        yield return ("table", new TableDisplay([text, "n"], [[text, 1], [null, 2.5]]) { Title = text });
        yield return ("grid monitor", Grid(text, image));
        yield return ("preparation monitor", Preparation(text, image));
        yield return ("own picture", new PictureDisplay(image, text));
        yield return ("own chart", new PlotlyFigure(new JsonObject
        {
            ["data"] = new JsonArray(new JsonObject { ["type"] = text, ["name"] = text }),
            ["layout"] = new JsonObject { ["title"] = text },
        }));
        yield return ("loss", new LossChart([1, 2, 3]));
        yield return ("chart", new LineChart(ChartSeries.Of(text, [1, 2])) { Title = text, XTitle = text, YTitle = text, Marks = [new(1, text)] });

        var monitor = new TrainingMonitor(text);
        monitor.Report(Some.Step(1, 2, 1, 1, 0.5));
        monitor.Report(new PictureSample(1, text, 0, image));
        monitor.Fail(new InvalidOperationException(text));
        yield return ("monitor", monitor);
    }

    private static XyzMonitor Grid(string text, RgbImage image)
    {
        var grid = new XyzGrid(new XyzSettings { Prompt = text }, XyzAxis.PromptSearchReplace([text, "a dog"]));
        var monitor = new XyzMonitor(grid, text, new FakeTimeProvider());
        monitor.Report(new(1, 2, new(0, 0, 0, grid.At(0), image, IsReused: false)));
        monitor.Fail(new InvalidOperationException(text));
        return monitor;
    }

    private static PreparationMonitor Preparation(string text, RgbImage image)
    {
        var monitor = new PreparationMonitor(text, new FakeTimeProvider());
        monitor.Report(new(1, 2, 1, text, new(text, image, text, text)));
        return monitor;
    }

    [Fact]
    public void TrainingResult_LayersThatLearntNothing_AreNamedByTheirBlock()
    {
        var display = new TrainingResultDisplay(Result("a.b", Some.Image()));
        Assert.EndsWith("2 layers learnt nothing, as no image's loss depends on them: a.b", display.ToText(), StringComparison.Ordinal);
        Assert.Contains("2 layers learnt nothing", display.ToHtml(), StringComparison.Ordinal);
    }

    private static TrainingResult Result(string text, RgbImage image) => new TrainingResult<StableDiffusionLora>
    {
        Task = null!,
        Lora = null!,
        Config = new DiffusionTrainingConfig { Name = text },
        Plan = TrainingPlan.For(new DiffusionTrainingConfig { Name = "a" }, 20, 200, "image"),
        Steps = [Some.Step(1, 2, 1, 1, 0.5)],
        Samples = [new PictureSample(0, text, 0, image)],
        Checkpoints = [text],
        StateFile = text,
        RecordFile = text,
        WasCancelled = true,
        Seconds = 1,
        UntrainedLayers = [$"{text}.q_proj", $"{text}.k_proj"],
    };

    // A folder with a file of that name, as far as a file system takes it, that is no image.
    private static DatasetReport Report(string text)
    {
        var folder = Directory.CreateTempSubdirectory("dataset").FullName;
        try
        {
            var name = string.Concat(text.Where(c => !char.IsControl(c) && !Path.GetInvalidFileNameChars().Contains(c)));
            File.WriteAllText(Path.Combine(folder, name + ".png"), "");
            return ImageDataset.Inspect(folder);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }
}
