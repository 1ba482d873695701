namespace LoraNotebooks.Formats;

/// <summary>One network of a model that a LoRA file may change.</summary>
/// <param name="Name">Its name in diffusers' files and folders: "unet", "text_encoder".</param>
/// <param name="KohyaPrefix">How its keys begin in kohya's files: "lora_unet", "lora_te", of SDXL "lora_te1" and "lora_te2".</param>
/// <param name="ModulePaths">The paths of its modules, against which underscored names are resolved.</param>
/// <param name="HasSgmNames">Whether kohya's files name its blocks as the original code does (SDXL's UNet: "input_blocks_4_1"); read are both.</param>
public sealed record LoraPart(string Name, string KohyaPrefix, IReadOnlyCollection<string> ModulePaths, bool HasSgmNames = false);

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

    /// <summary>Reads a LoRA of any kind for a model.</summary>
    /// <param name="path">A folder (PEFT, or diffusers with its one file) or a .safetensors file.</param>
    /// <param name="parts">The networks of the model.</param>
    /// <exception cref="FileNotFoundException">There is nothing at that path, or nothing that is a LoRA.</exception>
    /// <exception cref="InvalidDataException">The keys fit no kind or not these networks; all strange ones are listed.</exception>
    public static LoraFile Read(string path, IReadOnlyList<LoraPart> parts)
    {
        ArgumentNullException.ThrowIfNull(path);
        ArgumentNullException.ThrowIfNull(parts);
        return Directory.Exists(path)
            ? ReadFolder(path, parts) ?? Read(FileIn(path, parts.Select(static part => part.Name)), parts)
            : ReadFile(path, _ => parts);
    }

    /// <summary>Reads a LoRA of any kind without its model: which networks and modules it is for is told by its own names.</summary>
    /// <param name="path">A folder (PEFT, or diffusers with its one file) or a .safetensors file.</param>
    /// <param name="unknown">Receives strange names in place of an error about them.</param>
    /// <exception cref="FileNotFoundException">There is nothing at that path, or nothing that is a LoRA.</exception>
    /// <exception cref="InvalidDataException">The keys fit no kind; all strange ones are listed.</exception>
    public static LoraFile Read(string path, ICollection<string>? unknown = null)
    {
        ArgumentNullException.ThrowIfNull(path);
        if (!Directory.Exists(path))
        {
            return ReadFile(path, LoraParts.Of, unknown);
        }

        var names = PeftFolder.IsAt(path) ? [PeftFolder.NetworkOf(path)] : Directory.GetDirectories(path).Where(PeftFolder.IsAt).Select(static folder => Path.GetFileName(folder)!).Order(StringComparer.Ordinal).ToList();
        return ReadFolder(path, LoraParts.For(names, isSdxl: false, static _ => [])) ?? Read(FileIn(path, ["unet"]), unknown);
    }

    /// <summary>The PEFT folders in a folder, or the one that it is; <see langword="null"/> if there are none.</summary>
    private static LoraFile? ReadFolder(string path, IReadOnlyList<LoraPart> parts)
    {
        var folders = parts.Where(part => PeftFolder.IsAt(Path.Combine(path, part.Name))).ToDictionary(static part => part.Name, part => Path.Combine(path, part.Name));
        if (folders.Count == 0 && PeftFolder.IsAt(path))
        {
            folders[parts[0].Name] = path;
        }

        return folders.Count == 0 ? null : new LoraFile(LoraFileKind.Peft, ReadAll(folders), new Dictionary<string, string>());
    }

    private static Dictionary<string, LoraState> ReadAll(Dictionary<string, string> folders)
    {
        var states = new Dictionary<string, LoraState>(StringComparer.Ordinal);
        try
        {
            foreach (var (name, folder) in folders)
            {
                states.Add(name, PeftFolder.Read(folder));
            }

            return states;
        }
        catch
        {
            foreach (var state in states.Values)
            {
                state.Dispose();
            }

            throw;
        }
    }

    private static string FileIn(string folder, IEnumerable<string> names)
    {
        var file = Path.Combine(folder, DiffusersName);
        return File.Exists(file)
            ? file
            : throw new FileNotFoundException($"'{folder}' holds no LoRA: expected {string.Join(" or ", names.Select(static name => $"{name}/{PeftFolder.ConfigName}"))}, {PeftFolder.ConfigName} or {DiffusersName}.", folder);
    }

    private static LoraFile ReadFile(string path, Func<SafetensorsFile, IReadOnlyList<LoraPart>> partsOf, ICollection<string>? unknown = null)
    {
        using var safetensors = SafetensorsFile.Open(path);
        var parts = partsOf(safetensors);
        var keys = safetensors.Tensors.Keys;
        if (keys.Any(key => parts.Any(part => key.StartsWith(part.KohyaPrefix + "_", StringComparison.Ordinal))))
        {
            return new LoraFile(LoraFileKind.Kohya, KohyaFile.Read(safetensors, parts, unknown), safetensors.Metadata);
        }

        if (keys.Any(key => parts.Any(part => key.StartsWith(part.Name + ".", StringComparison.Ordinal)) || DiffusersLoraFile.IsOfFirstFiles(key)))
        {
            return new LoraFile(LoraFileKind.Diffusers, DiffusersLoraFile.Read(safetensors, parts, unknown), safetensors.Metadata);
        }

        throw new InvalidDataException(
            $"'{path}' is not a LoRA{(parts.Count > 0 ? " for this model" : "")}: its names begin like '{string.Join("', '", keys.Take(3))}', expected {string.Join(" or ", parts.Select(static part => $"'{part.KohyaPrefix}_…' or '{part.Name}.…'").DefaultIfEmpty("'lora_unet_…', 'lora_te_…', 'unet.…' or 'text_encoder.…'"))}."
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
