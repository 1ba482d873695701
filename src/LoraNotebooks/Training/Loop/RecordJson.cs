using System.Text.Json;
using System.Text.Json.Nodes;

namespace LoraNotebooks.Training.Loop;

/// <summary>How a run's record is spelt: names in camel case, indented.</summary>
internal static class RecordJson
{
    private static readonly JsonSerializerOptions Spelling = new() { WriteIndented = true, PropertyNamingPolicy = JsonNamingPolicy.CamelCase };

    /// <summary>Any value as part of a record.</summary>
    public static JsonNode Of<T>(T value) => JsonSerializer.SerializeToNode(value, Spelling)!;

    /// <summary>Reads a part of a record.</summary>
    /// <exception cref="JsonException">The text is something else.</exception>
    public static T Read<T>(string json) => JsonSerializer.Deserialize<T>(json, Spelling)!;

    /// <summary>Writes a record.</summary>
    public static void Write(Stream stream, JsonObject record) => JsonSerializer.Serialize(stream, record, Spelling);
}
