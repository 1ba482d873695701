using System.Text.Json.Nodes;
using Markdig;
using Markdig.Extensions.Mathematics;
using Markdig.Renderers;
using Markdig.Renderers.Html;
using Markdig.Renderers.Html.Inlines;
using Markdig.Syntax;
using Markdig.Syntax.Inlines;

namespace LoraNotebooks.Kernel.Html;

/// <summary>Markdown cells as HTML: formulas as MathML, C# coloured, pictures inlined, nothing that could run.</summary>
/// <param name="baseFolder">The folder that relative picture paths start from.</param>
internal sealed class MarkdownHtml(string baseFolder)
{
    private const long MaximumPictureBytes = 10 << 20;

    private static readonly Dictionary<string, string> PictureTypes = new(StringComparer.OrdinalIgnoreCase)
    {
        [".png"] = "image/png",
        [".jpg"] = "image/jpeg",
        [".jpeg"] = "image/jpeg",
        [".gif"] = "image/gif",
        [".webp"] = "image/webp",
        [".svg"] = "image/svg+xml",
    };

    private static readonly MarkdownPipeline Pipeline = new MarkdownPipelineBuilder()
        .UsePipeTables().UseMathematics().UseEmphasisExtras().UseAutoIdentifiers().UseAutoLinks().UseTaskLists().UseFootnotes()
        .Build();

    /// <summary>One Markdown text as HTML.</summary>
    /// <param name="markdown">The source.</param>
    /// <param name="attachments">Pictures that the cell carries: name to MIME bundle.</param>
    public string ToHtml(string markdown, JsonObject? attachments = null)
    {
        var document = Markdown.Parse(markdown, Pipeline);
        string? Source(string url) => PictureSource(url, attachments);
        foreach (var link in document.Descendants<LinkInline>().ToArray())
        {
            Tame(link, Source);
        }

        foreach (var link in document.Descendants<AutolinkInline>().Where(link => !link.IsEmail && !SafeHtml.IsSafeLink(link.Url)).ToArray())
        {
            link.ReplaceBy(new LiteralInline(link.Url));
        }

        using var writer = new StringWriter();
        var renderer = new HtmlRenderer(writer);
        Pipeline.Setup(renderer);
        Use<HtmlMathInlineRenderer>(renderer, new MathInlineHtml());
        Use<CodeBlockRenderer>(renderer, new CodeHtml());
        // To Markdig a formula is a kind of code block: its renderer has to be asked first.
        Use<HtmlMathBlockRenderer>(renderer, new MathBlockHtml());
        Use<HtmlInlineRenderer>(renderer, new InlineHtml(Source));
        Use<HtmlBlockRenderer>(renderer, new BlockHtml(Source));
        renderer.Render(document);
        return writer.ToString();
    }

    private static void Use<TOld>(HtmlRenderer renderer, IMarkdownObjectRenderer renderWith)
        where TOld : IMarkdownObjectRenderer
    {
        renderer.ObjectRenderers.RemoveAll(old => old is TOld);
        renderer.ObjectRenderers.Insert(0, renderWith);
    }

    private static void Tame(LinkInline link, Func<string, string?> picture)
    {
        var url = link.GetDynamicUrl?.Invoke() ?? link.Url ?? "";
        link.GetDynamicUrl = null;
        if (link.IsImage && picture(url) is { } source)
        {
            link.Url = source;
            return;
        }

        // A picture from elsewhere would break the page offline and tell others who reads it: it becomes a link.
        if (link.IsImage && link.FirstChild is null)
        {
            link.AppendChild(new LiteralInline(url));
        }

        link.IsImage = false;
        // The pages of a run lie side by side like the notebooks.
        link.Url = !SafeHtml.IsSafeLink(url) ? "#"
            : url.EndsWith(".ipynb", StringComparison.OrdinalIgnoreCase) && !url.Contains(':', StringComparison.Ordinal) ? url[..^6] + ".html"
            : url;
    }

    private string? PictureSource(string url, JsonObject? attachments)
    {
        if (url.StartsWith("attachment:", StringComparison.Ordinal))
        {
            var bundle = attachments?[Uri.UnescapeDataString(url["attachment:".Length..])] as JsonObject;
            return bundle?.Where(form => PictureTypes.ContainsValue(form.Key) && form.Value is JsonValue)
                .Select(form => $"data:{form.Key};base64,{form.Value}")
                .FirstOrDefault();
        }

        if (PictureTypes.Values.Any(type => url.StartsWith($"data:{type};base64,", StringComparison.Ordinal)))
        {
            return url;
        }

        if (url.Contains(':', StringComparison.Ordinal) || !PictureTypes.TryGetValue(Path.GetExtension(url), out var mime) || Path.IsPathRooted(url))
        {
            return null;
        }

        var file = new FileInfo(Path.Combine(baseFolder, Uri.UnescapeDataString(url)));
        return file.Exists && file.Length <= MaximumPictureBytes ? $"data:{mime};base64,{Convert.ToBase64String(File.ReadAllBytes(file.FullName))}" : null;
    }

    private sealed class MathInlineHtml : HtmlObjectRenderer<MathInline>
    {
        protected override void Write(HtmlRenderer renderer, MathInline math) =>
            renderer.Write(MathMl.Convert(math.Content.ToString(), isBlock: math.DelimiterCount > 1));
    }

    private sealed class MathBlockHtml : HtmlObjectRenderer<MathBlock>
    {
        protected override void Write(HtmlRenderer renderer, MathBlock math) =>
            renderer.Write("<div class=\"math\">").Write(MathMl.Convert(math.Lines.ToString(), isBlock: true)).Write("</div>\n");
    }

    private sealed class CodeHtml : HtmlObjectRenderer<CodeBlock>
    {
        protected override void Write(HtmlRenderer renderer, CodeBlock code)
        {
            var text = code.Lines.ToString();
            var isCSharp = (code as FencedCodeBlock)?.Info is "csharp" or "cs" or "c#" or "C#";
            renderer.Write("<pre class=\"code\"><code>").Write(isCSharp ? CSharpHighlighter.ToHtml(text) : SafeHtml.Escape(text)).Write("</code></pre>\n");
        }
    }

    private sealed class InlineHtml(Func<string, string?> picture) : HtmlObjectRenderer<HtmlInline>
    {
        protected override void Write(HtmlRenderer renderer, HtmlInline html) => renderer.Write(SafeHtml.Filter(html.Tag, picture));
    }

    private sealed class BlockHtml(Func<string, string?> picture) : HtmlObjectRenderer<HtmlBlock>
    {
        protected override void Write(HtmlRenderer renderer, HtmlBlock html) => renderer.Write(SafeHtml.Filter(html.Lines.ToString(), picture)).Write("\n");
    }
}
