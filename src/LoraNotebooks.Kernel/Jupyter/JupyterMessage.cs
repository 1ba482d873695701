using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace LoraNotebooks.Kernel.Jupyter;

/// <summary>A message of the Jupyter protocol 5.x.</summary>
/// <remarks>
/// Source: Jupyter client documentation, "Messaging in Jupyter". On the wire: routing
/// ids, a delimiter, the signature, header, parent header, metadata, content, buffers.
/// </remarks>
internal sealed record JupyterMessage
{
    /// <summary>The version of the protocol that is spoken.</summary>
    public const string ProtocolVersion = "5.3";

    /// <summary>The ASCII bytes between the routing ids and the message.</summary>
    private static readonly byte[] Delimiter = Encoding.ASCII.GetBytes("<IDS|MSG>");
    private static readonly JsonDocumentOptions Strict = new() { MaxDepth = 128 };

    /// <summary>Who sent it, or who is to have it: the ids that ROUTER sockets put in front. On iopub: the topic.</summary>
    public IReadOnlyList<byte[]> Identities { get; init; } = [];

    /// <summary>The header: msg_id, session, username, date, msg_type, version.</summary>
    public required JsonObject Header { get; init; }

    /// <summary>The header of the request that led to this message; empty if none did.</summary>
    public JsonObject ParentHeader { get; init; } = [];

    /// <summary>Metadata; mostly empty.</summary>
    public JsonObject Metadata { get; init; } = [];

    /// <summary>What the message says.</summary>
    public required JsonObject Content { get; init; }

    /// <summary>Binary parts.</summary>
    public IReadOnlyList<byte[]> Buffers { get; init; } = [];

    /// <summary>The message's type, e.g. <c>execute_request</c>.</summary>
    public string Type => Text(Header, "msg_type") ?? "";

    /// <summary>A new message.</summary>
    /// <param name="type">Its type.</param>
    /// <param name="session">The sender's session.</param>
    /// <param name="parent">The request that it answers or belongs to.</param>
    /// <param name="content">What it says.</param>
    public static JupyterMessage Create(string type, string session, JupyterMessage? parent, JsonObject content) => new()
    {
        Identities = parent?.Identities ?? [],
        Header = new JsonObject
        {
            ["msg_id"] = Guid.NewGuid().ToString("N"),
            ["session"] = session,
            ["username"] = "kernel",
            ["date"] = DateTime.UtcNow.ToString("yyyy-MM-dd'T'HH:mm:ss.ffffff'Z'", System.Globalization.CultureInfo.InvariantCulture),
            ["msg_type"] = type,
            ["version"] = ProtocolVersion,
        },
        ParentHeader = parent is null ? [] : (JsonObject)parent.Header.DeepClone(),
        Content = content,
    };

    /// <summary>Reads the frames of a message.</summary>
    /// <exception cref="InvalidDataException">The frames are no message, or the signature is not right.</exception>
    public static JupyterMessage Read(IReadOnlyList<byte[]> frames, MessageSigner signer)
    {
        var at = -1;
        for (var i = 0; i < frames.Count && at < 0; i++)
        {
            at = frames[i].AsSpan().SequenceEqual(Delimiter) ? i : -1;
        }

        if (at < 0 || frames.Count < at + 6)
        {
            throw new InvalidDataException($"got {frames.Count} frames, expected routing ids, the delimiter, the signature and four JSON parts");
        }

        byte[][] parts = [.. frames.Skip(at + 2).Take(4)];
        if (!signer.Verify(frames[at + 1], parts))
        {
            throw new InvalidDataException("the signature is not right: the sender does not have this kernel's key");
        }

        return new JupyterMessage
        {
            Identities = [.. frames.Take(at)],
            Header = Object(parts[0], "header"),
            ParentHeader = Object(parts[1], "parent header"),
            Metadata = Object(parts[2], "metadata"),
            Content = Object(parts[3], "content"),
            Buffers = [.. frames.Skip(at + 6)],
        };
    }

    /// <summary>The frames of the message, signed.</summary>
    public IReadOnlyList<byte[]> Write(MessageSigner signer)
    {
        byte[][] parts = [.. new[] { Header, ParentHeader, Metadata, Content }.Select(part => JsonSerializer.SerializeToUtf8Bytes(part))];
        return [.. Identities, Delimiter, signer.Sign(parts), .. parts, .. Buffers];
    }

    /// <summary>A text of the content; null if it is missing or no text.</summary>
    public string? Text(string name) => Text(Content, name);

    /// <summary>A truth value of the content.</summary>
    public bool Flag(string name, bool whenMissing) => Content[name] is JsonValue value && value.TryGetValue(out bool flag) ? flag : whenMissing;

    /// <summary>A whole number of the content.</summary>
    public int Number(string name, int whenMissing) => Content[name] is JsonValue value && value.TryGetValue(out int number) ? number : whenMissing;

    private static string? Text(JsonObject part, string name) => part[name] is JsonValue value && value.TryGetValue(out string? text) ? text : null;

    private static JsonObject Object(byte[] utf8, string part)
    {
        try
        {
            return JsonNode.Parse(utf8, documentOptions: Strict) as JsonObject ?? throw new InvalidDataException($"the {part} is not a JSON object");
        }
        catch (JsonException error)
        {
            throw new InvalidDataException($"the {part} is not JSON ({error.Message})", error);
        }
    }
}
