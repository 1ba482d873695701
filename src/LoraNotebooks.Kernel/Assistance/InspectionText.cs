using System.Text;
using LoraNotebooks.Kernel.Html;

namespace LoraNotebooks.Kernel.Assistance;

/// <summary>Writes inspections as plain text, Markdown and HTML.</summary>
internal static class InspectionText
{
    private const string Mark = "▸ ";

    /// <summary>Plain text for a terminal.</summary>
    public static string Plain(Inspection inspection)
    {
        var text = new StringBuilder();
        foreach (var signature in inspection.Signatures)
        {
            text.AppendLine(signature);
        }

        AppendMore(inspection, text, "… and {0} more overloads\n");
        AppendBlocks(inspection.Summary, "");
        foreach (var section in inspection.Sections)
        {
            text.AppendLine().AppendLine(section.Title + ":");
            foreach (var entry in section.Entries)
            {
                var words = string.Join(
                    "\n    ",
                    entry.Blocks.Select(block =>
                        (block.Kind == DocBlockKind.Item ? "- " : "") + Joined(block).Replace("\n", "\n    ", StringComparison.Ordinal)));
                text.Append("  ")
                    .Append(entry.IsCurrent ? Mark : "")
                    .Append(entry.Name)
                    .Append(entry.Name.Length > 0 && words.Length > 0 ? ": " : "")
                    .AppendLine(words);
            }
        }

        return text.ToString().ReplaceLineEndings("\n").TrimEnd();

        void AppendBlocks(IReadOnlyList<DocBlock> blocks, string indent)
        {
            foreach (var block in blocks)
            {
                text.AppendLine().Append(indent).Append(block.Kind == DocBlockKind.Item ? "- " : "").AppendLine(Joined(block));
            }
        }
    }

    /// <summary>Markdown; everything that is not ours is escaped.</summary>
    public static string Markdown(Inspection inspection)
    {
        var text = new StringBuilder();
        AppendFence(text, string.Join('\n', inspection.Signatures));
        AppendMore(inspection, text, "\n… and {0} more overloads\n");
        AppendBlocks(text, inspection.Summary);
        foreach (var section in inspection.Sections)
        {
            text.Append("\n**").Append(section.Title).Append("**\n");
            foreach (var entry in section.Entries)
            {
                if (entry.Name.Length == 0)
                {
                    AppendBlocks(text, entry.Blocks);
                    continue;
                }

                var words = string.Join(' ', entry.Blocks.Select(block => string.Concat(block.Spans.Select(MarkdownSpan)).ReplaceLineEndings(" ")));
                text.Append("\n- ").Append(entry.IsCurrent ? $"**{Mark}**" : "").Append(MarkdownSpan(new DocSpan(entry.Name, IsCode: true)))
                    .Append(words.Length > 0 ? ": " : "").Append(words);
            }

            text.Append('\n');
        }

        return text.ToString().TrimEnd();

        static void AppendBlocks(StringBuilder text, IReadOnlyList<DocBlock> blocks)
        {
            foreach (var block in blocks)
            {
                text.Append('\n');
                if (block.Kind == DocBlockKind.Code)
                {
                    AppendFence(text, Joined(block));
                }
                else
                {
                    text.Append(block.Kind == DocBlockKind.Item ? "- " : "").AppendJoin("", block.Spans.Select(MarkdownSpan)).Append('\n');
                }
            }
        }
    }

    /// <summary>HTML without scripts; everything that is not ours is escaped.</summary>
    public static string Html(Inspection inspection)
    {
        var html = new StringBuilder("<pre><code>").Append(SafeHtml.Escape(string.Join('\n', inspection.Signatures))).Append("</code></pre>");
        AppendMore(inspection, html, "<p>… and {0} more overloads</p>");
        AppendBlocks(html, inspection.Summary);
        foreach (var section in inspection.Sections)
        {
            html.Append("<p><b>").Append(section.Title).Append("</b></p>");
            if (section.Entries.All(entry => entry.Name.Length == 0))
            {
                AppendBlocks(html, [.. section.Entries.SelectMany(entry => entry.Blocks)]);
                continue;
            }

            html.Append("<dl>");
            foreach (var entry in section.Entries)
            {
                var name = $"<code>{SafeHtml.Escape(entry.Name)}</code>";
                html.Append("<dt>").Append(entry.IsCurrent ? $"<b>{Mark}{name}</b>" : name).Append("</dt><dd>");
                AppendBlocks(html, entry.Blocks);
                html.Append("</dd>");
            }

            html.Append("</dl>");
        }

        return html.ToString();

        static void AppendBlocks(StringBuilder html, IReadOnlyList<DocBlock> blocks)
        {
            foreach (var block in blocks)
            {
                var (open, close) = block.Kind switch
                {
                    DocBlockKind.Code => ("<pre>", "</pre>"),
                    DocBlockKind.Item => ("<ul><li>", "</li></ul>"),
                    _ => ("<p>", "</p>"),
                };
                html.Append(open)
                    .AppendJoin("", block.Spans.Select(span => span.IsCode ? $"<code>{SafeHtml.Escape(span.Text)}</code>" : SafeHtml.Escape(span.Text)))
                    .Append(close);
            }
        }
    }

    private static void AppendMore(Inspection inspection, StringBuilder text, string format)
    {
        if (inspection.More > 0)
        {
            text.AppendFormat(System.Globalization.CultureInfo.InvariantCulture, format, inspection.More);
        }
    }

    /// <summary>A block without its formatting.</summary>
    public static string Joined(DocBlock block) => string.Concat(block.Spans.Select(span => span.Text));

    private static void AppendFence(StringBuilder text, string code)
    {
        // A fence must be longer than any run of backticks inside.
        var fence = new string('`', Math.Max(3, LongestRun(code) + 1));
        text.Append(fence).Append("csharp\n").Append(code).Append('\n').Append(fence).Append('\n');
    }

    private static string MarkdownSpan(DocSpan span)
    {
        if (!span.IsCode)
        {
            var escaped = new StringBuilder();
            foreach (var letter in span.Text)
            {
                escaped.Append(@"\`*_{}[]<>()#+-!|$~&".Contains(letter, StringComparison.Ordinal) ? "\\" : "").Append(letter);
            }

            return escaped.ToString();
        }

        var ticks = new string('`', LongestRun(span.Text) + 1);
        return span.Text.Contains('`', StringComparison.Ordinal) ? $"{ticks} {span.Text} {ticks}" : $"`{span.Text}`";
    }

    private static int LongestRun(string text)
    {
        var (longest, run) = (0, 0);
        foreach (var letter in text)
        {
            run = letter == '`' ? run + 1 : 0;
            longest = Math.Max(longest, run);
        }

        return longest;
    }
}
