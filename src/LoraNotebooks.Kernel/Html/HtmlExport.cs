using System.Globalization;
using System.Reflection;
using System.Text;
using System.Text.Json.Nodes;
using LoraNotebooks.Interactive;
using LoraNotebooks.Kernel.Notebooks;
using LoraNotebooks.Kernel.Running;

namespace LoraNotebooks.Kernel.Html;

/// <summary>Settings of <see cref="HtmlExport.Export"/>.</summary>
public sealed record HtmlExportOptions
{
    /// <summary>The title of the page. Default: <c>Notebook</c>.</summary>
    public string Title { get; init; } = "Notebook";

    /// <summary>The folder that relative picture paths in Markdown start from. Default: the current directory.</summary>
    public string BaseFolder { get; init; } = Environment.CurrentDirectory;

    /// <summary>How long cells took, by cell id; shown from one second on. Default: none.</summary>
    public IReadOnlyDictionary<string, TimeSpan> Durations { get; init; } = new Dictionary<string, TimeSpan>();

    /// <summary>A line at the end of the page. Default: empty.</summary>
    public string Footer { get; init; } = "";
}

/// <summary>
/// Writes a notebook with its outputs as one HTML file that needs no other file
/// and no network; and no script, but for charts that only plotly.js can draw.
/// </summary>
/// <remarks>
/// The page forbids scripts and every outside source by its content security policy, so text of captions, prompts or outputs cannot run.
/// Of an output it shows HTML first, then a picture, then text; where a chart needs a script, the picture that comes with it.
/// A chart without a picture is drawn by <see cref="ChartScripts"/>, the one script that a page can have.
/// </remarks>
public static class HtmlExport
{
    private const string Policy =
        "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; font-src data:; media-src data:; base-uri 'none'; form-action 'none'";

    private static readonly Lazy<string> Style = new(ReadStyle);

    /// <summary>The page as a string.</summary>
    public static string Export(Notebook notebook, HtmlExportOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(notebook);
        options ??= new HtmlExportOptions();
        var charts = new ChartScripts();
        var body = Body(notebook, options, charts);
        var page = new StringBuilder();
        page.Append("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n")
            .Append(CultureInfo.InvariantCulture, $"<meta http-equiv=\"Content-Security-Policy\" content=\"{Policy}{charts.Policy}\">\n")
            .Append("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n")
            .Append("<title>").Append(SafeHtml.Escape(options.Title))
            .Append("</title>\n<style>\n").Append(Style.Value).Append("</style>\n</head>\n<body>\n<main>\n").Append(body).Append("</main>\n");
        if (options.Footer.Length > 0)
        {
            page.Append("<footer>").Append(SafeHtml.Escape(options.Footer)).Append("</footer>\n");
        }

        return page.Append(charts.Element).Append("</body>\n</html>\n").ToString();
    }

    private static StringBuilder Body(Notebook notebook, HtmlExportOptions options, ChartScripts charts)
    {
        var page = new StringBuilder();
        AppendFailures(page, notebook);
        var markdown = new MarkdownHtml(options.BaseFolder);
        foreach (var cell in notebook.Cells)
        {
            switch (cell.Kind)
            {
                case CellKind.Markdown:
                    page.Append("<section class=\"prose\">\n").Append(markdown.ToHtml(cell.Source, cell.Attachments)).Append("</section>\n");
                    break;
                case CellKind.Code when cell.Source.AsSpan().Trim().Length > 0 || cell.Outputs.Count > 0:
                    AppendCode(page, cell, markdown, options, charts);
                    break;
                case CellKind.Raw:
                    page.Append("<pre class=\"raw\">").Append(SafeHtml.Escape(cell.Source)).Append("</pre>\n");
                    break;
            }
        }

        return page;
    }

    private static void AppendFailures(StringBuilder page, Notebook notebook)
    {
        foreach (var cell in notebook.Cells.Where(cell => !cell.MayFail() && cell.Outputs.Any(output => Type(output) == "error")))
        {
            var error = cell.Outputs.First(output => Type(output) == "error")!;
            page.Append(CultureInfo.InvariantCulture, $"<p class=\"failure\"><a href=\"#{Anchor(cell)}\">Cell {cell.ExecutionCount} did not finish</a>: ")
                .Append(SafeHtml.Escape(FirstLine(Notebook.JoinText(error["evalue"])))).Append("</p>\n");
        }
    }

    private static void AppendCode(StringBuilder page, NotebookCell cell, MarkdownHtml markdown, HtmlExportOptions options, ChartScripts charts)
    {
        page.Append(CultureInfo.InvariantCulture, $"<section class=\"cell\" id=\"{Anchor(cell)}\" aria-label=\"Cell {cell.ExecutionCount}\">\n")
            .Append(CultureInfo.InvariantCulture, $"<div class=\"label\"><span>{cell.ExecutionCount}</span>");
        if (cell.Id is { } id && options.Durations.TryGetValue(id, out var elapsed) && elapsed.TotalSeconds >= 1)
        {
            page.Append("<span class=\"time\">").Append(Durations.Format(elapsed)).Append("</span>");
        }

        page.Append("</div>\n<pre class=\"code\"><code>").Append(CSharpHighlighter.ToHtml(cell.Source.TrimEnd())).Append("</code></pre>\n");
        foreach (var output in cell.Outputs.OfType<JsonObject>())
        {
            AppendOutput(page, output, markdown, charts);
        }

        page.Append("</section>\n");
    }

    private static void AppendOutput(StringBuilder page, JsonObject output, MarkdownHtml markdown, ChartScripts charts)
    {
        switch (Type(output))
        {
            case "stream":
                var css = Notebook.JoinText(output["name"]) == "stderr" ? "stream error" : "stream";
                page.Append(CultureInfo.InvariantCulture, $"<pre class=\"output {css}\">{Terminal(Notebook.JoinText(output["text"]))}</pre>\n");
                break;
            case "error":
                var lines = (output["traceback"] as JsonArray)?.Select(Notebook.JoinText) ?? [];
                var text = string.Join('\n', lines);
                text = text.Length > 0 ? text : $"{output["ename"]}: {output["evalue"]}";
                page.Append("<pre class=\"output failed\">").Append(Terminal(text)).Append("</pre>\n");
                break;
            case "execute_result" or "display_data" when output["data"] is JsonObject data:
                page.Append("<div class=\"output rich\">").Append(Rich(data, markdown, charts)).Append("</div>\n");
                break;
        }
    }

    /// <summary>The best form of a bundle that works without a script of its own.</summary>
    private static string Rich(JsonObject data, MarkdownHtml markdown, ChartScripts charts)
    {
        var html = data.ContainsKey(MimeTypes.Html) ? Notebook.JoinText(data[MimeTypes.Html]) : null;
        var picture = Picture(data);
        var plain = data.ContainsKey(MimeTypes.PlainText) ? Notebook.JoinText(data[MimeTypes.PlainText]) : null;
        if (picture is null && data[MimeTypes.Plotly] is JsonObject figure)
        {
            return charts.Place(figure, $"<p>{SafeHtml.Escape(FirstLine(plain ?? "chart"))}</p>");
        }

        var needsScript = html is not null && html.Contains("<script", StringComparison.OrdinalIgnoreCase);
        return html is not null && !(needsScript && picture is not null) ? html
            : picture is not null ? $"<img src=\"{SafeHtml.Escape(picture)}\" alt=\"{SafeHtml.Escape(FirstLine(plain ?? "picture"))}\">"
            : data.ContainsKey(MimeTypes.Markdown) ? markdown.ToHtml(Notebook.JoinText(data[MimeTypes.Markdown]))
            : plain is not null ? $"<pre>{Terminal(plain)}</pre>"
            : data.ContainsKey(MimeTypes.Json) ? $"<pre>{SafeHtml.Escape(data[MimeTypes.Json]?.ToJsonString() ?? "")}</pre>"
            : $"<pre>({SafeHtml.Escape(string.Join(", ", data.Select(form => form.Key)))})</pre>";
    }

    private static string? Picture(JsonObject data) => ((string[])[MimeTypes.Png, MimeTypes.Jpeg])
        .Where(data.ContainsKey)
        .Select(type => $"data:{type};base64,{Notebook.JoinText(data[type]).ReplaceLineEndings("")}")
        .FirstOrDefault()
        // An SVG inside img cannot run scripts.
        ?? (data["image/svg+xml"] is { } svg ? "data:image/svg+xml;base64," + Convert.ToBase64String(Encoding.UTF8.GetBytes(Notebook.JoinText(svg))) : null);

    /// <summary>Text as a terminal would leave it: in its colours, and with overwritten lines folded.</summary>
    private static string Terminal(string text) => string.Concat(AnsiText.Runs(TerminalText.Fold(text)).Select(run =>
        run is { Letters: null, IsBold: false } ? SafeHtml.Escape(run.Text)
        : $"<span class=\"{(run.Letters is { } colour ? $"a{colour & 7}" : "")}{(run.IsBold ? " b" : "")}\">{SafeHtml.Escape(run.Text)}</span>"));

    private static string Type(JsonNode? output) => Notebook.JoinText(output?["output_type"]);

    private static string Anchor(NotebookCell cell) => "cell-" + SafeHtml.Escape(cell.Id ?? "");

    private static string FirstLine(string text) => text.Trim().Split('\n', 2)[0];

    private static string ReadStyle()
    {
        using var stream = Assembly.GetExecutingAssembly().GetManifestResourceStream("page.css")!;
        using var reader = new StreamReader(stream);
        return reader.ReadToEnd();
    }
}
