using System.Text.Json.Nodes;

namespace LoraNotebooks.Adapters;

/// <summary>Reads and writes the fields of an adapter_config.json, collecting faults.</summary>
/// <param name="json">The object.</param>
public sealed class PeftFields(JsonObject json)
{
    private readonly HashSet<string> _read = new(StringComparer.Ordinal);

    internal Faults Faults { get; } = [];

    /// <summary>A whole number; <paramref name="otherwise"/> where there is none.</summary>
    public int Integer(string key, int otherwise) => Read(key, otherwise, "a whole number", static (JsonNode node, out int value) => TryValue(node, out value));

    /// <summary>A number; <paramref name="otherwise"/> where there is none.</summary>
    public double Number(string key, double otherwise) => Read(key, otherwise, "a number", TryValue);

    /// <summary>True or false; false where there is nothing.</summary>
    public bool Flag(string key) => Read(key, false, "true or false", static (JsonNode node, out bool value) => TryValue(node, out value));

    internal T Choice<T>(string key, T otherwise, params (string Text, T Value)[] choices) => Read(
        key, otherwise, string.Join(" or ", choices.Select(static choice => $"\"{choice.Text}\"")), (JsonNode node, out T value) =>
        {
            var index = Array.FindIndex(choices, choice => Text(node) == $"\"{choice.Text}\"");
            value = index < 0 ? otherwise : choices[index].Value;
            return index >= 0;
        });

    /// <summary>A text is a regular expression or "all-linear", a list is names.</summary>
    internal ModuleSelection? Selection(string key) =>
        Read<ModuleSelection?>(key, null, "a text or a list of texts", static (JsonNode node, out ModuleSelection? value) =>
        {
            value = node switch
            {
                JsonArray array when TryTexts(array, out var names) => ModuleSelection.Names([.. names]),
                JsonValue single when single.TryGetValue<string>(out var text) =>
                    text == ModuleSelection.AllLinearWord ? ModuleSelection.AllLinear : ModuleSelection.Regex(text),
                _ => null,
            };
            return value is not null;
        });

    internal IReadOnlyList<string> Texts(string key) =>
        Read<IReadOnlyList<string>>(key, [], "a text or a list of texts", static (JsonNode node, out IReadOnlyList<string> value) =>
            TryTexts(node as JsonArray ?? [node.DeepClone()], out value));

    internal IEnumerable<int> Numbers(string key) =>
        Read<IEnumerable<int>>(key, [], "a whole number or a list of them", static (JsonNode node, out IEnumerable<int> value) =>
        {
            var items = (node as JsonArray ?? [node.DeepClone()])
                .Select(static item => item is JsonValue single && single.TryGetValue<int>(out var number) ? number : (int?)null)
                .ToList();
            value = items.OfType<int>().ToList();
            return items.All(static item => item is not null);
        });

    internal OrderedDictionary<string, T> Patterns<T>(string key) =>
        Read(key, new OrderedDictionary<string, T>(), "an object of numbers", (JsonNode node, out OrderedDictionary<string, T> value) =>
        {
            value = [];
            foreach (var (pattern, item) in node as JsonObject ?? [])
            {
                if (item is null || !TryValue(item, out T number))
                {
                    return false;
                }

                value.Add(pattern, number);
            }

            return node is JsonObject;
        });

    /// <summary>The fields that were not asked for.</summary>
    internal IReadOnlyDictionary<string, JsonNode?> Rest() =>
        json.Where(pair => !_read.Contains(pair.Key)).ToDictionary(static pair => pair.Key, static pair => pair.Value?.DeepClone(), StringComparer.Ordinal);

    internal static string Text(JsonNode? node) => node?.ToJsonString() ?? "null";

    /// <summary>A number that Python may have written as an int.</summary>
    internal static JsonNode? Number(double value) =>
        value == Math.Truncate(value) && Math.Abs(value) < 1e15 ? JsonValue.Create((long)value) : JsonValue.Create(value);

    internal static JsonNode Selection(ModuleSelection selection) =>
        selection.IsRegex || selection.IsAllLinear ? JsonValue.Create(selection.First()) : List([.. selection])!;

    /// <summary>A list; an empty one is null.</summary>
    internal static JsonArray? List<T>(IReadOnlyList<T> items) =>
        items.Count == 0 ? null : new([.. items.Select(static item => (JsonNode?)JsonValue.Create(item))]);

    private delegate bool TryRead<T>(JsonNode node, out T value);

    private T Read<T>(string key, T otherwise, string expected, TryRead<T> tryRead)
    {
        _read.Add(key);
        if (json[key] is not { } node)
        {
            return otherwise;
        }

        if (tryRead(node, out var value))
        {
            return value;
        }

        Faults.Add($"{key}: got {Text(node)}, expected {expected}");
        return otherwise;
    }

    private static bool TryValue<T>(JsonNode node, out T value)
    {
        value = default!;
        return node is JsonValue single && single.TryGetValue(out value!);
    }

    private static bool TryTexts(JsonArray array, out IReadOnlyList<string> texts)
    {
        texts = [.. array.Select(static item => item is JsonValue value && value.TryGetValue<string>(out var text) ? text : null).OfType<string>()];
        return texts.Count == array.Count;
    }
}
