using System.Text.Json;
using System.Text.Json.Nodes;
using LoraNotebooks.Kernel.Notebooks;
using LoraNotebooks.Kernel.Running;
using static Jupyter.Tests.NotebookPage;

namespace Jupyter.Tests;

/// <summary>Notebooks in Jupyter's own page, in a browser that reaches nothing but this machine.</summary>
public sealed class NotebookPageTests(JupyterFixture jupyter) : IClassFixture<JupyterFixture>
{
    private const string Chart = "document.querySelector('.js-plotly-plot')";
    private const string Points = $"({Chart}?.data?.at(-1).x.length ?? 0)";

    [DrivesFact(Needs.Chromium | Needs.Jupyter)]
    public async Task Chapter3_RunAll_ChartGrowsAndGridStandsAtTheEnd()
    {
        var notebook = Chapter3(epochs: 4, "run");
        var page = await jupyter.OpenAsync(notebook, "grows.ipynb");
        await page.EvaluateAsync<bool>(RunAll);

        await ReachAsync(page, $"{Points} >= 3", 240);
        await ShowAsync(page, Chart);
        var first = await page.EvaluateAsync<int>(Points);
        await page.ScreenshotAsync("chapter3-training-1");
        await ReachAsync(page, $"{Points} >= {first + 15}", 240);
        await page.ScreenshotAsync("chapter3-training-2");
        await ReachAsync(page, Ended, 400);
        Assert.Equal(40, await page.EvaluateAsync<int>(Points));
        await ShowAsync(page, Chart);
        await page.ScreenshotAsync("chapter3-training-end");
        var grid = $"Jupyter.notebook.get_cells().find(cell => cell.get_text().includes('new XyzGridDisplay')).output_area.element[0]";
        Assert.InRange(await page.EvaluateAsync<int>($"{grid}.querySelectorAll('img').length"), 15, 30);
        Assert.True(await page.EvaluateAsync<bool>($"[...{grid}.querySelectorAll('img')].every(image => image.complete && image.naturalWidth > 0)"));
        await ShowAsync(page, grid);
        await page.ScreenshotAsync("chapter3-grid");

        await SaveAsync(page);
        await UntrustedCopyShowsTheSameAsync(page, "grows.ipynb");
    }

    [DrivesFact(Needs.Chromium | Needs.Jupyter)]
    public async Task StopButton_Pressed_EndsTheTrainingAndTheCellGoesOn()
    {
        var notebook = Notebook.Create();
        notebook.Add(CellKind.Code, $$"""
            using System.Threading;
            using LoraNotebooks.Data;
            using LoraNotebooks.Diffusion;
            using LoraNotebooks.Interactive;
            using LoraNotebooks.Training;
            using LoraNotebooks.Training.Diffusion;
            set_num_threads(1);
            var output = {{JsonSerializer.Serialize(Path.Combine(jupyter.Root, "stopped"))}};
            var pipeline = StableDiffusionPipeline.FromFolder(BaseModel.Folder);
            var dataset = ImageDataset.Open("../datasets/mika").Prepare(new PreparationOptions { Resolution = 64, ResolutionStep = 8 });
            var config = new DiffusionTrainingConfig { Name = "mika", OutputFolder = output, Epochs = 1000, UNetLearningRate = 1e-3 };
            var pressed = new CancellationTokenSource();
            var offer = NotebookHost.Current.OfferStop(pressed.Cancel)!;
            var button = NotebookHost.Current.Display(MimeBundle.FromText("training").With(MimeTypes.Html, "<b>training</b>").With(MimeTypes.Stop, offer.Id));
            var monitor = new TrainingMonitor("Mika");
            TrainingResult result;
            try { result = new LoraTrainer().Train(config, pipeline, dataset, monitor, pressed.Token); }
            finally { monitor.Dispose(); offer.Dispose(); }
            button.Update(MimeBundle.FromText("done"));
            Console.WriteLine($"the cell goes on after {result.Steps.Count} steps, checkpoint kept: {File.Exists(result.File)}");
            """);
        var page = await jupyter.OpenAsync(notebook, "stop.ipynb");
        await page.EvaluateAsync<bool>(RunAll);
        await ReachAsync(page, $"{Points} >= 5 && document.querySelector('.output_html button')", 120);
        await ShowAsync(page, "document.querySelector('.output_html button')");
        await page.ScreenshotAsync("stop-before");
        await page.PressAsync(".output_html button");
        await ReachAsync(page, Ended, 60);

        const string output = "Jupyter.notebook.get_cells().at(-1).output_area.element[0].innerText";
        await ReachAsync(page, $"{output}.includes('the cell goes on')", 10);
        var text = await page.EvaluateAsync<string>(output);
        Assert.Matches(@"the cell goes on after \d+ steps, checkpoint kept: True", text);
        Assert.Contains("stopped", text, StringComparison.Ordinal);
        Assert.Equal(0, await page.EvaluateAsync<int>("document.querySelectorAll('.output_html button').length"));
        await page.ScreenshotAsync("stop-after");
    }

    [DrivesFact(Needs.Chromium | Needs.Jupyter)]
    public async Task Monitor_LoadedAgainWhileItRuns_ContinuesAndIsStopped()
    {
        var page = await jupyter.OpenAsync(LongRun(), "again.ipynb");
        await page.EvaluateAsync<bool>(RunAll);
        await ReachAsync(page, $"{Points} >= 5 && {State} === 'running'", 120);
        await SaveAsync(page);
        await jupyter.ReloadAsync(page);
        await ReachAsync(page, $"{State} === 'running' && {Points} >= 5", 60);
        var step = await page.EvaluateAsync<int>(StepShown);
        await ReachAsync(page, $"{StepShown} > {step + 20} && {Points} > 20", 120);
        await ShowAsync(page, Chart);
        await page.ScreenshotAsync("monitor-loaded-again");
        Assert.Equal(1, await page.EvaluateAsync<int>("document.querySelectorAll('.js-plotly-plot').length"));

        await page.PressAsync(".output_html button");
        await page.WaitAsync($"{Outputs}.includes('stopped') && !{Outputs}.includes('running') && !document.querySelector('.output_html button')", 60);
        await page.ScreenshotAsync("monitor-loaded-again-stopped");
    }

    [DrivesFact(Needs.Chromium | Needs.Jupyter)]
    public async Task Monitor_KernelRestartedOrNotebookReopened_WasRunningWhenSaved()
    {
        const string truth = $"{State} === 'was running when saved' && !{Outputs}.includes('running when saved running') "
            + "&& !document.querySelector('.output_html button')";
        var page = await jupyter.OpenAsync(LongRun(), "restarted.ipynb");
        await page.EvaluateAsync<bool>(RunAll);
        await ReachAsync(page, $"{Points} >= 5 && {State} === 'running'", 120);
        await SaveAsync(page);
        File.Copy(Path.Combine(jupyter.Notebooks, "restarted.ipynb"), Path.Combine(jupyter.Notebooks, "elsewhere.ipynb"));
        await page.EvaluateAsync<bool>("Jupyter.notebook.kernel.restart(), true");
        await page.WaitAsync(truth, 60);
        await ShowAsync(page, "document.querySelector('[data-lora-state]')");
        await page.ScreenshotAsync("monitor-restarted");

        await jupyter.ReloadAsync(page);
        await page.WaitAsync(truth, 60);

        var elsewhere = await jupyter.OpenAsync("elsewhere.ipynb");
        await elsewhere.WaitAsync(truth, 60);

        // Restart and run all: the new run is another one.
        await page.EvaluateAsync<bool>(RunAll);
        await ReachAsync(page, $"{Points} >= 5 && {State} === 'running' && document.querySelector('.output_html button')", 120);

        // The notebook's own interrupt ends it, and the page says so.
        await page.EvaluateAsync<bool>("Jupyter.notebook.kernel.interrupt(), true");
        await page.WaitAsync($"{Outputs}.includes('stopped') && !document.querySelector('[data-lora-state]')", 60);

        var untrusted = await UntrustedCopyAsync("restarted.ipynb");
        Assert.Equal("was running when saved", await untrusted.EvaluateAsync<string>(
            "[...document.querySelectorAll('.output_html span')].find(span => span.textContent.includes('running')).textContent"));
    }

    [DrivesFact(Needs.Chromium | Needs.Jupyter)]
    public async Task HostileText_TrustedAndUntrusted_RunsNothing()
    {
        string[] payloads =
        [
            "<script>window.hacked = 1</script>",
            "<img src=x onerror=\"window.hacked = 1\">",
            "</style></textarea></title><script>window.hacked = 1</script>",
            "![x](javascript:window.hacked=1) [y](javascript:window.hacked=1) `<script>window.hacked = 1</script>`",
            "\" onmouseover=\"window.hacked = 1\" autofocus onfocus=\"window.hacked = 1",
            "<svg onload=\"window.hacked = 1\"></svg> $\\href{javascript:window.hacked=1}{x}$",
        ];
        var folder = Directory.CreateDirectory(Path.Combine(jupyter.Root, "hostile")).FullName;
        foreach (var (index, payload) in payloads.Index())
        {
            File.Copy(
                Directory.GetFiles(Path.Combine(Repository.Root, "datasets", "mika"), "*.png", SearchOption.AllDirectories)
                    .Order(StringComparer.Ordinal)
                    .ElementAt(index),
                Path.Combine(folder, $"{index}.png"));
            await File.WriteAllTextAsync(Path.Combine(folder, $"{index}.txt"), $"mika, {payload}");
        }

        var notebook = Notebook.Create();
        notebook.Add(CellKind.Code, $$$"""
            using LoraNotebooks.Comparison;
            using LoraNotebooks.Data;
            using LoraNotebooks.Interactive;
            using LoraNotebooks.Training;
            var dataset = ImageDataset.Open("../hostile");
            var texts = dataset.Items.Select(item => item.Caption).ToArray();
            var image = dataset.Items[0].Load();
            display(dataset);
            display(dataset.Tags);
            display(new Gallery(texts.Select(text => new GalleryItem(image, text))) { Title = texts[0] });
            display(new BeforeAfter([image], [image], [texts[1]]) { Title = texts[2] });
            display(new TableDisplay(texts, [[.. texts.Cast<object?>()]]));
            foreach (var text in texts)
            {
                display(new LineChart(ChartSeries.Of(text, [1, 2, 3])) { Title = text, XTitle = text, YTitle = text });
                var monitor = new TrainingMonitor(text);
                monitor.Report(new TrainingStep { Step = 1, TotalSteps = 2, Epoch = 1, TotalEpochs = 1, Loss = 1, SmoothedLoss = 1, LearningRates = new Dictionary<string, double> { ["UNet"] = 1 }, Unit = "image", GradientNorm = 1, Seconds = 1, ExamplesPerSecond = 1, SecondsLeft = 1 });
                monitor.Fail(new Exception(text));
                Console.WriteLine(text);
            }
            sealed class Painter(RgbImage image) : IXyzRenderer { public RgbImage Render(XyzSettings settings, System.Threading.CancellationToken token) => image; }
            var grid = new XyzGrid(new XyzSettings { Prompt = "mika" }, XyzAxis.PromptSearchReplace(["mika", .. texts]));
            new XyzGridDisplay(grid.Run(new Painter(image))) { Title = texts[3] }
            """);
        var page = await jupyter.OpenAsync(notebook, "hostile.ipynb");
        await page.EvaluateAsync<bool>(RunAll);
        await ReachAsync(page, $"{Ended} && document.querySelectorAll('.js-plotly-plot').length >= 6", 120);
        await NothingRanAsync(page);

        // Text is shown as it is: nor does the page take it for a formula.
        foreach (var payload in payloads)
        {
            Assert.True(
                await page.EvaluateAsync<bool>(
                    "[...document.querySelectorAll('.output_html td')].some(cell => "
                        + $"cell.innerText.includes({JsonSerializer.Serialize(payload)}))"),
                payload);
        }

        await page.ScreenshotAsync("hostile-trusted");

        await SaveAsync(page);
        var untrusted = await UntrustedCopyAsync("hostile.ipynb");
        await NothingRanAsync(untrusted);
        await untrusted.ScreenshotAsync("hostile-untrusted");
    }

    [DrivesFact(Needs.Chromium | Needs.Jupyter)]
    public async Task OwnChartsAndPictures_Displayed_AreDrawnLiveAndAfterReload()
    {
        var notebook = Notebook.Create();
        notebook.Add(CellKind.Code, """
            using System.Text.Json.Nodes;
            using LoraNotebooks.Interactive;
            using Plotly.NET;
            using SkiaSharp;
            var trace = new Trace("bar");
            trace.SetProperty("x", new[] { "a", "b" });
            trace.SetProperty("y", new[] { 1, 2 });
            display(GenericChart.ofTraceObject(false, trace));
            display(JsonNode.Parse("{ \"data\": [{ \"y\": [1, 3, 2] }], \"layout\": {} }"));
            display(MimeBundle.FromText("by hand").With("application/vnd.plotly.v1+json", JsonNode.Parse("{ \"data\": [{ \"type\": \"pie\", \"values\": [1, 2] }], \"layout\": {} }")));
            display(torch.linspace(0, 1, 64 * 64).reshape(64, 64).AsPictures());
            var bitmap = new SKBitmap(300, 100);
            bitmap.Erase(SKColors.Teal);
            bitmap
            """);
        var page = await jupyter.OpenAsync(notebook, "own.ipynb");
        await page.EvaluateAsync<bool>(RunAll);
        const string drawn = "document.querySelectorAll('.js-plotly-plot').length === 3 "
            + "&& document.querySelector('.barlayer path') && document.querySelector('.pielayer path') "
            + "&& [...document.querySelectorAll('.output_area img')].filter(image => image.naturalWidth > 0).length === 2";
        await ReachAsync(page, $"{Ended} && {drawn}", 120);
        await ShowAsync(page, Chart);
        await page.ScreenshotAsync("own-charts");
        await SaveAsync(page);
        await jupyter.ReloadAsync(page);
        await page.WaitAsync(drawn, 60);

        var untrusted = await UntrustedCopyAsync("own.ipynb");
        Assert.Equal(3, await untrusted.EvaluateAsync<int>(
            "[...document.querySelectorAll('.output_area img')].filter(image => image.naturalWidth > 0).length"));
        Assert.True(await untrusted.EvaluateAsync<bool>("document.body.innerText.includes('chart: bar of 2')"));
    }

    private const string State = "document.querySelector('[data-lora-state]')?.textContent";
    private const string Outputs = "[...document.querySelectorAll('.output_html')].map(output => output.innerText).join(' ')";
    private const string StepShown = $"Number(/([\\d,]+) of 1,000,000/.exec({Outputs})?.[1].replace(',', '') ?? 0)";

    /// <summary>A monitor that follows work of a million steps, ten a second.</summary>
    private static Notebook LongRun()
    {
        var notebook = Notebook.Create();
        notebook.Add(CellKind.Code, """
            using System.Threading;
            using LoraNotebooks.Interactive;
            using LoraNotebooks.Training;
            new TrainingMonitor("Mika").Follow(monitor =>
            {
                for (var step = 1; !monitor.Cancellation.IsCancellationRequested; step++)
                {
                    monitor.Report(new TrainingStep { Step = step, TotalSteps = 1_000_000, Epoch = 1, TotalEpochs = 1, Loss = 1.0 / step, SmoothedLoss = 1.0 / step, LearningRates = new Dictionary<string, double> { ["UNet"] = 1 }, Unit = "image", GradientNorm = 1, Seconds = step, ExamplesPerSecond = 1, SecondsLeft = 1 });
                    Thread.Sleep(100);
                }

                return 0;
            });
            """);
        return notebook;
    }

    /// <summary>A saved notebook under another signature's eyes: the same pictures and figures, and no script has run.</summary>
    private async Task UntrustedCopyShowsTheSameAsync(Page trusted, string name)
    {
        var page = await UntrustedCopyAsync(name);
        Assert.Equal(0, await page.EvaluateAsync<int>("document.querySelectorAll('.output_area script, .js-plotly-plot').length"));
        Assert.False(await page.EvaluateAsync<bool>("Object.keys(window).some(key => key.startsWith('lora_'))"));

        // Every picture of the trusted page is there, and for the chart the picture that it replaced.
        const string pictures = "document.querySelectorAll('.output_area img').length";
        Assert.Equal(
            await trusted.EvaluateAsync<int>(pictures) + await trusted.EvaluateAsync<int>("document.querySelectorAll('.js-plotly-plot').length"),
            await page.EvaluateAsync<int>(pictures));
        Assert.True(await page.EvaluateAsync<bool>(
            "[...document.querySelectorAll('.output_area img')].every(image => image.complete && image.naturalWidth > 0)"));

        const string texts = "[...document.querySelectorAll('.output_subarea')].map(area => "
            + "[...area.querySelectorAll('td, th, pre, b')].map(e => e.textContent).join('|'))";
        string[] expected = [.. await trusted.EvaluateAsync<string[]>(texts), "a copy"];
        Assert.Equal(expected, await page.EvaluateAsync<string[]>(texts));
        await ShowAsync(page, "document.querySelectorAll('.output_area img')[0]");
        await page.ScreenshotAsync("chapter3-untrusted");
        await ShowAsync(page, "[...document.querySelectorAll('.output_area img')].find(image => image.alt.includes('loss'))");
        await page.ScreenshotAsync("chapter3-untrusted-chart");
    }

    /// <summary>Opens a copy with outputs that no signature of this server covers, scripts among them.</summary>
    private async Task<Page> UntrustedCopyAsync(string name)
    {
        var json = JsonNode.Parse(await File.ReadAllTextAsync(Path.Combine(jupyter.Notebooks, name)))!;
        (string Type, string Content)[] forms =
        [
            ("text/html", "<b>a copy</b><script>window.ranUntrusted = 1</script>"),
            ("text/markdown", "<img src=x onerror=\"window.ranUntrusted = 1\">"),
            ("application/javascript", "window.ranUntrusted = 1"),
        ];
        json["cells"]!.AsArray().Add(new JsonObject
        {
            ["cell_type"] = "code",
            ["id"] = "copy",
            ["execution_count"] = null,
            ["metadata"] = new JsonObject(),
            ["source"] = "",
            ["outputs"] = new JsonArray([.. forms.Select(form => new JsonObject
            {
                ["output_type"] = "display_data",
                ["metadata"] = new JsonObject(),
                ["data"] = new JsonObject { [form.Type] = form.Content },
            })]),
        });
        await File.WriteAllTextAsync(Path.Combine(jupyter.Notebooks, "untrusted-" + name), json.ToJsonString());
        var page = await jupyter.OpenAsync("untrusted-" + name);
        await page.WaitAsync("document.body.innerText.includes('a copy')");
        Assert.False(await page.EvaluateAsync<bool>("Jupyter.notebook.trusted"));
        Assert.Equal("undefined", await page.EvaluateAsync<string>("typeof window.ranUntrusted"));
        return page;
    }

    private static async Task NothingRanAsync(Page page)
    {
        // Whatever would run on an event gets its event.
        await page.EvaluateAsync<bool>(
            "document.querySelectorAll('.output_area *').forEach(element => "
                + "{ for (const type of ['mouseover', 'focus', 'error', 'load']) element.dispatchEvent(new Event(type)); }), true");
        await Task.Delay(500);
        Assert.Equal("undefined", await page.EvaluateAsync<string>("typeof window.hacked"));
        Assert.Equal(0, await page.EvaluateAsync<int>(
            "document.querySelectorAll('.output_area [onerror], .output_area [onload], .output_area [onmouseover], "
                + ".output_area [onfocus], .output_area a[href^=\"javascript\"]').length"));
    }

    /// <summary>Chapter 3 with a short training whose files go into a folder of its own.</summary>
    private Notebook Chapter3(int epochs, string folder)
    {
        var notebook = Notebook.Load(Path.Combine(Repository.Notebooks, "03-train-a-character.ipynb"));
        RunParameters.Inject(notebook, Repository.Notebooks, new Dictionary<string, string>
        {
            ["epochs"] = $"{epochs}",
            ["repeats"] = "2",
            ["output"] = JsonSerializer.Serialize(Path.Combine(jupyter.Root, folder)),
        });
        return notebook;
    }

    private static Task<bool> ShowAsync(Page page, string element) => page.EvaluateAsync<bool>(
        $"{element}.scrollIntoView({{ block: 'center' }}), new Promise(done => setTimeout(() => done(true), 200))");

    private static Task<bool> SaveAsync(Page page) => page.EvaluateAsync<bool>("Jupyter.notebook.save_notebook().then(() => true)");
}
