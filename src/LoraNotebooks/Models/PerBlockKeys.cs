using System.Text.Json.Nodes;

namespace LoraNotebooks.Models;

/// <summary>Keys of a config.json that have one value, or one per resolution level of a network.</summary>
internal static class PerBlockKeys
{
    /// <summary>A key with one value or a list of them; see <see cref="ConfigKeys{T}.Value"/>.</summary>
    public static ConfigKeys<T> PerBlock<T, TValue>(this ConfigKeys<T> keys, string key, Func<T, PerBlock<TValue>> get, Func<T, PerBlock<TValue>, T> set)
        where T : class => keys.Key(key, get, set, (reader, otherwise) => Read(reader, key, otherwise), Node, null);

    private static PerBlock<TValue> Read<TValue>(ConfigReader reader, string key, PerBlock<TValue> otherwise) => !reader.Has(key) ? otherwise
        : reader.HasList(key) ? new PerBlock<TValue>((IEnumerable<TValue>)reader.List<TValue>(key, []))
        : new PerBlock<TValue>(reader.Value(key, otherwise[0]));

    private static JsonNode? Node<TValue>(PerBlock<TValue> value) =>
        value.IsUniform ? JsonValue.Create(value[0]) : ConfigWriter.Node((IReadOnlyList<TValue>)value);
}
