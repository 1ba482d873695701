using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;

namespace LoraNotebooks.Training.Optimizers;

/// <summary>The optimizers that settings can be read with, by name.</summary>
public static class OptimizerRegister
{
    private static readonly Type[] Own =
    [
        typeof(AdamWOptimizer),
        typeof(AveragedOptimizer),
    ];

    private static readonly Lock Changing = new();
    private static IReadOnlyDictionary<string, Type> s_types = Own.ToDictionary(Optimizer.NameOf, StringComparer.Ordinal);

    /// <summary>The names, sorted.</summary>
    public static IReadOnlyList<string> Names => [.. s_types.Keys.Order(StringComparer.Ordinal)];

    /// <summary>
    /// Makes an optimizer known, so that settings that name it can be read.
    /// One of that name that was added before is replaced, as when a cell runs again.
    /// </summary>
    /// <typeparam name="T">The optimizer; its constructor without parameters makes the one with the usual options.</typeparam>
    /// <exception cref="ArgumentException">The library has an optimizer of that name.</exception>
    public static void Add<T>()
        where T : Optimizer, new()
    {
        var name = Optimizer.NameOf(typeof(T));
        if (Own.Any(own => Optimizer.NameOf(own) == name && own != typeof(T)))
        {
            throw new ArgumentException($"Got an optimizer called {name}, expected another name: the library has one of that name. Rename {typeof(T).Name}.");
        }

        lock (Changing)
        {
            s_types = new Dictionary<string, Type>(s_types, StringComparer.Ordinal) { [name] = typeof(T) };
        }
    }

    internal static Type Find(string? name) => name is not null && s_types.TryGetValue(name, out var type) ? type : throw new JsonException(
        $"Optimizer: got {(name is null ? "no name" : $"'{name}'")}, expected one of {string.Join(", ", Names)}. "
            + "One of your own is made known by OptimizerRegister.Add.");
}

/// <summary>An optimizer as JSON: its name, then its options.</summary>
internal sealed class OptimizerJson : JsonConverter<Optimizer>
{
    private static readonly JsonSerializerOptions Plain = new()
    {
        IgnoreReadOnlyProperties = true,
        RespectNullableAnnotations = true,
        UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow,
        Converters = { new JsonStringEnumConverter(), new OptimizerJson() },
    };

    /// <summary>The options alone.</summary>
    public static JsonObject Options(Optimizer optimizer) => JsonSerializer.SerializeToNode(optimizer, optimizer.GetType(), Plain)!.AsObject();

    public override Optimizer Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options)
    {
        var json = JsonNode.Parse(ref reader) as JsonObject ?? throw new JsonException("Optimizer: got no object, expected a Name and options.");
        var type = OptimizerRegister.Find(json[nameof(Optimizer.Name)] is JsonValue value && value.TryGetValue<string>(out var name) ? name : null);
        json.Remove(nameof(Optimizer.Name));
        return (Optimizer)json.Deserialize(type, Plain)!;
    }

    public override void Write(Utf8JsonWriter writer, Optimizer value, JsonSerializerOptions options)
    {
        var json = Options(value);
        json.Insert(0, nameof(Optimizer.Name), value.Name);
        json.WriteTo(writer);
    }
}
