using System.Text;
using System.Text.Json.Nodes;
using LoraNotebooks.Foundation;

namespace LoraNotebooks.Interactive;

/// <summary>
/// One output in several forms: a map from MIME type to content, of which a host shows the richest that it can.
/// </summary>
/// <remarks>
/// Immutable. Textual content is a JSON string, binary content base64 in a JSON string, JSON types are JSON values:
/// the same layout as the <c>data</c> of a Jupyter <c>display_data</c> message (messaging protocol 5.x, "display_data")
/// and of an nbformat 4 output.
/// </remarks>
public sealed class MimeBundle
{
    /// <summary>The default of <see cref="Limit"/>: 5 MB.</summary>
    public const int MostBytes = 5_000_000;

    /// <summary>What a monitor says in a file, where nobody can tell whether the work goes on.</summary>
    public const string WhenSaved = "was running when saved";

    private const int MostTextCharacters = 100_000;

    private readonly SortedDictionary<string, JsonNode> _data;

    private MimeBundle(SortedDictionary<string, JsonNode> data) => _data = data;

    /// <summary>A bundle without content; add some with the <c>With</c> methods.</summary>
    public static MimeBundle Empty { get; } = new(new(StringComparer.Ordinal));

    /// <summary>The MIME types present, in ordinal order.</summary>
    public IReadOnlyCollection<string> Types => _data.Keys;

    /// <summary>A bundle that holds plain text only.</summary>
    public static MimeBundle FromText(string text) => Empty.With(MimeTypes.PlainText, text);

    /// <summary>A copy with textual content; an earlier content of that type is replaced.</summary>
    public MimeBundle With(string mimeType, string content) => With(mimeType, JsonValue.Create(content));

    /// <summary>A copy with binary content, stored as base64.</summary>
    public MimeBundle With(string mimeType, ReadOnlySpan<byte> content) => With(mimeType, Convert.ToBase64String(content));

    /// <summary>A copy with JSON content.</summary>
    public MimeBundle With(string mimeType, JsonNode content)
    {
        ArgumentException.ThrowIfNullOrEmpty(mimeType);
        ArgumentNullException.ThrowIfNull(content);
        return new(new(_data, StringComparer.Ordinal) { [mimeType] = content.DeepClone() });
    }

    /// <summary>A copy that lacks a type.</summary>
    public MimeBundle Without(string mimeType)
    {
        var data = new SortedDictionary<string, JsonNode>(_data, StringComparer.Ordinal);
        return data.Remove(mimeType) ? new(data) : this;
    }

    /// <summary>The textual content of a type, or <see langword="null"/> if the bundle lacks it or it is not text.</summary>
    public string? Text(string mimeType) =>
        _data.TryGetValue(mimeType, out var node) && node is JsonValue value && value.TryGetValue(out string? text) ? text : null;

    /// <summary>A copy of the content of a type, or <see langword="null"/> if the bundle lacks it.</summary>
    public JsonNode? Node(string mimeType) => _data.TryGetValue(mimeType, out var node) ? node.DeepClone() : null;

    /// <summary>
    /// The bundle, or, where it is too large for a notebook file, a copy without its largest contents, which says what is missing.
    /// Plain text always stays, its first 100,000 characters.
    /// </summary>
    /// <param name="mostBytes">The most bytes of all contents together; default 5 MB.</param>
    public MimeBundle Limit(int mostBytes = MostBytes)
    {
        var text = Text(MimeTypes.PlainText);
        var limited = text?.Length > MostTextCharacters
            ? With(MimeTypes.PlainText, $"{text[..MostTextCharacters]}… ({Numbers.Count(text.Length)} characters in all)")
            : this;
        var sizes = limited._data.Where(entry => entry.Key != MimeTypes.PlainText).ToDictionary(entry => entry.Key, entry => Size(entry.Value));
        var dropped = new List<string>();
        while (sizes.Values.Sum() > mostBytes)
        {
            var (type, bytes) = sizes.MaxBy(entry => entry.Value);
            sizes.Remove(type);
            dropped.Add($"{type} ({ByteSize.Text(bytes)})");
        }

        if (dropped.Count == 0)
        {
            return limited;
        }

        var note = $"Left out because an output keeps at most {ByteSize.Text(mostBytes)}: {string.Join(", ", dropped)}. Show fewer or smaller things.";
        var kept = limited._data.Where(entry => entry.Key == MimeTypes.PlainText || sizes.ContainsKey(entry.Key)).ToDictionary();
        var result = new MimeBundle(new(kept, StringComparer.Ordinal));
        var withNote = result.With(
            MimeTypes.PlainText,
            string.Join('\n', new[] { result.Text(MimeTypes.PlainText), note }.Where(line => !string.IsNullOrEmpty(line))));

        // HTML hides every other form; what is left of the picture says more than a note.
        var isShown = sizes.Keys.Any(type => type is MimeTypes.Html or MimeTypes.Png or MimeTypes.Jpeg);
        return isShown ? withNote : withNote.With(MimeTypes.Html, Look.Page(null, note).ToString());
    }

    /// <summary>
    /// The bundle as a file keeps it: what stops work or asks for it is dropped, and a monitor that says "running" says
    /// "was running when saved", since nobody changes a file when the work ends.
    /// </summary>
    public MimeBundle Stored()
    {
        var stored = Without(MimeTypes.Stop).Without(MimeTypes.Run);
        return stored.Text(MimeTypes.Html) is { } html && ProgressPanel.Stored(html) is var kept && !ReferenceEquals(kept, html)
            ? stored.With(MimeTypes.Html, kept)
            : stored;
    }

    private static long Size(JsonNode node) => node is JsonValue value && value.TryGetValue(out string? text)
        ? Encoding.UTF8.GetByteCount(text)
        : Encoding.UTF8.GetByteCount(node.ToJsonString());

    /// <summary>The <c>data</c> object of a Jupyter message or an nbformat output, free to be changed.</summary>
    public JsonObject ToJson() => new(_data.Select(entry => KeyValuePair.Create(entry.Key, (JsonNode?)entry.Value.DeepClone())));
}
