using System.Net;
using System.Text;
using System.Text.RegularExpressions;

namespace LoraNotebooks.Kernel.Html;

/// <summary>Lets the few harmless tags of Markdown cells through and shows every other one as text.</summary>
internal static partial class SafeHtml
{
    private static readonly HashSet<string> PlainTags = new(StringComparer.OrdinalIgnoreCase)
    {
        "br", "hr", "sub", "sup", "kbd", "b", "i", "em", "strong", "code", "details", "summary", "p", "div", "center", "small", "u", "s",
    };

    private static readonly HashSet<string> AllowedSchemes = new(StringComparer.OrdinalIgnoreCase) { "http", "https", "mailto" };

    /// <summary>Text as HTML, in an element or in a quoted attribute.</summary>
    public static string Escape(string text) => text
        .Replace("&", "&amp;", StringComparison.Ordinal)
        .Replace("<", "&lt;", StringComparison.Ordinal)
        .Replace(">", "&gt;", StringComparison.Ordinal)
        .Replace("\"", "&quot;", StringComparison.Ordinal)
        .Replace("'", "&#39;", StringComparison.Ordinal);

    /// <summary>Raw HTML from a Markdown cell: allowed tags without their attributes, pictures through <paramref name="picture"/>, the rest escaped.</summary>
    /// <param name="html">The raw markup.</param>
    /// <param name="picture">Gives the <c>src</c> of a picture that the page may show, or null.</param>
    public static string Filter(string html, Func<string, string?> picture)
    {
        var safe = new StringBuilder();
        var at = 0;
        foreach (Match tag in Tag().Matches(html))
        {
            AppendText(html[at..tag.Index]);
            at = tag.Index + tag.Length;
            var name = tag.Groups["name"].Value;
            if (tag.Value.StartsWith("<!--", StringComparison.Ordinal))
            {
                continue;
            }

            if (name.Equals("img", StringComparison.OrdinalIgnoreCase) && Picture(tag.Value, picture) is { } image)
            {
                safe.Append(image);
            }
            else if (PlainTags.Contains(name))
            {
                safe.Append(tag.Value.StartsWith("</", StringComparison.Ordinal) ? "</" : "<").Append(name.ToLowerInvariant()).Append('>');
            }
            else
            {
                AppendText(tag.Value);
            }
        }

        AppendText(html[at..]);
        return safe.ToString();

        void AppendText(string text) => safe.Append(Escape(WebUtility.HtmlDecode(text)));
    }

    /// <summary>Whether a link may be followed: a place in the page, a relative path, or the web; never a script.</summary>
    public static bool IsSafeLink(string url)
    {
        var trimmed = WebUtility.HtmlDecode(url).Trim();
        var scheme = trimmed.AsSpan().IndexOfAny(":/?#");
        return trimmed.All(letter => !char.IsControl(letter)) && (scheme < 0 || trimmed[scheme] != ':' || AllowedSchemes.Contains(trimmed[..scheme]));
    }

    private static string? Picture(string tag, Func<string, string?> picture)
    {
        var attributes = Attribute().Matches(tag).ToLookup(
            match => match.Groups["name"].Value.ToLowerInvariant(),
            match => WebUtility.HtmlDecode(match.Groups["value"].Value));
        if (attributes["src"].FirstOrDefault() is not { } source || picture(source) is not { } shown)
        {
            return null;
        }

        var html = new StringBuilder("<img src=\"").Append(Escape(shown)).Append('"');
        foreach (var name in (string[])["alt", "width", "height"])
        {
            if (attributes[name].FirstOrDefault() is { } value)
            {
                html.Append(' ').Append(name).Append("=\"").Append(Escape(value)).Append('"');
            }
        }

        return html.Append('>').ToString();
    }

    [GeneratedRegex(
        """<!--.*?-->|</?(?<name>[A-Za-z][A-Za-z0-9-]*)(?:\s+[^\s"'<>/=]+(?:\s*=\s*(?:"[^"]*"|'[^']*'|[^\s"'=<>`]+))?)*\s*/?>""",
        RegexOptions.Singleline,
        matchTimeoutMilliseconds: 2000)]
    private static partial Regex Tag();

    [GeneratedRegex(
        """\s(?<name>[A-Za-z-]+)\s*=\s*(?:"(?<value>[^"]*)"|'(?<value>[^']*)'|(?<value>[^\s"'=<>`]+))""",
        RegexOptions.None,
        matchTimeoutMilliseconds: 2000)]
    private static partial Regex Attribute();
}
