using System.Text.Json;
using System.Text.Json.Nodes;
using LoraNotebooks.Interactive;
using LoraNotebooks.Kernel.Html;
using LoraNotebooks.Kernel.Jupyter;
using LoraNotebooks.Kernel.Notebooks;

namespace Jupyter.Tests;

/// <summary>The page script in Chromium, beside a stand-in for the server; NotebookPageTests has the real one.</summary>
public sealed class PageScriptTests(BrowserFixture fixture) : IClassFixture<BrowserFixture>, IDisposable
{
    private readonly PageHost _host = new();

    public void Dispose() => _host.Dispose();

    [DrivesFact(Needs.Chromium)]
    public async Task Chart_ServerInReach_ReplacesThePictureByItself()
    {
        var page = await OpenAsync($"<div id=out>{Html(Chart(5))}</div>");
        await page.WaitAsync("document.querySelector('#out .js-plotly-plot .main-svg')");
        Assert.Equal(0, await page.EvaluateAsync<int>("document.querySelectorAll('#out img').length"));
        Assert.Equal(5, await page.EvaluateAsync<int>(Points));
        Assert.Contains("kernelspecs/lora-notebooks/plotly.min.js", _host.Requests);
        Assert.Equal("undefined", await page.EvaluateAsync<string>("typeof Plotly"));
        Assert.DoesNotContain(page.Faults, fault => !fault.Contains("favicon", StringComparison.Ordinal));
        await page.ScreenshotAsync("page-chart");
    }

    [DrivesFact(Needs.Chromium)]
    public async Task Chart_Update_KeepsItsNodeItsZoomAndOneLoadOfPlotly()
    {
        var page = await OpenAsync($"<div id=out>{Html(Chart(5))}</div>");
        await page.WaitAsync("document.querySelector('#out .js-plotly-plot .main-svg')");
        await page.EvaluateAsync<bool>("!!(window.first = document.querySelector('.js-plotly-plot'))");
        await page.DragAsync("#out .nsewdrag", 0.25, 0.75);
        const string zoom = "first.layout.xaxis.range ?? []";
        await page.WaitAsync($"({zoom}).length === 2");
        var zoomed = await page.EvaluateAsync<double[]>(zoom);
        await ReplaceAsync(page, Html(Chart(9)));
        await page.WaitAsync($"{Points} === 9");
        Assert.Equal(zoomed, await page.EvaluateAsync<double[]>("first._fullLayout.xaxis.range"));
        Assert.True(await page.EvaluateAsync<bool>(
            "document.querySelector('#out .js-plotly-plot') === first && document.querySelectorAll('img').length === 0"));
        Assert.Single(_host.Requests, path => path.EndsWith("plotly.min.js", StringComparison.Ordinal));
    }

    [DrivesFact(Needs.Chromium)]
    public async Task Chart_RemovedFromThePage_IsForgotten()
    {
        var page = await OpenAsync($"<div id=out>{Html(Chart(500))}</div>");
        await page.WaitAsync("document.querySelector('#out .js-plotly-plot .main-svg')");
        await page.EvaluateAsync<bool>(
            "window.first = new WeakRef(document.querySelector('.js-plotly-plot')), document.querySelector('#out').replaceChildren(), true");
        await page.WaitAsync("gc(), !first.deref()");
    }

    [DrivesFact(Needs.Chromium)]
    public async Task Chart_ModuleLoaderInThePage_IsLeftAlone()
    {
        const string loader = "<script>window.define = function () { window.defined = true; }; define.amd = {}; "
            + "window.require = window.requirejs = () => { window.required = true; };</script>";
        var page = await OpenAsync($"{loader}<div id=out>{Html(Chart(5))}</div>");
        await page.WaitAsync("document.querySelector('#out .js-plotly-plot .main-svg')");
        Assert.False(await page.EvaluateAsync<bool>("!!(window.defined || window.required)"));
    }

    [DrivesFact(Needs.Chromium)]
    public async Task Chart_NoServerAndNoNet_KeepsThePicture()
    {
        var page = await OpenAsync($"<div id=out>{Html(Chart(5))}</div>", body: "<body>");
        await page.WaitAsync("document.readyState === 'complete'");
        await Task.Delay(500);
        Assert.Equal(1, await page.EvaluateAsync<int>("document.querySelectorAll('#out img').length"));
        Assert.DoesNotContain(_host.Requests, path => path.Contains("plotly", StringComparison.Ordinal));
    }

    [DrivesFact(Needs.Chromium)]
    public async Task Chart_SecondViewOfTheOutput_HasAChartOfItsOwn()
    {
        var page = await OpenAsync($"<div id=out>{Html(Chart(5))}</div><div id=view></div>");
        await page.WaitAsync("document.querySelector('#out .js-plotly-plot .main-svg')");
        await ReplaceAsync(page, Html(Chart(5)), "view");
        await page.WaitAsync("document.querySelector('#view .js-plotly-plot .main-svg')");
        Assert.True(await page.EvaluateAsync<bool>("!!document.querySelector('#out .js-plotly-plot .main-svg')"));
    }

    [DrivesFact(Needs.Chromium)]
    public async Task Chart_OutputThatEntersThePageLater_IsDrawn()
    {
        var page = await OpenAsync("<div id=out></div>");
        await page.WaitAsync("document.readyState === 'complete'");

        // The script runs while its output is still detached.
        await page.EvaluateAsync<bool>(
            $"(() => {{ const e = document.createElement('div'); e.innerHTML = {JsonSerializer.Serialize(Html(Chart(7)))}; "
                + "(0, eval)(e.querySelector('script').textContent); "
                + "setTimeout(() => document.querySelector('#out').append(e), 100); return true; })()");
        await page.WaitAsync($"{Points} === 7");
    }

    [DrivesTheory(Needs.Chromium)]
    [InlineData("</script><script>window.hacked = 1</script>")]
    [InlineData("<!--<script>")]
    [InlineData("'); window.hacked = 1; ('")]
    [InlineData("\\'); window.hacked = 1; //")]
    [InlineData("\u2028window.hacked = 1\u2029")]
    [InlineData("<img src=x onerror='window.hacked = 1'>")]
    [InlineData("<a href=\"javascript:window.hacked = 1\">x</a>")]
    public async Task Chart_HostileText_IsOnlyText(string text)
    {
        var figure = JsonNode.Parse("""{ "data": [{ "type": "scatter", "y": [1, 2, 3] }], "layout": { "title": {} }, "__proto__": { "hacked": 1 } }""")!;
        figure["data"]![0]!["name"] = text;
        figure["layout"]!["title"]!["text"] = text;
        var bundle = MimeBundle.Empty.With(MimeTypes.Html, "<img alt=picture>").With(MimeTypes.Plotly, figure);
        var page = await OpenAsync($"<div id=out>{Html(bundle, text)}</div>");
        await page.WaitAsync("document.querySelector('#out .js-plotly-plot .main-svg')");
        Assert.Equal("undefined", await page.EvaluateAsync<string>("typeof window.hacked"));
        Assert.Equal(text, await page.EvaluateAsync<string>("document.querySelector('.js-plotly-plot').data[0].name"));
    }

    [DrivesFact(Needs.Chromium)]
    public async Task Chart_Resized_FollowsItsRoom()
    {
        var page = await OpenAsync($"<div id=out>{Html(Chart(5))}</div>");
        await page.WaitAsync("document.querySelector('#out .js-plotly-plot .main-svg')");
        Assert.Equal(760, await page.EvaluateAsync<int>("document.querySelector('.js-plotly-plot').offsetWidth"));
        await page.ResizeAsync(500, 800);
        await page.WaitAsync("document.querySelector('.js-plotly-plot .main-svg').getAttribute('width') < 500");
    }

    [DrivesFact(Needs.Chromium)]
    public async Task Stop_PressedBetweenTwoUpdates_TellsTheKernelOnce()
    {
        var bundle = MimeBundle.Empty.With(MimeTypes.Html, "<b>running</b>").With(MimeTypes.Stop, "offer-7");
        var page = await OpenAsync($"<div id=out>{Html(bundle)}</div>");
        await page.WaitAsync("document.querySelector('#out button')");
        Assert.Equal("Stop", await page.EvaluateAsync<string>("document.querySelector('#out button').textContent"));
        await page.ScreenshotAsync("page-stop");
        await page.PressAsync("#out button");
        Assert.True(_host.Messages.TryTake(out var sent, TimeSpan.FromSeconds(20)));
        await ReplaceAsync(page, Html(bundle));
        Assert.Equal("Stopping …", await page.EvaluateAsync<string>(
            "new Promise(done => setTimeout(() => done(document.querySelector('#out button').textContent), 100))"));
        await page.PressAsync("#out button");
        Assert.False(_host.Messages.TryTake(out _, TimeSpan.FromSeconds(1)));

        Assert.Equal("shell", (string?)sent["channel"]);
        Assert.Equal("comm_open", (string?)sent["header"]!["msg_type"]);
        Assert.Equal("lora-notebooks.run", (string?)sent["content"]!["target_name"]);
        Assert.Equal("offer-7", (string?)sent["content"]!["data"]!["id"]);
        Assert.True((bool)sent["content"]!["data"]!["stop"]!);
    }

    [DrivesTheory(Needs.Chromium)]
    [InlineData("ended", "this run has ended")]
    [InlineData("unknown", "this run has ended")]
    [InlineData(null, "Stop (the kernel did not answer)")]
    public async Task Stop_RunThatIsGone_IsAnswered(string? state, string expected)
    {
        _host.Answer = _ => state is null ? null : new() { ["state"] = state };
        var page = await OpenAsync($"<div id=out>{Html(MimeBundle.Empty.With(MimeTypes.Html, "").With(MimeTypes.Stop, "offer-7"))}</div>");
        await page.WaitAsync("document.querySelector('#out button')");
        await page.PressAsync("#out button");
        await page.WaitAsync($"document.querySelector('#out button').textContent === '{expected}'", 60);
    }

    [DrivesFact(Needs.Chromium)]
    public async Task Run_KernelSaysItLives_SaysSo()
    {
        var page = await OpenAsync(Running("step 1", version: 1));
        await page.WaitAsync($"{State} === 'running' && document.querySelector('button')");
        Assert.Equal(Run, (string?)_host.Messages.Take()["content"]!["data"]!["id"]);

        // It ends without the page being told: the kernel was restarted.
        _host.Answer = _ => new() { ["state"] = "unknown" };
        await page.WaitAsync($"{State} === 'was running when saved' && !document.querySelector('button')", 60);
    }

    [DrivesFact(Needs.Chromium)]
    public async Task Run_TakenOutOfTheDocumentForAWhile_IsNotForgotten()
    {
        var page = await OpenAsync(Running("step 1", version: 1));
        await page.WaitAsync($"{State} === 'running'");
        await page.EvaluateAsync<bool>("window.cell = document.querySelector('#out'), cell.remove(), true");
        _host.Answer = _ => new() { ["state"] = "unknown" };
        await page.WaitAsync("cell.querySelector('[data-lora-state]').textContent === 'was running when saved'", 60);
        await page.EvaluateAsync<bool>("document.body.append(cell), true");
        Assert.Equal("was running when saved", await page.EvaluateAsync<string>(State));
    }

    [DrivesFact(Needs.Chromium)]
    public async Task Run_KernelNotThere_WasRunningWhenSaved()
    {
        _host.HasKernel = false;
        var page = await OpenAsync(Running("step 1", version: 1));
        await page.WaitAsync("document.readyState === 'complete'");
        await page.WaitAsync($"document.querySelector('#out').innerText.includes('step 1') && {State} === 'was running when saved'");
        Assert.Empty(_host.Messages);
    }

    [DrivesFact(Needs.Chromium)]
    public async Task Run_LoadedAgainWhileItGoesOn_ContinuesToTheEnd()
    {
        var (first, second) = ("is answered", (string?)null);
        _host.Answer = question => new()
        {
            ["state"] = second is null ? "running" : "ended",
            ["outputs"] = new JsonArray(
            [
                .. Missed(question, "display-1", 2, first),
                .. Missed(question, "display-2", 1, "another output"),
                .. second is null ? [] : Missed(question, "display-1", 3, second),
            ]),
        };
        var page = await OpenAsync(Running("step 1", version: 1));
        await page.WaitAsync("document.body.innerText.includes('is answered') && document.body.innerText.includes('another output')", 60);
        Assert.False(await page.EvaluateAsync<bool>("document.body.innerText.includes('step 1')"));
        Assert.Equal("running", await page.EvaluateAsync<string>(State));
        Assert.True(await page.EvaluateAsync<bool>("document.body.innerText.indexOf('is answered') < document.body.innerText.indexOf('another output')"));
        second = "finished";
        await page.WaitAsync("document.body.innerText.includes('finished') && !document.body.innerText.includes('running')", 60);
        Assert.Equal(2, await page.EvaluateAsync<int>("document.querySelectorAll('[data-lora-output]').length"));
    }

    [DrivesFact(Needs.Chromium)]
    public async Task ExportedPage_ChartsWithoutPicture_AreDrawnAndNothingElseRuns()
    {
        var notebook = Notebook.Create();
        string[] figures =
        [
            """{ "data": [{ "type": "bar", "x": ["a", "b"], "y": [1, 2] }], "layout": { "title": { "text": "bars" } } }""",
            """{ "data": [{ "type": "heatmap", "z": [[1, 2], [3, 4]] }], "layout": { "title": { "text": "</script><script>window.hacked = 1</script>" } } }""",
        ];
        notebook.Add(CellKind.Code, "chart").SetOutputs([.. figures.Select(figure => new JsonObject
        {
            ["output_type"] = "display_data",
            ["metadata"] = new JsonObject(),
            ["data"] = new PlotlyFigure(figure).ToMimeBundle().ToJson(),
        }), new JsonObject
        {
            ["output_type"] = "display_data",
            ["metadata"] = new JsonObject(),
            ["data"] = new JsonObject { ["text/html"] = "<script>window.hacked = 1</script>" },
        }]);
        _host.Html = HtmlExport.Export(notebook);
        var page = await (await fixture.Browser).OpenAsync(_host.Address);
        await page.WaitAsync("document.querySelectorAll('.js-plotly-plot .main-svg').length >= 4");
        Assert.Equal("undefined", await page.EvaluateAsync<string>("typeof window.hacked"));
        await page.ScreenshotAsync("exported-charts");

        await page.ResizeAsync(420, 1000);
        await page.WaitAsync(
            "document.documentElement.scrollWidth <= 420 "
                + "&& [...document.querySelectorAll('.js-plotly-plot .main-svg')].every(svg => svg.getAttribute('width') <= 420)");
    }

    private const string Run = "run-1";
    private const string State = "document.querySelector('[data-lora-state]').textContent";

    /// <summary>An output of a run, as the kernel publishes it.</summary>
    private static string Running(string text, int version) => $"<div id=out>{Drawn(text, version, "display-1", isRunning: true)}</div>";

    private static string Drawn(string text, int version, string displayId, bool isRunning)
    {
        var bundle = MimeBundle.Empty.With(
            MimeTypes.Html,
            isRunning ? $"<b>{text}</b> <span data-lora-state=\"running\"><span>was running when saved</span></span>" : $"<b>{text}</b>");
        bundle = isRunning ? bundle.With(MimeTypes.Run, Run).With(MimeTypes.Stop, Run) : bundle;
        return PageScripts.ForPage(bundle, new PageContext(displayId, PageHost.Kernel, Run, version)).Text(MimeTypes.Html)!;
    }

    /// <summary>What the kernel answers of an output, if the page that asks has an older version.</summary>
    private static IEnumerable<JsonNode> Missed(JsonNode question, string displayId, int version, string text) =>
        (int?)question["have"]![PageScripts.Token(displayId)] >= version
            ? []
            :
            [
                new JsonObject
                {
                    ["name"] = PageScripts.Token(displayId),
                    ["version"] = version,
                    ["html"] = Drawn(text, version, displayId, isRunning: version == 2),
                },
            ];

    [DrivesTheory(Needs.Chromium)]
    [InlineData("another-kernel", "<body data-base-url=/base/>")]
    [InlineData(PageHost.Kernel, "<body>")]
    public async Task Stop_KernelOutOfReach_ShowsNoButton(string kernel, string body)
    {
        var bundle = MimeBundle.Empty.With(MimeTypes.Html, "<b>running</b>").With(MimeTypes.Stop, "offer-7");
        var page = await OpenAsync($"<div id=out>{Html(bundle, kernel: kernel)}</div>", body);
        await page.WaitAsync("document.readyState === 'complete'");
        await Task.Delay(500);
        Assert.Equal(0, await page.EvaluateAsync<int>("document.querySelectorAll('button').length"));
    }

    private const string Points = "document.querySelector('#out .js-plotly-plot').data[0].x.length";

    private static MimeBundle Chart(int points) =>
        new LineChart(ChartSeries.Of("loss", Enumerable.Range(0, points).Select(i => 1.0 / (1 + i)))) { XTitle = "step", YTitle = "loss" }.ToMimeBundle();

    private static string Html(MimeBundle bundle, string displayId = "display-1", string kernel = PageHost.Kernel) =>
        PageScripts.ForPage(bundle, new PageContext(displayId, kernel)).Text(MimeTypes.Html)!;

    private async Task<Page> OpenAsync(string html, string body = "<body data-base-url=/base/>")
    {
        _host.Html = $"<!DOCTYPE html><html><head><meta charset=utf-8></head>{body}{html}</body></html>";
        return await (await fixture.Browser).OpenAsync(_host.Address);
    }

    /// <summary>Replaces an output as notebook pages do: new elements, and its scripts are run after they are in place.</summary>
    private static Task<bool> ReplaceAsync(Page page, string html, string id = "out") => page.EvaluateAsync<bool>($$"""
        (() => {
          const old = document.querySelector('#{{id}}'), made = document.createElement('div');
          made.id = '{{id}}';
          made.innerHTML = {{JsonSerializer.Serialize(html)}};
          old.replaceWith(made);
          for (const script of made.querySelectorAll('script')) {
            const again = document.createElement('script');
            again.textContent = script.textContent;
            script.replaceWith(again);
          }
          return true;
        })()
        """);
}
