using System.Globalization;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;

namespace LoraNotebooks.Foundation;

/// <summary>
/// JSON as Python writes it: with the bare literals <c>Infinity</c>, <c>-Infinity</c> and <c>NaN</c>, which the standard forbids
/// and which diffusers' scheduler_config.json contains. In memory they are the texts of the same name.
/// </summary>
internal static partial class PythonJson
{
    private static readonly JsonSerializerOptions Layout = new()
    {
        WriteIndented = true,
        NewLine = "\n",
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    // A key that stands twice means a damaged file, and a node of it would fail only when it is asked for.
    private static readonly JsonDocumentOptions Strict = new() { AllowDuplicateProperties = false };

    /// <summary>The standard JSON of Python's: bare literals in quotes.</summary>
    public static string ToStandard(string json) => BareLiteral().Replace(json, match => match.Groups["literal"].Success ? $"\"{match.Value}\"" : match.Value);

    /// <summary>Reads a file that holds one object.</summary>
    /// <param name="path">The file; it must exist.</param>
    /// <exception cref="InvalidDataException">It is not a JSON object.</exception>
    public static JsonObject ReadObject(string path) => ParseObject(File.ReadAllText(path), path);

    /// <summary>Parses one object.</summary>
    /// <param name="json">The text.</param>
    /// <param name="source">What to call it in an error, usually its path.</param>
    /// <exception cref="InvalidDataException">The text is not a JSON object, has a key twice or half a character (a lone surrogate).</exception>
    public static JsonObject ParseObject(string json, string source)
    {
        try
        {
            var value = JsonNode.Parse(ToStandard(json), documentOptions: Strict) as JsonObject
                ?? throw new JsonException("the outermost value is something else.");
            Decode(value);
            return value;
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException)
        {
            throw new InvalidDataException($"{source}: expected a JSON object: {error.Message}", error);
        }
    }

    /// <summary>Writes an object, indented, so that Python reads the bare literals back as numbers.</summary>
    public static string Write(JsonObject value) => QuotedLiteral().Replace(value.ToJsonString(Layout), "${before}${literal}") + "\n";

    /// <summary>A number that Python holds as a float and writes with a point: 0.0, not 0.</summary>
    public static JsonNode? Float(double value) =>
        value == Math.Truncate(value) ? JsonNode.Parse(value.ToString("F1", CultureInfo.InvariantCulture)) : JsonValue.Create(value);

    /// <summary>Asks for every text once: a node decodes its texts only then, and a lone surrogate fails.</summary>
    private static void Decode(JsonNode? node)
    {
        switch (node)
        {
            case JsonObject pairs:
                foreach (var (_, value) in pairs)
                {
                    Decode(value);
                }

                break;
            case JsonArray items:
                foreach (var item in items)
                {
                    Decode(item);
                }

                break;
            case JsonValue value:
                _ = value.TryGetValue<string>(out _);
                break;
        }
    }

    // A string literal is matched first, so that nothing inside one is taken for a number. One that never ends goes to the end of the text,
    // without backtracking: else every quotation mark in it would begin the search anew.
    [GeneratedRegex("\"(?>(?:[^\"\\\\]+|\\\\.)*)\"?|(?<literal>-?Infinity|NaN)", RegexOptions.Singleline)]
    private static partial Regex BareLiteral();

    [GeneratedRegex("(?<before>: |^ *)\"(?<literal>-?Infinity|NaN)\"(?=,?$)", RegexOptions.Multiline)]
    private static partial Regex QuotedLiteral();
}
