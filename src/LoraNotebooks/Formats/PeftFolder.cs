using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using static TorchSharp.torch;

namespace LoraNotebooks.Formats;

/// <summary>
/// The folder in which huggingface/peft keeps one adapter of one network: adapter_config.json (keys sorted, indented by two) and
/// adapter_model.safetensors with names like <c>base_model.model.&lt;path&gt;.lora_A.weight</c>.
/// </summary>
public static class PeftFolder
{
    /// <summary>The configuration's file.</summary>
    public const string ConfigName = "adapter_config.json";

    /// <summary>The weights' file.</summary>
    public const string WeightsName = "adapter_model.safetensors";

    /// <summary>What every name begins with: PEFT wraps the model twice.</summary>
    internal const string Prefix = "base_model.model.";

    private static readonly JsonSerializerOptions Layout = new() { WriteIndented = true, IndentSize = 2, NewLine = "\n", Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>Whether a folder is one.</summary>
    public static bool IsAt(string folder) => File.Exists(Path.Combine(folder, ConfigName));

    /// <summary>Reads one.</summary>
    /// <exception cref="FileNotFoundException">A file is missing.</exception>
    /// <exception cref="InvalidDataException">A file is not what it should be; strange names are all listed.</exception>
    public static LoraState Read(string folder)
    {
        var configPath = Path.Combine(folder, ConfigName);
        var config = PythonJson.ParseObject(File.ReadAllText(configPath), configPath);
        using var file = SafetensorsFile.Open(Path.Combine(folder, WeightsName));
        var strange = file.Tensors.Keys.Where(static name => !name.StartsWith(Prefix, StringComparison.Ordinal)).Order(StringComparer.Ordinal).ToList();
        return strange.Count == 0
            ? new LoraState(file.Tensors.Keys.ToDictionary(static name => name[Prefix.Length..], name => file.Load(name), StringComparer.Ordinal), config: config)
            : throw new InvalidDataException($"'{file.Path}' has names that are not PEFT's, expected them to begin with '{Prefix}':\n- {string.Join("\n- ", strange)}");
    }

    /// <summary>Writes one.</summary>
    /// <param name="folder">Created where it is missing.</param>
    /// <param name="state">The adapter; it must have a configuration.</param>
    /// <param name="dtype">The type of the weights in the file, default float32, which reads back exactly.</param>
    public static void Write(string folder, LoraState state, ScalarType dtype = ScalarType.Float32)
    {
        ArgumentNullException.ThrowIfNull(state);
        if (state.Config is null)
        {
            throw new ArgumentException($"The adapter has no configuration, and a PEFT folder needs one in {ConfigName}.");
        }

        using var scope = NewDisposeScope();
        SafetensorsFile.Write(
            Path.Combine(folder, WeightsName),
            state.Tensors.ToDictionary(static pair => Prefix + pair.Key, pair => pair.Value.to(dtype), StringComparer.Ordinal),
            new Dictionary<string, string> { ["format"] = "pt" });
        AtomicFile.WriteAllText(Path.Combine(folder, ConfigName), Text(state.Config));
    }

    /// <summary>A configuration as PEFT writes it.</summary>
    internal static string Text(JsonObject config) =>
        new JsonObject(config.OrderBy(static pair => pair.Key, StringComparer.Ordinal).Select(static pair => KeyValuePair.Create(pair.Key, pair.Value?.DeepClone()))).ToJsonString(Layout);
}
