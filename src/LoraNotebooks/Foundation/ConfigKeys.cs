using System.Text.Json.Nodes;

namespace LoraNotebooks.Foundation;

/// <summary>What the value of one key must be; adds a fault where it is not. The verbs of <see cref="Check"/> are such rules.</summary>
/// <typeparam name="TValue">The type of the value.</typeparam>
/// <param name="faults">Where a fault is noted.</param>
/// <param name="key">The key.</param>
/// <param name="value">Its value.</param>
internal delegate void Rule<in TValue>(Faults faults, string key, TValue value);

/// <summary>
/// The keys of a configuration file, one line each: its name in the file, the property that it is, how that property is set and what it must be.
/// Reading, writing, defaults and checks follow from these lines, so that no key can be forgotten in one of them. What keys must be together is
/// left to the configuration.
/// </summary>
/// <typeparam name="T">The configuration, a record. What its properties are before reading are the defaults of absent keys.</typeparam>
/// <param name="rest">The keys of a file that have no line; they are carried along and written back.</param>
/// <param name="carry">The configuration with such a rest.</param>
internal sealed class ConfigKeys<T>(Func<T, IReadOnlyDictionary<string, JsonNode?>> rest, Func<T, IReadOnlyDictionary<string, JsonNode?>, T> carry)
    where T : class
{
    private readonly List<Line> _lines = [];

    /// <summary>A whole number, a number, true or false, or a text. A file's null is the default.</summary>
    /// <param name="key">The name in the file.</param>
    /// <param name="get">The property.</param>
    /// <param name="set">The configuration with another value of it.</param>
    /// <param name="rule">What the value must be; default anything.</param>
    public ConfigKeys<T> Value<TValue>(string key, Func<T, TValue> get, Func<T, TValue, T> set, Rule<TValue>? rule = null) =>
        Key(key, get, set, (reader, otherwise) => reader.Value(key, otherwise), static value => Node(value), rule);

    /// <summary>The same that may be null, which a file says with null.</summary>
    public ConfigKeys<T> Optional<TValue>(string key, Func<T, TValue?> get, Func<T, TValue?, T> set, Rule<TValue>? rule = null)
        where TValue : struct =>
        Key(
            key,
            get,
            set,
            (reader, otherwise) => reader.Names(key) ? reader.Optional<TValue>(key) : otherwise,
            static value => value is { } number ? Node(number) : null,
            (faults, name, value) => { if (value is { } given) { rule?.Invoke(faults, name, given); } });

    /// <summary>A text that may be null.</summary>
    public ConfigKeys<T> OptionalText(string key, Func<T, string?> get, Func<T, string?, T> set, Rule<string?>? rule = null) =>
        Key(key, get, set, (reader, otherwise) => reader.Names(key) ? reader.OptionalText(key) : otherwise, static value => Node(value), rule);

    /// <summary>A list.</summary>
    public ConfigKeys<T> List<TItem>(
        string key,
        Func<T, IReadOnlyList<TItem>> get,
        Func<T, IReadOnlyList<TItem>, T> set,
        Rule<IReadOnlyList<TItem>>? rule = null) =>
        Key(key, get, set, (reader, otherwise) => reader.List(key, otherwise), ConfigWriter.Node, rule);

    /// <summary>One of some values, each with its name in the file.</summary>
    public ConfigKeys<T> Choice<TValue>(string key, Func<T, TValue> get, Func<T, TValue, T> set, IReadOnlyDictionary<TValue, string> names)
        where TValue : struct, Enum =>
        Key(key, get, set, (reader, otherwise) => reader.Choice(key, otherwise, names), value => names[value], null);

    /// <summary>A key of any other form.</summary>
    /// <param name="key">The name in the file.</param>
    /// <param name="get">The property.</param>
    /// <param name="set">The configuration with another value of it.</param>
    /// <param name="read">The value in the file, given the default.</param>
    /// <param name="write">The value as the file has it.</param>
    /// <param name="rule">What the value must be, or <see langword="null"/> for anything.</param>
    public ConfigKeys<T> Key<TValue>(
        string key, Func<T, TValue> get, Func<T, TValue, T> set, Func<ConfigReader, TValue, TValue> read, Func<TValue, JsonNode?> write, Rule<TValue>? rule) =>
        Add(new(
            (reader, config) => set(config, read(reader, get(config))),
            config => [new(key, write(get(config)))],
            (faults, config) => rule?.Invoke(faults, key, get(config))));

    /// <summary>Several keys that make one property.</summary>
    /// <param name="read">The configuration with what the file says.</param>
    /// <param name="write">The keys that a configuration gets.</param>
    /// <param name="check">Notes faults.</param>
    public ConfigKeys<T> Group(Func<ConfigReader, T, T> read, Func<T, IEnumerable<KeyValuePair<string, JsonNode?>>> write, Action<Faults, T> check) =>
        Add(new(read, write, check));

    /// <summary>A key that is written and means nothing when it is read.</summary>
    public ConfigKeys<T> Written(string key, Func<T, JsonNode?> value) =>
        Add(new(static (_, config) => config, config => [new(key, value(config))], static (_, _) => { }));

    /// <summary>Says of the line before that its key is left out of the file of some configurations.</summary>
    public ConfigKeys<T> WrittenWhere(Func<T, bool> isWritten)
    {
        var last = _lines[^1];
        _lines[^1] = last with { Write = config => isWritten(config) ? last.Write(config) : [] };
        return this;
    }

    /// <summary>A key without a property that may be absent, or else must have one of these values, as others would mean what is not built here.</summary>
    public ConfigKeys<T> Only(string key, params JsonNode?[] supported) => Add(new(static (_, config) => config, static _ => [], (faults, config) =>
    {
        if (rest(config).TryGetValue(key, out var value) && !supported.Any(good => ConfigReader.Same(good, value)))
        {
            faults.Add($"{key}: got {ConfigReader.Text(value)}, supported is {string.Join(" or ", supported.Select(ConfigReader.Text))}");
        }
    }));

    /// <summary>The lines of what several configurations have in common.</summary>
    public ConfigKeys<T> Including<TCommon>(ConfigKeys<TCommon> common)
        where TCommon : class => Add(new(
            (reader, config) => (T)(object)common.ReadLines(reader, (TCommon)(object)config),
            config => common.Write((TCommon)(object)config),
            (faults, config) => common.CheckLines(faults, (TCommon)(object)config)));

    /// <summary>A configuration with what a file says.</summary>
    /// <param name="source">The file's object.</param>
    /// <param name="defaults">The configuration of an empty file.</param>
    /// <param name="path">What to call the file in an error.</param>
    /// <param name="validate">All faults of a configuration.</param>
    /// <exception cref="InvalidDataException">The file is damaged or asks for what is not supported; all faults are listed.</exception>
    public T Read(JsonObject source, T defaults, string path, Func<T, IReadOnlyList<string>> validate)
    {
        var reader = new ConfigReader(source);
        var config = ReadLines(reader, defaults);
        config = carry(config, reader.Rest());
        Faults.ThrowIfAnyIn(path, [.. reader.Faults, .. validate(config)]);
        return config;
    }

    /// <summary>The known keys of a configuration, in the order of the lines.</summary>
    public IEnumerable<KeyValuePair<string, JsonNode?>> Write(T config) => _lines.SelectMany(line => line.Write(config));

    /// <summary>The file's object: the known keys and the rest.</summary>
    public JsonObject ToJson(T config) => ConfigWriter.Join(rest(config), Write(config));

    /// <summary>What is wrong with single keys; what is wrong with several together can be added.</summary>
    public Faults Validate(T config)
    {
        var faults = new Faults();
        CheckLines(faults, config);
        return faults;
    }

    private T ReadLines(ConfigReader reader, T config) => _lines.Aggregate(config, (read, line) => line.Read(reader, read));

    private void CheckLines(Faults faults, T config) => _lines.ForEach(line => line.Check(faults, config));

    private ConfigKeys<T> Add(Line line)
    {
        _lines.Add(line);
        return this;
    }

    /// <summary>A number of Python's floats keeps its point: 0.0, not 0.</summary>
    private static JsonNode? Node<TValue>(TValue value) => value is double number ? PythonJson.Float(number) : JsonValue.Create(value);

    private sealed record Line(Func<ConfigReader, T, T> Read, Func<T, IEnumerable<KeyValuePair<string, JsonNode?>>> Write, Action<Faults, T> Check);
}
