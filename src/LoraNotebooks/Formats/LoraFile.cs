namespace LoraNotebooks.Formats;

/// <summary>One network of a model that a LoRA file may change.</summary>
/// <param name="Name">Its name in diffusers' files and folders: "unet", "text_encoder".</param>
/// <param name="KohyaPrefix">How its keys begin in kohya's files: "lora_unet", "lora_te".</param>
/// <param name="ModulePaths">The paths of its modules, against which underscored names are resolved.</param>
public sealed record LoraPart(string Name, string KohyaPrefix, IReadOnlyCollection<string> ModulePaths);

/// <summary>How a LoRA is laid out on disk.</summary>
public enum LoraFileKind
{
    /// <summary>A folder with one PEFT adapter folder per network: <c>unet/adapter_config.json</c>, …</summary>
    Peft,

    /// <summary>A .safetensors file with kohya's underscored names: <c>lora_unet_….lora_down.weight</c>.</summary>
    Kohya,

    /// <summary>A .safetensors file with dotted names: <c>unet.….lora_A.weight</c>.</summary>
    Diffusers,
}

/// <summary>A LoRA as it was read: the weights of each network that it changes.</summary>
/// <param name="Kind">How it was laid out.</param>
/// <param name="States">The weights by <see cref="LoraPart.Name"/>, only of networks that it changes.</param>
/// <param name="Metadata">The file's metadata; empty for a PEFT folder.</param>
public sealed record LoraFile(LoraFileKind Kind, IReadOnlyDictionary<string, LoraState> States, IReadOnlyDictionary<string, string> Metadata) : IDisposable
{
    /// <summary>The file's name in a folder that diffusers saved.</summary>
    public const string DiffusersName = "pytorch_lora_weights.safetensors";

    /// <summary>Reads a LoRA of any kind.</summary>
    /// <param name="path">A folder (PEFT, or diffusers with its one file) or a .safetensors file.</param>
    /// <param name="parts">The networks of the model.</param>
    /// <exception cref="FileNotFoundException">There is nothing at that path, or nothing that is a LoRA.</exception>
    /// <exception cref="InvalidDataException">The keys fit no kind or not these networks; all strange ones are listed.</exception>
    public static LoraFile Read(string path, IReadOnlyList<LoraPart> parts)
    {
        ArgumentNullException.ThrowIfNull(path);
        ArgumentNullException.ThrowIfNull(parts);
        if (Directory.Exists(path))
        {
            var folders = parts.Where(part => PeftFolder.IsAt(Path.Combine(path, part.Name))).ToList();
            if (folders.Count > 0)
            {
                return new LoraFile(LoraFileKind.Peft, folders.ToDictionary(static part => part.Name, part => PeftFolder.Read(Path.Combine(path, part.Name))), new Dictionary<string, string>());
            }

            if (PeftFolder.IsAt(path))
            {
                return new LoraFile(LoraFileKind.Peft, new Dictionary<string, LoraState> { [parts[0].Name] = PeftFolder.Read(path) }, new Dictionary<string, string>());
            }

            var file = Path.Combine(path, DiffusersName);
            return File.Exists(file)
                ? Read(file, parts)
                : throw new FileNotFoundException($"'{path}' holds no LoRA: expected {string.Join(" or ", parts.Select(static part => $"{part.Name}/{PeftFolder.ConfigName}"))}, {PeftFolder.ConfigName} or {DiffusersName}.", path);
        }

        using var safetensors = SafetensorsFile.Open(path);
        var keys = safetensors.Tensors.Keys;
        if (keys.Any(key => parts.Any(part => key.StartsWith(part.KohyaPrefix + "_", StringComparison.Ordinal))))
        {
            return new LoraFile(LoraFileKind.Kohya, KohyaFile.Read(safetensors, parts), safetensors.Metadata);
        }

        if (keys.Any(key => parts.Any(part => key.StartsWith(part.Name + ".", StringComparison.Ordinal))))
        {
            return new LoraFile(LoraFileKind.Diffusers, DiffusersLoraFile.Read(safetensors, parts), safetensors.Metadata);
        }

        throw new InvalidDataException(
            $"'{path}' is not a LoRA for this model: its names begin like '{string.Join("', '", keys.Take(3))}', expected {string.Join(" or ", parts.Select(static part => $"'{part.KohyaPrefix}_…' or '{part.Name}.…'"))}."
            + (keys.Any(static key => key.StartsWith(PeftFolder.Prefix, StringComparison.Ordinal)) ? $" This is the weights file of a PEFT adapter: give its folder, which also has {PeftFolder.ConfigName}." : ""));
    }

    /// <summary>Releases the weights.</summary>
    public void Dispose()
    {
        foreach (var state in States.Values)
        {
            state.Dispose();
        }
    }
}
