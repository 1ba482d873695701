using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;

namespace LoraNotebooks.Formats;

/// <summary>
/// JSON as Python writes it: with the bare literals <c>Infinity</c>, <c>-Infinity</c> and <c>NaN</c>, which the standard forbids
/// and which diffusers' scheduler_config.json contains. In memory they are the texts of the same name.
/// </summary>
internal static partial class PythonJson
{
    private static readonly JsonSerializerOptions Layout = new() { WriteIndented = true, NewLine = "\n", Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>The standard JSON of Python's: bare literals in quotes.</summary>
    public static string ToStandard(string json) => BareLiteral().Replace(json, match => match.Groups["literal"].Success ? $"\"{match.Value}\"" : match.Value);

    /// <summary>Parses one object.</summary>
    /// <param name="json">The text.</param>
    /// <param name="source">What to call it in an error, usually its path.</param>
    /// <exception cref="InvalidDataException">The text is not a JSON object.</exception>
    public static JsonObject ParseObject(string json, string source)
    {
        try
        {
            return JsonNode.Parse(ToStandard(json)) as JsonObject ?? throw new JsonException("the outermost value is something else.");
        }
        catch (JsonException error)
        {
            throw new InvalidDataException($"{source}: expected a JSON object: {error.Message}", error);
        }
    }

    /// <summary>Writes an object, indented, so that Python reads the bare literals back as numbers.</summary>
    public static string Write(JsonObject value) => QuotedLiteral().Replace(value.ToJsonString(Layout), "${before}${literal}") + "\n";

    // A string literal is matched first, so that nothing inside one is taken for a number.
    [GeneratedRegex("\"(?:[^\"\\\\]|\\\\.)*\"|(?<literal>-?Infinity|NaN)")]
    private static partial Regex BareLiteral();

    [GeneratedRegex("(?<before>: |^ *)\"(?<literal>-?Infinity|NaN)\"(?=,?$)", RegexOptions.Multiline)]
    private static partial Regex QuotedLiteral();
}
