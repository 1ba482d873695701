using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace LoraNotebooks.Foundation;

/// <summary>Reads typed values from a configuration file, collecting every fault instead of stopping at the first.</summary>
/// <param name="source">The JSON object.</param>
internal sealed class ConfigReader(JsonObject source)
{
    private readonly HashSet<string> _read = new(StringComparer.Ordinal);
    private readonly string _prefix = "";

    private ConfigReader(JsonObject source, string prefix, Faults faults)
        : this(source) => (_prefix, Faults) = (prefix, faults);

    /// <summary>The faults found so far, those of parts among them.</summary>
    public Faults Faults { get; } = [];

    /// <summary>Reads a JSON file that holds one object.</summary>
    /// <param name="path">The file.</param>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="InvalidDataException">The file is not a JSON object.</exception>
    public static JsonObject ReadObject(string path) => File.Exists(path)
        ? PythonJson.ReadObject(path)
        : throw new FileNotFoundException(
            $"'{path}' does not exist: expected the configuration of a model in Hugging Face layout. Give the component's own folder (e.g. '…/unet').",
            path);

    /// <summary>The value of a key, or its default where the key is absent or null.</summary>
    /// <typeparam name="T">int, double, bool or string.</typeparam>
    /// <param name="key">The key.</param>
    /// <param name="defaultValue">The value of an absent key.</param>
    public T Value<T>(string key, T defaultValue)
    {
        _read.Add(key);
        return source[key] is { } node ? Convert(key, node, defaultValue) : defaultValue;
    }

    /// <summary>The value of a key, or <see langword="null"/> where the key is absent or null.</summary>
    /// <typeparam name="T">int, double or bool.</typeparam>
    /// <param name="key">The key.</param>
    public T? Optional<T>(string key)
        where T : struct
    {
        _read.Add(key);
        return source[key] is { } node ? Convert(key, node, default(T)) : null;
    }

    /// <summary>The text of a key, or <see langword="null"/> where the key is absent or null.</summary>
    /// <param name="key">The key.</param>
    public string? OptionalText(string key)
    {
        _read.Add(key);
        return source[key] is { } node ? Convert(key, node, "") : null;
    }

    /// <summary>One of some values by its name, or its default where the key is absent or null.</summary>
    /// <typeparam name="T">The type of the values.</typeparam>
    /// <param name="key">The key.</param>
    /// <param name="defaultValue">The value of an absent key.</param>
    /// <param name="names">The name of each value.</param>
    public T Choice<T>(string key, T defaultValue, IReadOnlyDictionary<T, string> names)
        where T : struct, Enum
    {
        var text = Value(key, names[defaultValue]);
        foreach (var (value, name) in names)
        {
            if (name == text)
            {
                return value;
            }
        }

        Faults.Add($"{_prefix}{key}: got {text}, expected {string.Join(", ", names.Values)}");
        return defaultValue;
    }

    /// <summary>A reader of an object inside this one, or <see langword="null"/> where the key is absent or null.</summary>
    /// <param name="key">The key.</param>
    public ConfigReader? Part(string key)
    {
        _read.Add(key);
        return source[key] switch
        {
            null => null,
            JsonObject part => new ConfigReader(part, $"{_prefix}{key}.", Faults),
            var node => Fault<ConfigReader?>(key, node, "an object", null),
        };
    }

    /// <summary>A list, or its default where the key is absent or null.</summary>
    /// <typeparam name="T">The type of an item.</typeparam>
    /// <param name="key">The key.</param>
    /// <param name="defaultValue">The value of an absent key.</param>
    public IReadOnlyList<T> List<T>(string key, IReadOnlyList<T> defaultValue)
    {
        _read.Add(key);
        return source[key] switch
        {
            null => defaultValue,
            JsonArray array => Items<T>(key, array),
            var node => Fault(key, node, "a list", defaultValue),
        };
    }

    /// <summary>Whether a key is there, be it null.</summary>
    /// <param name="key">The key.</param>
    public bool Names(string key) => source.ContainsKey(key);

    /// <summary>Whether a key is there and not null.</summary>
    /// <param name="key">The key.</param>
    public bool Has(string key)
    {
        _read.Add(key);
        return source[key] is not null;
    }

    /// <summary>Whether a key holds a list.</summary>
    /// <param name="key">The key.</param>
    public bool HasList(string key) => source[key] is JsonArray;

    /// <summary>The keys that were not asked for, with copies of their values.</summary>
    public IReadOnlyDictionary<string, JsonNode?> Rest() =>
        source.Where(pair => !_read.Contains(pair.Key)).ToDictionary(pair => pair.Key, pair => pair.Value?.DeepClone(), StringComparer.Ordinal);

    /// <summary>Whether two values are the same; 1 and 1.0 are the same number.</summary>
    public static bool Same(JsonNode? a, JsonNode? b) => JsonNode.DeepEquals(a, b) || (Number(a) is { } left && Number(b) is { } right && left == right);

    /// <summary>A value as the file has it.</summary>
    public static string Text(JsonNode? node) => node?.ToJsonString() ?? "null";

    private static double? Number(JsonNode? node) => node is JsonValue value && value.GetValueKind() == JsonValueKind.Number
        ? double.Parse(node.ToJsonString(), CultureInfo.InvariantCulture)
        : null;

    /// <summary>The items up to the first that is of another type: one fault tells about a list, however long it is.</summary>
    private T[] Items<T>(string key, JsonArray array)
    {
        var items = new List<T>(array.Count);
        foreach (var item in array)
        {
            var before = Faults.Count;
            var value = item is null ? Fault(key, item, TypeName<T>(), default(T)!) : Convert(key, item, default(T)!);
            if (Faults.Count > before)
            {
                break;
            }

            items.Add(value);
        }

        return [.. items];
    }

    private T Convert<T>(string key, JsonNode node, T fallback) =>
        node is JsonValue value && value.TryGetValue<T>(out var result)
        && result is not double.NaN and not double.PositiveInfinity and not double.NegativeInfinity
            ? result
            : Fault(key, node, TypeName<T>(), fallback);

    private T Fault<T>(string key, JsonNode? node, string expected, T fallback)
    {
        Faults.Add($"{_prefix}{key}: got {Text(node)}, expected {expected}");
        return fallback;
    }

    private static string TypeName<T>() => Type.GetTypeCode(typeof(T)) switch
    {
        TypeCode.Int32 => "a whole number",
        TypeCode.Double => "a number",
        TypeCode.Boolean => "true or false",
        _ => "a text",
    };
}
