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

    /// <summary>What reading it left out or found strange; empty if nothing.</summary>
    public IReadOnlyList<LoraNote> Notes { get; private init; } = [];

    /// <summary>What it is for and what made it.</summary>
    public LoraOrigin Origin { get; private init; } = new(LoraArchitecture.Unknown, null);

    /// <summary>The types of the tensors as they are in the file, e.g. "F16" or "F8_E4M3"; those that libtorch does not have were converted.</summary>
    public IReadOnlyList<string> StoredTypes { get; private init; } = [];

    /// <summary>Reads a LoRA of any kind for a model. What is not for it is left out and told in one line on the error stream.</summary>
    /// <param name="path">A folder (PEFT, or diffusers with its one file) or a .safetensors file.</param>
    /// <param name="parts">The networks of the model.</param>
    /// <param name="strict">Whether what would be left out, assumed or is not finite is an error. Default no.</param>
    /// <param name="model">The kind of the model, for an error that says first that a LoRA is for another one.</param>
    /// <exception cref="FileNotFoundException">There is nothing at that path, or nothing that is a LoRA.</exception>
    /// <exception cref="InvalidDataException">
    /// It is no LoRA, is for another model, is damaged, or strictly read holds something strange; the first ten names are listed.
    /// </exception>
    public static LoraFile Read(string path, IReadOnlyList<LoraPart> parts, bool strict = false, LoraArchitecture model = LoraArchitecture.Unknown)
    {
        ArgumentNullException.ThrowIfNull(path);
        ArgumentNullException.ThrowIfNull(parts);
        return Read(path, parts, new LoraReading(path, strict), model, refuses: true);
    }

    /// <summary>Reads a LoRA of any kind without its model: which networks and modules it is for is told by its own names.</summary>
    /// <param name="path">A folder (PEFT, or diffusers with its one file) or a .safetensors file.</param>
    /// <param name="strict">Whether what would be left out, assumed or is not finite is an error. Default no.</param>
    /// <exception cref="FileNotFoundException">There is nothing at that path, or nothing that is a LoRA.</exception>
    /// <exception cref="InvalidDataException">It is no LoRA, is damaged, or strictly read holds something strange; the first ten names are listed.</exception>
    public static LoraFile Read(string path, bool strict = false)
    {
        ArgumentNullException.ThrowIfNull(path);
        return Read(path, [], new LoraReading(path, strict), LoraArchitecture.Unknown, refuses: true);
    }

    /// <summary>Reads a LoRA of any kind as far as it can be; everything strange or broken is in its notes, and nothing is told.</summary>
    /// <exception cref="FileNotFoundException">There is nothing at that path, or nothing that is a LoRA.</exception>
    /// <exception cref="InvalidDataException">It is no LoRA.</exception>
    internal static LoraFile Inspect(string path) => Read(path, [], new LoraReading(path), LoraArchitecture.Unknown, refuses: false);

    private static LoraFile Read(string path, IReadOnlyList<LoraPart> parts, LoraReading reading, LoraArchitecture model, bool refuses)
    {
        // The weights' file alone lacks α, which lies beside it.
        if (Path.GetFileName(path) == PeftFolder.WeightsName && Path.GetDirectoryName(Path.GetFullPath(path)) is { } beside && PeftFolder.IsAt(beside))
        {
            path = beside;
        }

        var states = new Dictionary<string, LoraState>(StringComparer.Ordinal);
        try
        {
            var types = new Dictionary<string, string>(StringComparer.Ordinal);
            var read = Directory.Exists(path) ? ReadFolder(path, parts, reading, states, types) : null;
            read ??= ReadFile(Directory.Exists(path) ? FileIn(path, parts) : path, parts, reading, states, types);
            foreach (var (network, state) in states)
            {
                reading.RequireFinite(network, state);
            }

            if (refuses && (reading.Strangers > 0 || states.Count == 0) && read.Origin.Mismatch(model) is { } mismatch)
            {
                throw new InvalidDataException($"{mismatch} '{path}': {LoraNote.Text(reading.Notes)}.");
            }

            if (refuses && states.Count == 0)
            {
                throw new InvalidDataException(
                    $"'{path}' holds nothing for this model"
                        + $"{(read.Origin.Architecture == LoraArchitecture.Unknown ? "" : $"; it is for {read.Origin.Text}")}: "
                        + $"{LoraNote.Text(reading.Notes)}. Expected {Expected(parts)}.");
            }

            return read with { Notes = refuses ? reading.Finish() : reading.Notes, StoredTypes = [.. types.Values.Distinct().Order(StringComparer.Ordinal)] };
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

    /// <summary>Whether most of a file's names are those of a LoRA.</summary>
    internal static bool IsLora(SafetensorsFile file) => 2 * file.Tensors.Keys.Count(static key => LoraKey.Parse(key, []).IsOfLora) > file.Tensors.Count;

    /// <summary>The PEFT folders in a folder, or the one that it is; <see langword="null"/> if there are none.</summary>
    private static LoraFile? ReadFolder(
        string path,
        IReadOnlyList<LoraPart> parts,
        LoraReading reading,
        Dictionary<string, LoraState> states,
        Dictionary<string, string> types)
    {
        var names = parts.Count > 0
            ? parts.Select(static part => part.Name)
            : Directory.GetDirectories(path).Select(static folder => Path.GetFileName(folder)!).Order(StringComparer.Ordinal);
        var folders = names.Where(name => PeftFolder.IsAt(Path.Combine(path, name))).ToDictionary(static name => name, name => Path.Combine(path, name));
        if (folders.Count == 0 && PeftFolder.IsAt(path))
        {
            var told = PeftFolder.NetworkOf(path);
            folders[parts.Count == 0 || parts.Any(part => part.Name == told) ? told : parts[0].Name] = path;
        }

        if (folders.Count == 0)
        {
            return null;
        }

        var modules = new LoraModules(parts);
        var tensors = new Dictionary<string, SafetensorInfo>(StringComparer.Ordinal);
        foreach (var (name, folder) in folders)
        {
            states.Add(
                name,
                PeftFolder.Read(folder, reading, types, key => parts.Count > 0 && modules.Find(key with { Network = name }) is [var only] ? only.Path : null));
            using var file = SafetensorsFile.Open(Path.Combine(folder, PeftFolder.WeightsName));
            foreach (var (key, info) in file.Tensors)
            {
                tensors[$"{name}/{key}"] = info;
            }
        }

        return new LoraFile(LoraFileKind.Peft, states, new Dictionary<string, string>()) { Origin = LoraOrigin.Of(tensors, new Dictionary<string, string>()) };
    }

    private static string FileIn(string folder, IReadOnlyList<LoraPart> parts)
    {
        var file = Path.Combine(folder, DiffusersName);
        return File.Exists(file)
            ? file
            : throw new FileNotFoundException(
                $"'{folder}' holds no LoRA: expected "
                    + string.Join(
                        " or ",
                        parts.Select(static part => part.Name).DefaultIfEmpty("unet").Select(static name => $"{name}/{PeftFolder.ConfigName}"))
                    + $", {PeftFolder.ConfigName} or {DiffusersName}.",
                folder);
    }

    private static LoraFile ReadFile(
        string path,
        IReadOnlyList<LoraPart> parts,
        LoraReading reading,
        Dictionary<string, LoraState> states,
        Dictionary<string, string> types)
    {
        using var file = SafetensorsFile.Open(path);
        var keys = file.Tensors.Keys.Order(StringComparer.Ordinal).Select(key => LoraKey.Parse(key, parts)).ToList();
        if (!keys.Exists(static key => key.IsOfLora))
        {
            throw new InvalidDataException(
                $"'{path}' is not a LoRA{(parts.Count > 0 ? " for this model" : "")}: its names begin like "
                    + $"'{string.Join("', '", keys.Take(3).Select(static key => key.Text))}', expected {Expected(parts)}.{Otherwise(file)}");
        }

        LoraTensors.Read(file, keys, parts, reading, states, types);
        var isKohyas = keys.Exists(static key => key.IsOfKohya);
        return new LoraFile(isKohyas ? LoraFileKind.Kohya : LoraFileKind.Diffusers, states, file.Metadata)
        {
            Origin = LoraOrigin.Of(file.Tensors, file.Metadata),
        };
    }

    private static string Expected(IReadOnlyList<LoraPart> parts) =>
        string.Join(
            " or ",
            parts
                .Select(static part => $"'{part.KohyaPrefix}_…' or '{part.Name}.…'")
                .DefaultIfEmpty("'lora_unet_…', 'lora_te_…', 'unet.…' or 'text_encoder.…'"));

    /// <summary>What a file that is no LoRA may be instead, and how that is used.</summary>
    private static string Otherwise(SafetensorsFile file) => file.Tensors.Keys switch
    {
        var keys when keys.Any(static key => key.StartsWith("model.diffusion_model.", StringComparison.Ordinal)) =>
            " This is a whole model: StableDiffusionPipeline.Load reads it.",
        var keys when keys.All(static key => key is "emb_params" or "clip_l" or "clip_g" or "<s0>") =>
            " This is an embedding (textual inversion), which is not supported.",
        var keys when keys.Any(static key =>
                key.StartsWith("ip_adapter.", StringComparison.Ordinal) || key.StartsWith("image_proj.", StringComparison.Ordinal)) =>
            " This is an IP-Adapter, which is not supported.",
        var keys when keys.Any(static key =>
                key.StartsWith("control_model.", StringComparison.Ordinal) || key.StartsWith("controlnet_", StringComparison.Ordinal)) =>
            " This is a ControlNet, which is not supported.",
        _ => "",
    };

    /// <summary>Releases the weights.</summary>
    public void Dispose()
    {
        foreach (var state in States.Values)
        {
            state.Dispose();
        }
    }
}
