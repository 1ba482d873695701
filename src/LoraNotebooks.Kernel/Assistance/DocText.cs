using System.Xml.Linq;

namespace LoraNotebooks.Kernel.Assistance;

/// <summary>A piece of running text.</summary>
/// <param name="Text">The words.</param>
/// <param name="IsCode">Whether it is a name or an expression.</param>
internal readonly record struct DocSpan(string Text, bool IsCode = false);

/// <summary>What a block of documentation is.</summary>
internal enum DocBlockKind
{
    /// <summary>Running text.</summary>
    Paragraph,

    /// <summary>An entry of a list.</summary>
    Item,

    /// <summary>Lines of code, one span.</summary>
    Code,
}

/// <summary>A block of documentation.</summary>
internal sealed record DocBlock(DocBlockKind Kind, IReadOnlyList<DocSpan> Spans);

/// <summary>Reads the elements of XML documentation comments.</summary>
internal static class DocText
{
    /// <summary>The blocks of an element's content; empty if it says nothing.</summary>
    public static IReadOnlyList<DocBlock> Read(XElement element)
    {
        var reader = new Reader();
        reader.Read(element);
        return reader.Finish();
    }

    /// <summary>A documentation id such as <c>M:System.String.Join(System.String,System.Object[])</c> as a reader would write it: <c>String.Join</c>.</summary>
    public static string NameOf(string id)
    {
        var isTyped = id.Length > 1 && id[1] == ':';
        var name = (isTyped ? id[2..] : id).Split('(')[0];
        var words = name.Split('.').Select(word => word.Split('`', '{')[0]).ToArray();
        var isMember = isTyped && id[0] is not ('T' or 'N');
        return isTyped && id[0] == 'N' ? name
            : isMember && words is [.., var owner, "#ctor"] ? owner
            : string.Join('.', words[^Math.Min(words.Length, isMember ? 2 : 1)..]);
    }

    private sealed class Reader
    {
        private readonly List<DocBlock> _blocks = [];
        private readonly List<DocSpan> _spans = [];
        private DocBlockKind _kind;

        public void Read(XContainer container)
        {
            foreach (var node in container.Nodes())
            {
                if (node is XText text)
                {
                    Words(text.Value);
                }
                else if (node is XElement element)
                {
                    Element(element);
                }
            }
        }

        public IReadOnlyList<DocBlock> Finish()
        {
            End();
            return _blocks;
        }

        private void Element(XElement element)
        {
            switch (element.Name.LocalName)
            {
                case "para" or "p" or "list" or "br":
                    Block(DocBlockKind.Paragraph, element);
                    break;
                case "item" or "listheader" or "li":
                    Block(DocBlockKind.Item, element);
                    break;
                case "term" when element.NextNode is not null:
                    Read(element);
                    Words(": ");
                    break;
                case "code":
                    End();
                    _blocks.Add(new DocBlock(DocBlockKind.Code, [new DocSpan(Unindented(element.Value), IsCode: true)]));
                    break;
                case "c" or "tt" or "paramref" or "typeparamref":
                    _spans.Add(new DocSpan((string?)element.Attribute("name") ?? element.Value, IsCode: true));
                    break;
                case "see" or "seealso" or "a":
                    Reference(element);
                    break;
                default:
                    Read(element);
                    break;
            }
        }

        private void Reference(XElement element)
        {
            if (element.Attribute("href") is { } address)
            {
                Words(element.Value.Length > 0 ? $"{element.Value} ({address.Value})" : address.Value);
            }
            else if (element.Value.Length > 0)
            {
                Words(element.Value);
            }
            else
            {
                var name = (string?)element.Attribute("langword") ?? NameOf((string?)element.Attribute("cref") ?? "");
                _spans.Add(new DocSpan(name, IsCode: true));
            }
        }

        private void Block(DocBlockKind kind, XElement element)
        {
            End();
            _kind = kind;
            Read(element);
            End();
            _kind = DocBlockKind.Paragraph;
        }

        // Line breaks and indentation of the source mean nothing; a space between words and code does.
        private void Words(string text)
        {
            var words = string.Join(' ', text.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries));
            var lead = text.Length > 0 && char.IsWhiteSpace(text[0]) && _spans.Count > 0 && !_spans[^1].Text.EndsWith(' ') ? " " : "";
            var trail = words.Length > 0 && char.IsWhiteSpace(text[^1]) ? " " : "";
            if (lead.Length + words.Length > 0)
            {
                _spans.Add(new DocSpan(lead + words + trail));
            }
        }

        private void End()
        {
            while (_spans.Count > 0 && !_spans[^1].IsCode && _spans[^1].Text.TrimEnd() is var last && last != _spans[^1].Text)
            {
                _spans.RemoveAt(_spans.Count - 1);
                if (last.Length > 0)
                {
                    _spans.Add(new DocSpan(last));
                }
            }

            if (_spans.Count > 0)
            {
                _blocks.Add(new DocBlock(_kind, [.. _spans]));
                _spans.Clear();
            }
        }

        private static string Unindented(string code)
        {
            var lines = code.ReplaceLineEndings("\n").Trim('\n').TrimEnd().Split('\n');
            var indent = lines.Where(line => line.Trim().Length > 0).Select(line => line.Length - line.TrimStart().Length).DefaultIfEmpty(0).Min();
            return string.Join('\n', lines.Select(line => line.Length >= indent ? line[indent..] : ""));
        }
    }
}
