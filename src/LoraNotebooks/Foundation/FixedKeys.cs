using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace LoraNotebooks.Foundation;

/// <summary>Configuration keys for which only some values are supported.</summary>
/// <param name="supported">Key → the supported values; an absent key is always fine.</param>
internal sealed class FixedKeys(Dictionary<string, JsonNode?[]> supported)
{
    /// <summary>The keys that have another value.</summary>
    /// <param name="values">The values of a configuration.</param>
    public IEnumerable<string> Faults(IReadOnlyDictionary<string, JsonNode?> values) =>
        from pair in supported
        where values.TryGetValue(pair.Key, out var value) && !pair.Value.Any(good => Same(good, value))
        let expected = string.Join(" or ", pair.Value.Select(Text))
        select $"{pair.Key}: got {Text(values[pair.Key])}, supported is {expected}";

    /// <summary>1 and 1.0 are the same number.</summary>
    private static bool Same(JsonNode? a, JsonNode? b) =>
        JsonNode.DeepEquals(a, b) || (Number(a) is { } left && Number(b) is { } right && left == right);

    private static double? Number(JsonNode? node) => node is JsonValue value && value.GetValueKind() == JsonValueKind.Number
        ? double.Parse(node.ToJsonString(), CultureInfo.InvariantCulture)
        : null;

    private static string Text(JsonNode? node) => node?.ToJsonString() ?? "null";
}
