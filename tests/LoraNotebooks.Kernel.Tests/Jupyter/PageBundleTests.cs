using System.Text.Json.Nodes;
using LoraNotebooks.Interactive;
using LoraNotebooks.Kernel.Jupyter;

namespace LoraNotebooks.Kernel.Tests.Jupyter;

/// <summary>What the page script adds to a bundle; Jupyter.Tests runs it in a browser.</summary>
public sealed class PageBundleTests
{
    private static readonly PageContext Context = new("display-1", "kernel-1");

    [Fact]
    public void ForPage_NothingForAScript_IsTheSameBundle()
    {
        var bundle = MimeBundle.FromText("text").With(MimeTypes.Html, "<b>text</b>");
        Assert.Same(bundle, PageScripts.ForPage(bundle, Context));
    }

    [Fact]
    public void ForPage_Figure_KeepsTheHtmlWholeInFrontOfAShortScript()
    {
        var bundle = MimeBundle.FromText("chart").With(MimeTypes.Html, "<img alt=\"chart\">").With(MimeTypes.Plotly, JsonNode.Parse("""{ "data": [] }""")!);
        var page = PageScripts.ForPage(bundle, Context);
        var html = page.Text(MimeTypes.Html)!;
        var script = html.IndexOf("<script>", StringComparison.Ordinal);

        Assert.Matches("""\A<div data-lora="[0-9a-f]{16}"><img alt="chart"></div>\z""", html[..script]);
        Assert.EndsWith("</script>", html, StringComparison.Ordinal);
        Assert.InRange(html.Length - script, 500, 9_000);
        Assert.Equal(bundle.Node(MimeTypes.Plotly)!.ToJsonString(), page.Node(MimeTypes.Plotly)!.ToJsonString());
        Assert.Equal(html, PageScripts.ForPage(bundle, Context).Text(MimeTypes.Html));
    }

    [Theory]
    [InlineData("</script>")]
    [InlineData("<!--")]
    [InlineData("'\"\\`&\u2028\u2029\n")]
    public void ForPage_FigureWithMarkup_BringsNoneIntoTheScript(string text)
    {
        var bundle = MimeBundle.FromText("").With(MimeTypes.Html, "").With(MimeTypes.Plotly, new JsonObject { [text] = text });
        var html = PageScripts.ForPage(bundle, Context with { DisplayId = text }).Text(MimeTypes.Html)!;
        var call = html[html.IndexOf(".chart(", StringComparison.Ordinal)..^"</script>".Length];
        Assert.DoesNotContain(call, c => c is '<' or '>' or '&' or '\u2028' or '\u2029' or '\n' or '`');

        // What a script reads from the literal is the JSON.
        var literal = call[(call.IndexOf("JSON.parse('", StringComparison.Ordinal) + "JSON.parse('".Length)..call.LastIndexOf('\'')];
        Assert.Equal(text, (string?)JsonNode.Parse(literal.Replace("\\\\", "\\", StringComparison.Ordinal))![text]);
    }

    [Theory]
    [InlineData("kernel-1", true)]
    [InlineData(null, false)]
    public void ForPage_StopOffer_BecomesAButtonWhereTheKernelIsKnown(string? kernel, bool hasScript)
    {
        var bundle = MimeBundle.FromText("running").With(MimeTypes.Html, "<b>running</b>").With(MimeTypes.Stop, "offer-1");
        var page = PageScripts.ForPage(bundle, Context with { KernelId = kernel });
        Assert.DoesNotContain(MimeTypes.Stop, page.Types);
        Assert.StartsWith("<b>running</b>", page.Text(MimeTypes.Html), StringComparison.Ordinal);
        Assert.Equal(hasScript, page.Text(MimeTypes.Html)!.Contains("\"offer-1\",\"kernel-1\"", StringComparison.Ordinal));
    }
}
