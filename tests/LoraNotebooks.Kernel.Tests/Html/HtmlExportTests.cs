using System.Text.Json.Nodes;
using LoraNotebooks.Kernel.Html;
using LoraNotebooks.Kernel.Notebooks;

namespace LoraNotebooks.Kernel.Tests.Html;

public sealed class HtmlExportTests
{
    private const string Hostile = "</pre></style><script>alert(1)</script><img src=x onerror=alert(2)>";

    [Fact]
    public void Export_HostileTextEverywhere_IsEscaped()
    {
        var notebook = Notebook.Create();
        notebook.Add(
            CellKind.Markdown,
            $"# {Hostile}\n\n{Hostile}\n\n[link](javascript:alert(3)) <javascript:alert(4)> "
                + $"![{Hostile}](http://example.org/x.png)\n\n$<script>x</script>$\n\n```\n{Hostile}\n```");
        notebook.Add(CellKind.Raw, Hostile);
        var code = notebook.Add(CellKind.Code, $"// {Hostile}\nvar s = \"{Hostile}\";");
        code.Id = "\"><script>alert(5)</script>";
        code.SetOutputs(
        [
            new JsonObject { ["output_type"] = "stream", ["name"] = Hostile, ["text"] = Hostile },
            new JsonObject { ["output_type"] = "error", ["ename"] = Hostile, ["evalue"] = Hostile, ["traceback"] = new JsonArray(Hostile) },
            Display(("text/plain", Hostile)),
            Display(("text/markdown", Hostile)),
            Display(("image/png", $"\"{Hostile}"), ("text/plain", Hostile)),
            Display((Hostile, "x")),
        ]);
        var page = HtmlExport.Export(notebook, new HtmlExportOptions { Title = Hostile, Footer = Hostile });
        Assert.DoesNotContain("<script", page, StringComparison.OrdinalIgnoreCase);
        Assert.DoesNotContain("<img src=x", page, StringComparison.OrdinalIgnoreCase);
        Assert.DoesNotContain("=\"javascript:", page, StringComparison.OrdinalIgnoreCase);
        Assert.DoesNotContain("src=\"http", page, StringComparison.Ordinal);
        Assert.Equal(1, Count(page, "</style>"));
    }

    [Fact]
    public void Export_Page_ForbidsScriptsAndOtherSources()
    {
        var page = HtmlExport.Export(Notebook.Create());
        Assert.Contains("Content-Security-Policy\" content=\"default-src 'none'; img-src data: blob:;", page, StringComparison.Ordinal);
    }

    [Fact]
    public void Export_ChartThatNeedsAScript_ShowsItsPicture()
    {
        var notebook = Notebook.Create();
        notebook.Add(CellKind.Code, "chart").SetOutputs(
        [
            Display(
                ("text/html", "<div>needs plotly</div><script>draw()</script>"),
                ("application/vnd.plotly.v1+json", "{}"),
                ("image/png", "QUJD"),
                ("text/plain", "loss chart")),
        ]);
        var page = HtmlExport.Export(notebook);
        Assert.Contains("<img src=\"data:image/png;base64,QUJD\" alt=\"loss chart\">", page, StringComparison.Ordinal);
        Assert.DoesNotContain("needs plotly", page, StringComparison.Ordinal);
    }

    [Fact]
    public void Export_ChartWithoutPicture_BringsTheOneScriptThatThePageAllows()
    {
        var notebook = Notebook.Create();
        var output = Display(("text/html", "<div>own</div><script>drawMine()</script>"), ("text/plain", "bar chart"));
        output["data"]!["application/vnd.plotly.v1+json"] = JsonNode.Parse(
            """{ "data": [{ "type": "bar", "name": "</script><script>alert(1)</script>" }], "layout": {} }""");
        notebook.Add(CellKind.Code, "chart").SetOutputs([output]);
        var page = HtmlExport.Export(notebook);
        var scripts = System.Text.RegularExpressions.Regex.Matches(page, "<script>(.*?)</script>", System.Text.RegularExpressions.RegexOptions.Singleline);
        var script = Assert.Single(scripts).Groups[1].Value;
        var hash = Convert.ToBase64String(System.Security.Cryptography.SHA256.HashData(System.Text.Encoding.UTF8.GetBytes(script)));
        Assert.Contains($"; script-src 'sha256-{hash}'\"", page, StringComparison.Ordinal);
        Assert.Contains("<div class=\"chart\"><p>bar chart</p></div><script type=\"application/json\" data-figure>", page, StringComparison.Ordinal);
        Assert.DoesNotContain("alert(1)</script>", page, StringComparison.Ordinal);
        Assert.DoesNotContain("drawMine()", page, StringComparison.Ordinal);
    }

    [Fact]
    public void Export_HtmlDisplay_IsPreferredToText()
    {
        var notebook = Notebook.Create();
        notebook.Add(CellKind.Code, "table").SetOutputs(
        [
            Display(("text/html", "<table><tr><td>rich</td></tr></table>"), ("image/png", "QUJD"), ("text/plain", "plain form")),
        ]);
        var page = HtmlExport.Export(notebook);
        Assert.Contains("<td>rich</td>", page, StringComparison.Ordinal);
        Assert.DoesNotContain("plain form", page, StringComparison.Ordinal);
    }

    [Fact]
    public void Export_RelativePicture_IsInlined()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllBytes(folder.File("a b.png"), [1, 2, 3]);
        var notebook = Notebook.Create();
        notebook.Add(CellKind.Markdown, "![one](a%20b.png)\n\n<img src=\"a b.png\" width=\"200\" onload=\"x()\">\n\n![gone](gone.png)");
        var page = HtmlExport.Export(notebook, new HtmlExportOptions { BaseFolder = folder.Path });
        Assert.Equal(2, Count(page, "src=\"data:image/png;base64,AQID\""));
        Assert.Contains("width=\"200\"", page, StringComparison.Ordinal);
        Assert.DoesNotContain("onload", page, StringComparison.Ordinal);
    }

    [Fact]
    public void Export_TerminalControls_BecomeColoursAndFoldedLines()
    {
        var notebook = Notebook.Create();
        notebook.Add(CellKind.Code, "x").SetOutputs(
        [
            new JsonObject { ["output_type"] = "stream", ["name"] = "stdout", ["text"] = "\u001b[31mred\u001b[0m\n10 %\r50 %\r100 %\r\n" },
        ]);
        Assert.Contains("><span class=\"a1\">red</span>\n100 %\n</pre>", HtmlExport.Export(notebook), StringComparison.Ordinal);
    }

    [Fact]
    public void Export_LinkToAnotherNotebook_LeadsToItsPage()
    {
        var notebook = Notebook.Create();
        notebook.Add(CellKind.Markdown, "[next](02-prepare.ipynb)");
        Assert.Contains("href=\"02-prepare.html\"", HtmlExport.Export(notebook), StringComparison.Ordinal);
    }

    [Fact]
    public void Export_UnterminatedCode_StillShowsAllOfIt()
    {
        var notebook = Notebook.Create();
        notebook.Add(CellKind.Code, "var s = \"open\nvar broken = (;\n/* never closed");
        var page = HtmlExport.Export(notebook);
        Assert.Contains("never closed", page, StringComparison.Ordinal);
        Assert.Contains("broken", page, StringComparison.Ordinal);
    }

    private static JsonObject Display(params (string Type, string Content)[] forms) => new()
    {
        ["output_type"] = "display_data",
        ["metadata"] = new JsonObject(),
        ["data"] = new JsonObject(forms.Select(form => KeyValuePair.Create(form.Type, (JsonNode?)form.Content))),
    };

    private static int Count(string text, string part) => text.Split(part).Length - 1;
}
