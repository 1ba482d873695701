using System.Text.Json.Nodes;

namespace LoraNotebooks.Models;

/// <summary>One value or one per level in a config.json.</summary>
internal static class PerBlockJson
{
    /// <summary>One value or one per level, or its default where the key is absent or null.</summary>
    /// <typeparam name="T">The type of a value.</typeparam>
    /// <param name="reader">The file.</param>
    /// <param name="key">The key.</param>
    /// <param name="defaultValue">The value of an absent key.</param>
    public static PerBlock<T> PerBlock<T>(this ConfigReader reader, string key, PerBlock<T> defaultValue) => !reader.Has(key) ? defaultValue
        : reader.HasList(key) ? new PerBlock<T>((IEnumerable<T>)reader.List<T>(key, []))
        : new PerBlock<T>(reader.Value(key, defaultValue[0]));

    /// <summary>A single value or a list.</summary>
    /// <typeparam name="T">The type of a value.</typeparam>
    /// <param name="value">The value.</param>
    public static JsonNode? Node<T>(PerBlock<T> value) => value.IsUniform ? JsonValue.Create(value[0]) : ConfigWriter.Node((IReadOnlyList<T>)value);
}
