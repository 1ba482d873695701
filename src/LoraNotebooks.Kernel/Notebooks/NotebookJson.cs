using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace LoraNotebooks.Kernel.Notebooks;

/// <summary>Writes JSON exactly as Jupyter's nbformat does, so that a notebook that is read and written again has no changed line.</summary>
/// <remarks>
/// One value per line, no escape that JSON does not demand. <see cref="Utf8JsonWriter"/> cannot do it:
/// it escapes characters outside the basic plane.
/// </remarks>
internal static class NotebookJson
{
    public static string Write(JsonNode node, string indent)
    {
        var text = new StringBuilder();
        Append(text, node, indent, 0);
        return text.ToString();
    }

    private static void Append(StringBuilder text, JsonNode? node, string indent, int depth)
    {
        switch (node)
        {
            case null:
                text.Append("null");
                break;
            case JsonObject { Count: 0 }:
                text.Append("{}");
                break;
            case JsonArray { Count: 0 }:
                text.Append("[]");
                break;
            case JsonObject members:
                text.Append('{');
                var firstMember = true;
                foreach (var (name, value) in members)
                {
                    NextLine(text, indent, depth + 1, ref firstMember);
                    AppendString(text, name);
                    text.Append(": ");
                    Append(text, value, indent, depth + 1);
                }

                EndLine(text, indent, depth).Append('}');
                break;
            case JsonArray items:
                text.Append('[');
                var firstItem = true;
                foreach (var item in items)
                {
                    NextLine(text, indent, depth + 1, ref firstItem);
                    Append(text, item, indent, depth + 1);
                }

                EndLine(text, indent, depth).Append(']');
                break;
            case JsonValue value when value.GetValueKind() == JsonValueKind.String:
                AppendString(text, value.GetValue<string>());
                break;
            default:
                text.Append(node.ToJsonString());
                break;
        }
    }

    private static void NextLine(StringBuilder text, string indent, int depth, ref bool first)
    {
        if (!first)
        {
            text.Append(',');
        }

        first = false;
        EndLine(text, indent, depth);
    }

    private static StringBuilder EndLine(StringBuilder text, string indent, int depth)
    {
        text.Append('\n');
        for (var i = 0; i < depth; i++)
        {
            text.Append(indent);
        }

        return text;
    }

    private static void AppendString(StringBuilder text, string value)
    {
        text.Append('"');
        foreach (var letter in value)
        {
            switch (letter)
            {
                case '"':
                    text.Append("\\\"");
                    break;
                case '\\':
                    text.Append("\\\\");
                    break;
                case '\n':
                    text.Append("\\n");
                    break;
                case '\r':
                    text.Append("\\r");
                    break;
                case '\t':
                    text.Append("\\t");
                    break;
                case '\b':
                    text.Append("\\b");
                    break;
                case '\f':
                    text.Append("\\f");
                    break;
                case < ' ':
                    text.Append(CultureInfo.InvariantCulture, $"\\u{(int)letter:x4}");
                    break;
                default:
                    text.Append(letter);
                    break;
            }
        }

        text.Append('"');
    }
}
