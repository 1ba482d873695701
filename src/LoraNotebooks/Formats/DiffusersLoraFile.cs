using System.Text.Json.Nodes;
using static TorchSharp.torch;

namespace LoraNotebooks.Formats;

/// <summary>
/// The LoRA file of huggingface/diffusers (pytorch_lora_weights.safetensors): names begin with the network's, "unet." or "text_encoder.";
/// A and B are called by any of three pairs of names; the metadata may hold the configurations. Without them α = r.
/// </summary>
/// <remarks>Source: diffusers, loaders/lora_base.py and utils/state_dict_utils.py.</remarks>
public static class DiffusersLoraFile
{
    internal const string ConfigKey = "lora_adapter_metadata";

    /// <summary>Writes a file with names in <c>lora_A</c>/<c>lora_B</c> style and the configurations in its metadata.</summary>
    /// <param name="path">The file to write or replace.</param>
    /// <param name="parts">The networks and their adapters.</param>
    /// <param name="dtype">
    /// The type of the weights in the file, default float32, which reads back exactly; <see langword="null"/> keeps each weight's own.
    /// </param>
    /// <param name="metadata">Further facts, e.g. those of a kohya file that this is made from; diffusers ignores them.</param>
    /// <exception cref="ArgumentException">Weights have no name in PEFT, or are too large for the type.</exception>
    /// <exception cref="InvalidDataException">Some weights are not finite. Nothing is written then, as in the other cases.</exception>
    public static void Write(
        string path,
        IReadOnlyList<(LoraPart Part, LoraState State)> parts,
        ScalarType? dtype = ScalarType.Float32,
        IReadOnlyDictionary<string, string>? metadata = null)
    {
        ArgumentNullException.ThrowIfNull(parts);
        using var scope = NewDisposeScope();
        var casting = new FiniteCast(path, dtype);
        var tensors = new Dictionary<string, Tensor>(StringComparer.Ordinal);
        var configs = new JsonObject();
        foreach (var (part, state) in parts)
        {
            foreach (var (name, tensor) in PeftFolder.Named(state))
            {
                tensors[$"{part.Name}.{name}"] = casting.Of($"{part.Name}.{name}", tensor);
            }

            foreach (var (key, value) in state.Config ?? [])
            {
                configs[$"{part.Name}.{key}"] = value?.DeepClone();
            }
        }

        casting.ThrowIfUnfit();
        SafetensorsFile.Write(
            path,
            tensors,
            new Dictionary<string, string>(metadata ?? new Dictionary<string, string>()) { ["format"] = "pt", [ConfigKey] = PeftFolder.Text(configs) });
    }

    /// <summary>The configurations in a file's metadata: names begin with the network's.</summary>
    internal static JsonObject Configs(SafetensorsFile file) =>
        file.Metadata.TryGetValue(ConfigKey, out var json) ? PythonJson.ParseObject(json, $"{file.Path}, {ConfigKey}") : [];
}
