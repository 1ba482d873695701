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
    private const string ConfigKey = "lora_adapter_metadata";
    private const string AlphaPart = ".alpha";

    private static readonly (string Ending, string Part)[] Styles =
    [
        (LoraState.DownPart, LoraState.DownPart),
        (LoraState.UpPart, LoraState.UpPart),
        (".lora.down.weight", LoraState.DownPart),
        (".lora.up.weight", LoraState.UpPart),
        (".lora_linear_layer.down.weight", LoraState.DownPart),
        (".lora_linear_layer.up.weight", LoraState.UpPart),
    ];

    /// <summary>Writes a file with names in <c>lora_A</c>/<c>lora_B</c> style and the configurations in its metadata.</summary>
    /// <param name="path">The file to write or replace.</param>
    /// <param name="parts">The networks and their adapters.</param>
    /// <param name="dtype">The type of the weights in the file, default float32, which reads back exactly.</param>
    public static void Write(string path, IReadOnlyList<(LoraPart Part, LoraState State)> parts, ScalarType dtype = ScalarType.Float32)
    {
        ArgumentNullException.ThrowIfNull(parts);
        using var scope = NewDisposeScope();
        var tensors = new Dictionary<string, Tensor>(StringComparer.Ordinal);
        var configs = new JsonObject();
        foreach (var (part, state) in parts)
        {
            foreach (var (name, tensor) in state.Tensors)
            {
                tensors[$"{part.Name}.{name}"] = tensor.to(dtype);
            }

            foreach (var (key, value) in state.Config ?? [])
            {
                configs[$"{part.Name}.{key}"] = value?.DeepClone();
            }
        }

        SafetensorsFile.Write(path, tensors, new Dictionary<string, string> { ["format"] = "pt", [ConfigKey] = PeftFolder.Text(configs) });
    }

    /// <summary>Reads a file.</summary>
    internal static Dictionary<string, LoraState> Read(SafetensorsFile file, IReadOnlyList<LoraPart> parts)
    {
        var configs = file.Metadata.TryGetValue(ConfigKey, out var json) ? PythonJson.ParseObject(json, $"{file.Path}, {ConfigKey}") : [];
        var faults = new List<string>();
        var states = new Dictionary<string, LoraState>(StringComparer.Ordinal);
        using var scope = NewDisposeScope();
        foreach (var key in file.Tensors.Keys.Where(key => !parts.Any(part => key.StartsWith(part.Name + ".", StringComparison.Ordinal))))
        {
            faults.Add($"unexpected: {key} (the model has {string.Join(" and ", parts.Select(static part => part.Name))})");
        }

        foreach (var part in parts)
        {
            var prefix = part.Name + ".";
            var tensors = new Dictionary<string, Tensor>(StringComparer.Ordinal);
            var alphas = new Dictionary<string, double>(StringComparer.Ordinal);
            foreach (var key in file.Tensors.Keys.Where(key => key.StartsWith(prefix, StringComparison.Ordinal)).Order(StringComparer.Ordinal))
            {
                var name = key[prefix.Length..];
                var style = Styles.FirstOrDefault(style => name.EndsWith(style.Ending, StringComparison.Ordinal));
                if (style.Part is not null)
                {
                    tensors[name[..^style.Ending.Length] + style.Part] = file.Load(key);
                }
                else if (name.EndsWith(AlphaPart, StringComparison.Ordinal) && file.Tensors[key].Count == 1)
                {
                    alphas[name[..^AlphaPart.Length]] = file.Load(key, ScalarType.Float64).item<double>();
                }
                else
                {
                    // What has no style of its own here (a bias, an embedding) keeps PEFT's name.
                    tensors[name] = file.Load(key);
                }
            }

            if (tensors.Count > 0)
            {
                var config = new JsonObject(configs.Where(pair => pair.Key.StartsWith(prefix, StringComparison.Ordinal)).Select(pair => KeyValuePair.Create(pair.Key[prefix.Length..], pair.Value?.DeepClone())));
                faults.AddRange(tensors.Keys
                    .Select(static name => name.EndsWith(LoraState.DownPart, StringComparison.Ordinal) ? name[..^LoraState.DownPart.Length] + LoraState.UpPart
                        : name.EndsWith(LoraState.UpPart, StringComparison.Ordinal) ? name[..^LoraState.UpPart.Length] + LoraState.DownPart : name)
                    .Where(name => !tensors.ContainsKey(name))
                    .Select(name => $"missing: {prefix}{name}"));
                states[part.Name] = new LoraState(tensors, alphas, config.Count > 0 ? config : null);
            }
        }

        if (faults.Count > 0)
        {
            throw new InvalidDataException($"'{file.Path}' does not fit this model ({faults.Count} fault{(faults.Count == 1 ? "" : "s")}):\n- {string.Join("\n- ", faults)}");
        }

        foreach (var tensor in states.Values.SelectMany(static state => state.Tensors.Values))
        {
            tensor.DetachFromDisposeScope();
        }

        return states;
    }
}
