using System.Text.Json.Nodes;
using LoraNotebooks.Formats;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Models;

/// <summary>
/// The folder of one model in Hugging Face layout: <c>config.json</c> beside the weights in safetensors files, whose keys are the module's
/// parameter names. Pickled weights (.bin, .ckpt, .pt) are never read, as reading them can run code.
/// </summary>
public static class ModelFolder
{
    /// <summary>The name of a diffusers model's weights file.</summary>
    public const string DiffusersWeights = "diffusion_pytorch_model.safetensors";

    /// <summary>The name of a transformers model's weights file.</summary>
    public const string TransformersWeights = "model.safetensors";

    /// <summary>The name of the configuration's file.</summary>
    public const string Config = "config.json";

    private const string IndexSuffix = ".safetensors.index.json";

    /// <summary>Builds a model from its configuration and fills in its weights.</summary>
    /// <typeparam name="T">The model's class.</typeparam>
    /// <param name="folder">The folder.</param>
    /// <param name="create">Builds the model from the path of its config.json.</param>
    /// <param name="dtype">The type of the weights in memory, default float32 whatever the file's.</param>
    /// <param name="device">The device, default the CPU.</param>
    /// <param name="rename">Turns a key of the file into a parameter's name, or into <see langword="null"/> to ignore it; default: as they are.</param>
    /// <returns>The model in evaluation mode.</returns>
    /// <exception cref="FileNotFoundException">A file is missing.</exception>
    /// <exception cref="InvalidDataException">The configuration or the weights do not fit; all faults are listed.</exception>
    public static T Load<T>(string folder, Func<string, T> create, ScalarType? dtype = null, Device? device = null, Func<string, string?>? rename = null)
        where T : nn.Module
    {
        ArgumentNullException.ThrowIfNull(folder);
        ArgumentNullException.ThrowIfNull(create);
        var model = create(Path.Combine(folder, Config));
        try
        {
            model.to(dtype ?? ScalarType.Float32);
            LoadWeights(model, folder, rename);
            if (device is not null)
            {
                model.to(device);
            }

            model.eval();
            return model;
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    /// <summary>Copies a folder's weights into a module's parameters and buffers, converting to their type.</summary>
    /// <param name="module">The module; its parameter names are the keys of the file.</param>
    /// <param name="folder">The folder.</param>
    /// <param name="rename">Turns a key of the file into a parameter's name, or into <see langword="null"/> to ignore it; default: as they are.</param>
    /// <exception cref="FileNotFoundException">There are no weights.</exception>
    /// <exception cref="InvalidDataException">Keys are missing, unexpected or of another shape: all are listed and the module is unchanged.</exception>
    public static void LoadWeights(nn.Module module, string folder, Func<string, string?>? rename = null)
    {
        ArgumentNullException.ThrowIfNull(module);
        ArgumentNullException.ThrowIfNull(folder);
        var files = WeightFiles(folder).Select(SafetensorsFile.Open).ToList();
        try
        {
            var targets = module.state_dict();
            var sources = new Dictionary<string, (SafetensorsFile File, SafetensorInfo Info)>(StringComparer.Ordinal);
            var faults = new List<string>();
            foreach (var file in files)
            {
                foreach (var (key, info) in file.Tensors)
                {
                    var name = rename is null ? key : rename(key);
                    if (name is not null && !sources.TryAdd(name, (file, info)))
                    {
                        faults.Add($"given twice: {name}");
                    }
                }
            }

            faults.AddRange(Misfits(targets, sources));
            if (faults.Count > 0)
            {
                throw new InvalidDataException(
                    $"The weights in '{folder}' do not fit {module.GetName()} as its {Config} describes it, {faults.Count} fault{(faults.Count == 1 ? "" : "s")}:\n- {string.Join("\n- ", faults)}\nCheck that {Config} and the weights belong together.");
            }

            using var noGradient = no_grad();
            foreach (var (name, target) in targets)
            {
                var (file, info) = sources[name];
                using var loaded = file.Load(info.Name);
                target.copy_(loaded);
            }
        }
        finally
        {
            files.ForEach(file => file.Dispose());
        }
    }

    /// <summary>Saves a module's parameters and buffers with its configuration; each file is replaced whole or not at all.</summary>
    /// <param name="module">The module.</param>
    /// <param name="folder">The folder; it is created if need be.</param>
    /// <param name="config">The configuration.</param>
    /// <param name="weightsFile">The name of the weights' file: <see cref="DiffusersWeights"/> or <see cref="TransformersWeights"/>.</param>
    /// <param name="dtype">The type of floating-point weights in the file, default as in memory.</param>
    public static void Save(nn.Module module, string folder, JsonObject config, string weightsFile, ScalarType? dtype = null)
    {
        ArgumentNullException.ThrowIfNull(module);
        ArgumentNullException.ThrowIfNull(config);
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        var tensors = module.state_dict().ToDictionary(
            pair => pair.Key,
            pair => dtype is { } type && pair.Value.is_floating_point() ? pair.Value.to(type) : pair.Value,
            StringComparer.Ordinal);
        SafetensorsFile.Write(Path.Combine(folder, weightsFile), tensors, new Dictionary<string, string> { ["format"] = "pt" });
        AtomicFile.WriteAllText(Path.Combine(folder, Config), ConfigWriter.Text(config));
    }

    private static IEnumerable<string> Misfits(Dictionary<string, Tensor> targets, Dictionary<string, (SafetensorsFile File, SafetensorInfo Info)> sources)
    {
        foreach (var name in targets.Keys.Where(name => !sources.ContainsKey(name)).Order(StringComparer.Ordinal))
        {
            yield return $"missing: {name} {Shapes.Text(targets[name])}";
        }

        foreach (var name in sources.Keys.Where(name => !targets.ContainsKey(name)).Order(StringComparer.Ordinal))
        {
            yield return $"unexpected: {name} {Shapes.Text(sources[name].Info.Shape)}";
        }

        foreach (var name in targets.Keys.Where(sources.ContainsKey).Order(StringComparer.Ordinal))
        {
            if (!targets[name].shape.SequenceEqual(sources[name].Info.Shape))
            {
                yield return $"wrong shape: {name} is {Shapes.Text(sources[name].Info.Shape)} in the file, expected {Shapes.Text(targets[name])}";
            }
        }
    }

    /// <summary>The plain file, or the shards that an index lists, or the only safetensors file there is (e.g. a variant like *.fp16.safetensors).</summary>
    private static IReadOnlyList<string> WeightFiles(string folder)
    {
        if (!Directory.Exists(folder))
        {
            throw new FileNotFoundException($"The folder '{folder}' does not exist: expected a model in Hugging Face layout.", folder);
        }

        foreach (var name in (string[])[DiffusersWeights, TransformersWeights])
        {
            if (File.Exists(Path.Combine(folder, name)))
            {
                return [Path.Combine(folder, name)];
            }
        }

        var indexes = Directory.GetFiles(folder, "*" + IndexSuffix);
        if (indexes.Length == 1)
        {
            return Shards(folder, indexes[0]);
        }

        var found = Directory.GetFiles(folder, "*.safetensors").Order(StringComparer.Ordinal).ToArray();
        if (found.Length == 1)
        {
            return found;
        }

        throw new FileNotFoundException(
            $"The folder '{folder}' has {(found.Length == 0 ? "no weights in safetensors format" : $"several weights files ({string.Join(", ", found.Select(Path.GetFileName))})")}: expected {DiffusersWeights}, {TransformersWeights} or shards with an index. "
            + "Download the safetensors variant; pickled weights (.bin, .ckpt, .pt) are not read because reading them can run code.",
            folder);
    }

    private static string[] Shards(string folder, string index)
    {
        var map = ConfigReader.ReadObject(index)["weight_map"] as JsonObject
            ?? throw new InvalidDataException($"'{index}' has no weight_map object: expected an index of sharded weights.");
        var names = map.Select(pair => pair.Value?.ToString() ?? "").Distinct().Order(StringComparer.Ordinal).ToArray();
        var strange = names.Where(name => name.Length == 0 || Path.GetFileName(name) != name).ToArray();
        return strange.Length == 0
            ? [.. names.Select(name => Path.Combine(folder, name))]
            : throw new InvalidDataException($"'{index}' names files outside its folder: '{string.Join("', '", strange)}'. Expected plain file names; download the model again.");
    }
}
