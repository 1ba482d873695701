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
    private const string UNet = "unet.";

    /// <summary>How names end → how PEFT ends them. The first that fits counts; those with a processor or "to_q_lora" are of diffusers' first year.</summary>
    private static readonly (string Ending, string Part)[] Styles =
    [
        .. Old("processor.to_q_lora", "to_q"), .. Old("processor.to_k_lora", "to_k"), .. Old("processor.to_v_lora", "to_v"), .. Old("processor.to_out_lora", "to_out.0"),
        .. Old("to_q_lora", "q_proj"), .. Old("to_k_lora", "k_proj"), .. Old("to_v_lora", "v_proj"), .. Old("to_out_lora", "out_proj"),
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
    /// <param name="dtype">The type of the weights in the file, default float32, which reads back exactly; <see langword="null"/> keeps each weight's own.</param>
    /// <param name="metadata">Further facts, e.g. those of a kohya file that this is made from; diffusers ignores them.</param>
    public static void Write(string path, IReadOnlyList<(LoraPart Part, LoraState State)> parts, ScalarType? dtype = ScalarType.Float32, IReadOnlyDictionary<string, string>? metadata = null)
    {
        ArgumentNullException.ThrowIfNull(parts);
        using var scope = NewDisposeScope();
        var tensors = new Dictionary<string, Tensor>(StringComparer.Ordinal);
        var configs = new JsonObject();
        foreach (var (part, state) in parts)
        {
            foreach (var (name, tensor) in PeftFolder.Named(state))
            {
                tensors[$"{part.Name}.{name}"] = tensor.to(dtype ?? tensor.dtype);
            }

            foreach (var (key, value) in state.Config ?? [])
            {
                configs[$"{part.Name}.{key}"] = value?.DeepClone();
            }
        }

        SafetensorsFile.Write(path, tensors, new Dictionary<string, string>(metadata ?? new Dictionary<string, string>()) { ["format"] = "pt", [ConfigKey] = PeftFolder.Text(configs) });
    }

    private static IEnumerable<(string Ending, string Part)> Old(string layer, string path) =>
        [($".{layer}.down.weight", $".{path}{LoraState.DownPart}"), ($".{layer}.up.weight", $".{path}{LoraState.UpPart}")];

    /// <summary>Whether a name, without its network's, is of the first files, which had the UNet's attention only and no network's name.</summary>
    internal static bool IsOfFirstFiles(string name) => name.Contains(".processor.", StringComparison.Ordinal) && Styles.Any(style => name.EndsWith(style.Ending, StringComparison.Ordinal));

    /// <summary>Reads a file.</summary>
    /// <param name="file">The file.</param>
    /// <param name="parts">The networks of the model.</param>
    /// <param name="unknown">Receives what is strange in place of an error.</param>
    internal static Dictionary<string, LoraState> Read(SafetensorsFile file, IReadOnlyList<LoraPart> parts, ICollection<string>? unknown = null)
    {
        var configs = file.Metadata.TryGetValue(ConfigKey, out var json) ? PythonJson.ParseObject(json, $"{file.Path}, {ConfigKey}") : [];
        var faults = new List<string>();
        var states = new Dictionary<string, LoraState>(StringComparer.Ordinal);
        using var scope = NewDisposeScope();
        var keys = file.Tensors.Keys.Select(key => (Key: key, Name: IsOfFirstFiles(key) && !key.StartsWith(UNet, StringComparison.Ordinal) ? UNet + key : key)).OrderBy(static key => key.Key, StringComparer.Ordinal).ToList();
        foreach (var (key, _) in keys.Where(key => !parts.Any(part => key.Name.StartsWith(part.Name + ".", StringComparison.Ordinal))))
        {
            faults.Add($"unexpected: {key} (the model has {string.Join(" and ", parts.Select(static part => part.Name))})");
        }

        foreach (var part in parts)
        {
            var prefix = part.Name + ".";
            var tensors = new Dictionary<string, Tensor>(StringComparer.Ordinal);
            var alphas = new Dictionary<string, double>(StringComparer.Ordinal);
            foreach (var (key, full) in keys.Where(key => key.Name.StartsWith(prefix, StringComparison.Ordinal)))
            {
                var name = full[prefix.Length..];
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

        if (unknown is not null)
        {
            faults.ForEach(unknown.Add);
        }
        else if (faults.Count > 0)
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
