using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace LoraNotebooks.Models;

/// <summary>Gathers everything that is wrong with a configuration, so that it can be reported at once.</summary>
internal sealed class ConfigFaults
{
    private readonly List<string> faults = [];

    /// <summary>All faults so far.</summary>
    public IReadOnlyList<string> All => faults;

    /// <summary>Adds faults found elsewhere.</summary>
    public void AddRange(IEnumerable<string> found) => faults.AddRange(found);

    /// <summary>Adds a fault unless a condition holds.</summary>
    public void Require(bool condition, string fault)
    {
        if (!condition)
        {
            faults.Add(fault);
        }
    }

    /// <summary>Requires a positive number.</summary>
    public void Positive(string key, int value) => Require(value > 0, $"{key}: got {value}, expected a positive whole number");

    /// <summary>Requires one block type per level, each a known one.</summary>
    public void Levels(string key, IReadOnlyList<string> types, int levels, IReadOnlyList<string> known)
    {
        Require(types.Count == levels, $"{key}: got {types.Count} entries, expected {levels}, one per entry of block_out_channels");
        var unknown = types.Where(type => !known.Contains(type)).Distinct().ToList();
        Require(unknown.Count == 0, $"{key}: got {string.Join(", ", unknown)}, expected only {string.Join(" or ", known)}");
    }

    /// <summary>Requires one value, or one per level, each of them good.</summary>
    public void Levels<T>(string key, PerBlock<T> values, int levels, Func<T, bool> isGood, string expected)
    {
        Require(values.IsUniform || values.Count == levels, $"{key}: got {values.Count} values, expected one, or {levels}, one per entry of block_out_channels");
        Require(values.All(isGood), $"{key}: got {values}, expected {expected}");
    }

    /// <summary>Throws if there are faults in a configuration that a program made.</summary>
    /// <exception cref="ArgumentException">There are; the message lists them all.</exception>
    public static void ThrowIfAny(IReadOnlyList<string> faults)
    {
        if (faults.Count > 0)
        {
            throw new ArgumentException($"The configuration has {Text(faults)}");
        }
    }

    /// <summary>Throws if there are faults in a configuration that was read from a file.</summary>
    /// <exception cref="InvalidDataException">There are; the message names the file and lists them all.</exception>
    public static void ThrowIfAny(string path, IReadOnlyList<string> faults)
    {
        if (faults.Count > 0)
        {
            throw new InvalidDataException($"'{path}' has {Text(faults)}");
        }
    }

    /// <summary>All of them: a configuration has only so many fields.</summary>
    private static string Text(IReadOnlyList<string> faults) =>
        $"{Listing.Count(faults.Count, "unsupported or wrong value")}:\n{Listing.Lines(faults, faults.Count)}";
}

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
