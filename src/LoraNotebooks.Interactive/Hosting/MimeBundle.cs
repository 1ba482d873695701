using System.Text.Json.Nodes;

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

    /// <summary>The <c>data</c> object of a Jupyter message or an nbformat output, free to be changed.</summary>
    public JsonObject ToJson() => new(_data.Select(entry => KeyValuePair.Create(entry.Key, (JsonNode?)entry.Value.DeepClone())));
}
