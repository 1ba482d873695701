using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using LoraNotebooks.Adapters;
using LoraNotebooks.Training.Optimizers;

namespace LoraNotebooks.Training;

/// <content>Settings as JSON, for records and resuming.</content>
public abstract partial record TrainingConfig
{
    private static readonly JsonSerializerOptions JsonOptions = new()
    {
        IgnoreReadOnlyProperties = true,
        RespectNullableAnnotations = true,
        UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow,
        Converters = { new JsonStringEnumConverter(), new LoraConfigConverter(), new OptimizerJson() },
    };

    /// <summary>These settings as JSON: properties by name, the adapters as PEFT's adapter_config.json.</summary>
    public JsonObject ToJson() => JsonSerializer.SerializeToNode(this, GetType(), JsonOptions)!.AsObject();

    /// <summary>Settings from <see cref="ToJson"/>; what is absent has its default.</summary>
    /// <typeparam name="T">The kind of training.</typeparam>
    /// <param name="json">The object.</param>
    /// <exception cref="InvalidDataException">A property is unknown, has a wrong type, or the settings have faults.</exception>
    public static T FromJson<T>(JsonObject json)
        where T : TrainingConfig
    {
        ArgumentNullException.ThrowIfNull(json);
        try
        {
            var config = json.Deserialize<T>(JsonOptions)!;
            Faults.ThrowIfAny(config.Validate(), static faults => new InvalidDataException($"The training settings have {Faults.Text(faults)}"));
            return config;
        }
        catch (JsonException error)
        {
            throw new InvalidDataException($"The training settings cannot be read: {error.Message}", error);
        }
    }

    /// <summary>
    /// The settings in which two runs differ that cannot have the same numbers, as "name: theirs, here ours".
    /// Epochs may differ; what theirs lacks had its default.
    /// </summary>
    internal IReadOnlyList<string> DifferencesInNumbers(JsonObject other)
    {
        string[] harmless = [nameof(Name), nameof(OutputFolder), nameof(Epochs), nameof(SaveEveryEpochs), nameof(SampleEveryEpochs), .. NotDeciding];
        var theirs = GetType().GetConstructor(Type.EmptyTypes) is { } create ? ((TrainingConfig)create.Invoke(null)).ToJson() : [];
        foreach (var (key, value) in other)
        {
            theirs[key] = value?.DeepClone();
        }

        return
        [
            .. ToJson().Where(pair => !harmless.Contains(pair.Key) && Text(pair.Value) != Text(theirs[pair.Key]))
                .Select(pair => $"{pair.Key}: {Text(theirs[pair.Key])}, here {Text(pair.Value)}"),
        ];

        static string Text(JsonNode? node) => node?.ToJsonString() ?? "null";
    }

    private sealed class LoraConfigConverter : JsonConverter<LoraConfig>
    {
        public override LoraConfig Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) =>
            LoraConfig.FromPeftJson(JsonNode.Parse(ref reader) as JsonObject ?? throw new JsonException());

        public override void Write(Utf8JsonWriter writer, LoraConfig value, JsonSerializerOptions options) => value.ToPeftJson().WriteTo(writer);
    }
}
