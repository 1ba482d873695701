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

    /// <summary>The setting that freezes an adapter.</summary>
    internal const string InferenceKey = "inference_mode";

    /// <summary>What every name begins with: PEFT wraps the model twice.</summary>
    internal const string Prefix = "base_model.model.";

    private static readonly JsonSerializerOptions Layout = new()
    {
        WriteIndented = true,
        IndentSize = 2,
        NewLine = "\n",
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    /// <summary>Whether a folder is one.</summary>
    public static bool IsAt(string folder) => File.Exists(Path.Combine(folder, ConfigName));

    /// <summary>The network that one is for, as far as its names tell: "unet", "text_encoder", else "model".</summary>
    internal static string NetworkOf(string folder)
    {
        using var file = SafetensorsFile.Open(Path.Combine(folder, WeightsName));
        return file.Tensors.Keys.Any(static key =>
                key.Contains(".down_blocks.", StringComparison.Ordinal)
                || key.Contains(".up_blocks.", StringComparison.Ordinal)
                || key.Contains(".mid_block.", StringComparison.Ordinal))
            ? "unet"
            : file.Tensors.Keys.Any(static key => key.Contains(".text_model.", StringComparison.Ordinal)) ? "text_encoder"
            : "model";
    }

    /// <summary>Reads one. Names may have the adapter's name in them, or lack PEFT's wrapper; what is no part of an adapter is left out and told.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="strict">Whether what would be left out, or is not finite, is an error.</param>
    /// <exception cref="FileNotFoundException">A file is missing.</exception>
    /// <exception cref="InvalidDataException">A file is not what it should be, or strictly read, holds something else, too.</exception>
    public static LoraState Read(string folder, bool strict = false)
    {
        var reading = new LoraReading(Path.Combine(folder, WeightsName), strict);
        var state = Read(folder, reading, new Dictionary<string, string>(), static key => null);
        try
        {
            reading.RequireFinite(NetworkOf(folder), state);
            reading.Finish();
            return state;
        }
        catch
        {
            state.Dispose();
            throw;
        }
    }

    /// <summary>Reads one and notes what is strange.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="reading">Is told what is left out.</param>
    /// <param name="types">Is told the types of the tensors in the file, by their names.</param>
    /// <param name="moduleOf">The module of the model that a name means, or <see langword="null"/> to take it as it is written.</param>
    internal static LoraState Read(string folder, LoraReading reading, IDictionary<string, string> types, Func<LoraKey, string?> moduleOf)
    {
        var config = PythonJson.ReadObject(Path.Combine(folder, ConfigName));
        using var file = SafetensorsFile.Open(Path.Combine(folder, WeightsName));
        using var scope = NewDisposeScope();
        var tensors = new Dictionary<string, Tensor>(StringComparer.Ordinal);
        foreach (var (name, info) in file.Tensors.OrderBy(static pair => pair.Key, StringComparer.Ordinal))
        {
            var key = LoraKey.Parse(name, []);
            if (!key.IsWrapped && key.Part is null or LoraKey.Alpha)
            {
                var reason = LoraKey.WhyUnsupported(name);
                reading.Add(reason is null ? LoraNoteKind.Unknown : LoraNoteKind.Unsupported, reason ?? $"PEFT's names begin with '{Prefix}'", name);
                continue;
            }

            // What ends like no part of a LoRA is a trained bias or a whole layer, which the configuration tells.
            var own = key.Part is null ? key.IsWrapped ? key.Module : name : moduleOf(key) ?? (key.IsWrapped ? key.Module : LoraKey.Split(name).Stem);
            if (key.Counterpart() is { } other && !file.Tensors.ContainsKey(other))
            {
                reading.IsMissing(other);
            }

            if (!tensors.TryAdd(key.Part is null ? own : $"{own}.{key.Part}", file.Load(name)))
            {
                reading.Add(LoraNoteKind.Damaged, "the file has this weight twice, maybe of two adapters; expected one adapter in a file", name);
            }

            types[name] = info.StoredType;
        }

        foreach (var tensor in tensors.Values)
        {
            tensor.DetachFromDisposeScope();
        }

        return new LoraState(tensors, config: config);
    }

    /// <summary>Writes one.</summary>
    /// <param name="folder">Created where it is missing.</param>
    /// <param name="state">The adapter; it must have a configuration.</param>
    /// <param name="dtype">
    /// The type of the weights in the file, default float32, which reads back exactly; <see langword="null"/> keeps each weight's own.
    /// </param>
    /// <exception cref="ArgumentException">There is no configuration, or weights for which PEFT has no name, or that are too large for the type.</exception>
    /// <exception cref="InvalidDataException">Some weights are not finite. Nothing is written then, as in the other cases.</exception>
    public static void Write(string folder, LoraState state, ScalarType? dtype = ScalarType.Float32)
    {
        ArgumentNullException.ThrowIfNull(state);
        using var scope = NewDisposeScope();
        var casting = new FiniteCast(folder, dtype);
        var tensors = Named(state).ToDictionary(static pair => Prefix + pair.Key, pair => casting.Of(pair.Key, pair.Value), StringComparer.Ordinal);
        casting.ThrowIfUnfit();
        SafetensorsFile.Write(
            Path.Combine(folder, WeightsName),
            tensors,
            new Dictionary<string, string> { ["format"] = "pt" });

        // Whoever loads a folder means to use it, so PEFT writes that whatever the adapter is doing.
        var config = state.Config!.DeepClone().AsObject();
        config[InferenceKey] = true;
        AtomicFile.WriteAllText(Path.Combine(folder, ConfigName), Text(config));
    }

    /// <summary>The weights by PEFT's names: LyCORIS' m per output becomes PEFT's, and what PEFT does not have is refused.</summary>
    /// <exception cref="ArgumentException">There is no configuration, or weights for which PEFT has no name; all are listed.</exception>
    internal static Dictionary<string, Tensor> Named(LoraState state)
    {
        if (state.Config is not { } config)
        {
            throw new ArgumentException($"The adapter has no configuration, and PEFT needs one ({ConfigName}); without it α is lost.");
        }

        var type = config["peft_type"]?.ToString() ?? "LORA";
        var named = new Dictionary<string, Tensor>(StringComparer.Ordinal);
        var strange = new List<string>();
        foreach (var (name, tensor) in state.Tensors)
        {
            var owner = LoraNames.OwnerOf(name);
            if (name.EndsWith(LoraState.KohyaMagnitudePart, StringComparison.Ordinal)
                && owner?.Dialect.PeftType == type && tensor.dim() > 1 && tensor.numel() == tensor.size(0))
            {
                named[name[..^LoraState.KohyaMagnitudePart.Length] + LoraState.MagnitudePart] = tensor.dim() == 4
                    ? tensor.reshape(1, -1, 1, 1)
                    : tensor.reshape(-1);
            }
            else if (owner is { } known && (known.Dialect.PeftType != type || known.Factor.Has(FactorFacts.IsNotPefts)))
            {
                strange.Add($"{name} {Shapes.Text(tensor.shape)}");
            }
            else
            {
                named[name] = tensor;
            }
        }

        var magnitudes = named.Keys.Count(static name => name.EndsWith(LoraState.MagnitudePart, StringComparison.Ordinal));
        if (magnitudes > 0 && magnitudes < state.Ranks.Count)
        {
            strange.Add($"{LoraState.MagnitudePart[1..]} of {magnitudes} of {state.Ranks.Count} layers; PEFT has it for all or for none");
        }

        return strange.Count == 0
            ? named
            : throw new ArgumentException(
                $"PEFT's {type} adapters have no names for these; save as a kohya file:\n{Listing.Lines([.. strange.Order(StringComparer.Ordinal)])}");
    }

    /// <summary>A configuration as PEFT writes it.</summary>
    internal static string Text(JsonObject config) =>
        new JsonObject(config
                .OrderBy(static pair => pair.Key, StringComparer.Ordinal)
                .Select(static pair => KeyValuePair.Create(pair.Key, pair.Value?.DeepClone())))
            .ToJsonString(Layout);
}
