using System.Text.Json.Nodes;

namespace LoraNotebooks.Foundation;

/// <summary>Builds a model's config.json: the keys it knows and the ones it only carries, sorted, indented by two blanks, as upstream writes it.</summary>
internal static class ConfigWriter
{
    /// <summary>Joins the carried keys and the known ones into one object with sorted keys.</summary>
    /// <param name="carried">Keys that were in the file and mean nothing to the model class.</param>
    /// <param name="known">The keys that the class gives their values.</param>
    public static JsonObject Join(IReadOnlyDictionary<string, JsonNode?> carried, IEnumerable<KeyValuePair<string, JsonNode?>> known)
    {
        var all = new SortedDictionary<string, JsonNode?>(StringComparer.Ordinal);
        foreach (var (key, value) in carried)
        {
            all[key] = value?.DeepClone();
        }

        foreach (var (key, value) in known)
        {
            all[key] = value;
        }

        return new JsonObject(all);
    }

    /// <summary>A list.</summary>
    /// <typeparam name="T">The type of an item.</typeparam>
    /// <param name="values">The items.</param>
    public static JsonArray Node<T>(IReadOnlyList<T> values) => new([.. values.Select(value => JsonValue.Create(value))]);

    /// <summary>The text of a config.json.</summary>
    /// <param name="config">The object.</param>
    public static string Text(JsonObject config) => PythonJson.Write(config);
}
