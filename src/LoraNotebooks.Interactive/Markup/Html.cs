using System.Buffers;
using System.Collections.Frozen;
using System.Text;

namespace LoraNotebooks.Interactive;

/// <summary>
/// A piece of HTML that is escaped by construction: captions, tags and prompts can enter it only as text or as attribute values.
/// </summary>
/// <remarks>
/// There is no way to put markup in as a string. Elements and attributes are a short list of harmless ones: no script, style or svg
/// element, no event attribute, and an image's source is always data. That is also what an untrusted notebook and GitHub let through.
/// </remarks>
public sealed class Html
{
    private static readonly FrozenSet<string> Elements = FrozenSet.ToFrozenSet(
    [
        "b", "br", "caption", "code", "details", "div", "em", "h3", "h4", "hr", "i", "img", "li", "ol", "p", "pre", "s", "small",
        "span", "strong", "sub", "summary", "sup", "table", "tbody", "td", "th", "thead", "tr", "ul",
    ]);

    private static readonly FrozenSet<string> Attributes = FrozenSet.ToFrozenSet(
    [
        "align", "alt", "aria-label", "aria-valuemax", "aria-valuemin", "aria-valuenow", "colspan", "data-lora-state", "height", "open", "role",
        "rowspan", "scope", "src", "style", "title", "valign", "width",
    ]);

    private static readonly FrozenSet<string> VoidTags = FrozenSet.ToFrozenSet(["br", "hr", "img"]);

    private static readonly SearchValues<char> Special = SearchValues.Create(
        [.. "&<>\"'`$", .. Enumerable.Range(0, 0xa0).Select(i => (char)i).Where(c => char.IsControl(c) && c is not ('\n' or '\t'))]);

    private readonly string _markup;

    private Html(string markup) => _markup = markup;

    /// <summary>Nothing.</summary>
    public static Html Empty { get; } = new("");

    /// <summary>Text; everything that HTML gives a meaning to is escaped, control characters are dropped.</summary>
    /// <remarks>
    /// Jupyter's pages typeset what stands between dollars or behind backslashes in one
    /// run of text, entities or not. In an element of its own a mark is only a mark.
    /// </remarks>
    public static Html Text(string? text) => string.IsNullOrEmpty(text)
        ? Empty
        : new(Escape(text).Replace("&#36;", "<span>&#36;</span>", StringComparison.Ordinal).Replace("\\", "<span>\\</span>", StringComparison.Ordinal));

    /// <summary>A string is text, never markup.</summary>
    public static implicit operator Html(string? text) => Text(text);

    /// <summary>Pieces one after the other.</summary>
    public static Html Concat(IEnumerable<Html> parts) => new(string.Concat(parts.Select(part => part._markup)));

    /// <summary>An element without attributes.</summary>
    public static Html Element(string name, params ReadOnlySpan<Html> children) => Element(name, [], children);

    /// <summary>An element.</summary>
    /// <param name="name">One of the harmless element names, in lower case.</param>
    /// <param name="attributes">Names and values; an attribute whose value is <see langword="null"/> is left out.</param>
    /// <param name="children">The content.</param>
    /// <exception cref="ArgumentException">An element or attribute that displays may not use, or an image source that is not data.</exception>
    public static Html Element(string name, ReadOnlySpan<(string Name, string? Value)> attributes, params ReadOnlySpan<Html> children)
    {
        if (!Elements.Contains(name))
        {
            throw new ArgumentException($"Got the element '{name}'; displays may use only: {string.Join(", ", Elements.Order())}.", nameof(name));
        }

        var markup = new StringBuilder("<").Append(name);
        foreach (var (attribute, value) in attributes)
        {
            if (value is null)
            {
                continue;
            }

            Check(name, attribute, value);
            markup.Append(' ').Append(attribute).Append("=\"").Append(Escape(value)).Append('"');
        }

        markup.Append('>');
        if (VoidTags.Contains(name))
        {
            return children.Length == 0 ? new(markup.ToString()) : throw new ArgumentException($"A '{name}' element has no content.", nameof(children));
        }

        foreach (var child in children)
        {
            markup.Append(child._markup);
        }

        return new(markup.Append("</").Append(name).Append('>').ToString());
    }

    /// <summary>The markup.</summary>
    public override string ToString() => _markup;

    private static void Check(string element, string attribute, string value)
    {
        if (!Attributes.Contains(attribute))
        {
            throw new ArgumentException($"Got the attribute '{attribute}' on '{element}'; displays may use only: {string.Join(", ", Attributes.Order())}.");
        }

        if (attribute == "src"
            && !value.StartsWith("data:image/png;base64,", StringComparison.Ordinal)
            && !value.StartsWith("data:image/jpeg;base64,", StringComparison.Ordinal))
        {
            throw new ArgumentException("An image's source must be PNG or JPEG data, so that the page needs nothing from outside.");
        }

        if (attribute == "style" && value.Contains("url(", StringComparison.OrdinalIgnoreCase))
        {
            throw new ArgumentException("A style must not load anything: url(…) is not allowed.");
        }
    }

    private static string Escape(string text)
    {
        // Most texts need nothing, and an image's data is long.
        if (!text.AsSpan().ContainsAny(Special))
        {
            return text;
        }

        var escaped = new StringBuilder(text.Length + 16);
        foreach (var c in text)
        {
            _ = c switch
            {
                '&' => escaped.Append("&amp;"),
                '<' => escaped.Append("&lt;"),
                '>' => escaped.Append("&gt;"),
                '"' => escaped.Append("&quot;"),
                '\'' => escaped.Append("&#39;"),
                // A front end that runs Markdown or MathJax over the output must not find anything to do.
                '`' => escaped.Append("&#96;"),
                '$' => escaped.Append("&#36;"),
                '\n' or '\t' => escaped.Append(c),
                _ when char.IsControl(c) => escaped,
                _ => escaped.Append(c),
            };
        }

        return escaped.ToString();
    }
}
