using System.Text.Json.Nodes;
using LoraNotebooks.Formats;
using LoraNotebooks.Tensors;
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

    /// <summary>
    /// The type that weights get where none is asked for: what computes best on a device. The CPU computes in float32, which gives
    /// upstream's numbers; a CUDA device in bfloat16, which halves the memory and, with float32's range, overflows nowhere.
    /// </summary>
    /// <param name="device">The device, <see langword="null"/> for the CPU.</param>
    public static ScalarType DefaultType(Device? device) => device?.type == DeviceType.CUDA ? ScalarType.BFloat16 : ScalarType.Float32;

    /// <summary>Builds a model from its configuration and fills in its weights, tensor by tensor from memory-mapped files.</summary>
    /// <typeparam name="T">The model's class.</typeparam>
    /// <param name="folder">The folder.</param>
    /// <param name="create">Builds the model from the path of its config.json.</param>
    /// <param name="dtype">The type of the weights in memory, whatever the file's; default as <see cref="DefaultType"/> says.</param>
    /// <param name="device">The device, default the CPU.</param>
    /// <param name="variant">The files' variant, e.g. fp16 for <c>*.fp16.safetensors</c>; default the plain files, or the only ones there are.</param>
    /// <param name="rename">Turns a key of the file into a parameter's name, or into <see langword="null"/> to ignore it; default: as they are.</param>
    /// <returns>The model in evaluation mode.</returns>
    /// <exception cref="FileNotFoundException">A file is missing.</exception>
    /// <exception cref="InvalidDataException">The configuration or the weights do not fit; all faults are listed.</exception>
    public static T Load<T>(
        string folder,
        Func<string, T> create,
        ScalarType? dtype = null,
        Device? device = null,
        string? variant = null,
        Func<string, string?>? rename = null)
        where T : nn.Module
    {
        ArgumentNullException.ThrowIfNull(folder);
        ArgumentNullException.ThrowIfNull(create);
        using var scope = NewDisposeScope(); // for what building leaves over
        var model = Layers.WithoutMemory(() => create(Path.Combine(folder, Config)));
        var files = new List<SafetensorsFile>();
        try
        {
            files.AddRange(WeightFiles.Find(folder, variant).Select(SafetensorsFile.Open));
            WeightLoading.Fill(model, Sources(files, folder, rename), folder, dtype ?? DefaultType(device), device);
            model.eval();
            Keep(model);
            return model;
        }
        catch
        {
            model.Dispose();
            throw;
        }
        finally
        {
            files.ForEach(static file => file.Dispose());
        }
    }

    /// <summary>Saves a module's parameters and buffers with its configuration; each file is replaced whole or not at all.</summary>
    /// <param name="module">The module.</param>
    /// <param name="folder">The folder; it is created if need be.</param>
    /// <param name="config">The configuration.</param>
    /// <param name="weightsFile">The name of the weights' file: <see cref="DiffusersWeights"/> or <see cref="TransformersWeights"/>.</param>
    /// <param name="dtype">The type of floating-point weights in the file, default as in memory.</param>
    /// <exception cref="ArgumentException">Weights are too large for the type; nothing is written.</exception>
    public static void Save(nn.Module module, string folder, JsonObject config, string weightsFile, ScalarType? dtype = null)
    {
        ArgumentNullException.ThrowIfNull(module);
        ArgumentNullException.ThrowIfNull(config);
        RequireHeldBy(module, dtype);
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        var tensors = module.state_dict().ToDictionary(
            pair => pair.Key,
            pair => dtype is { } type && pair.Value.is_floating_point() ? pair.Value.to(type) : pair.Value,
            StringComparer.Ordinal);
        SafetensorsFile.Write(Path.Combine(folder, weightsFile), tensors, new Dictionary<string, string> { ["format"] = "pt" });
        AtomicFile.WriteAllText(Path.Combine(folder, Config), ConfigWriter.Text(config));
    }

    /// <summary>Refuses to write weights that would overflow to infinity in the type of a file.</summary>
    /// <param name="module">The module.</param>
    /// <param name="dtype">The type, default as in memory.</param>
    /// <exception cref="ArgumentException">Some are finite and too large.</exception>
    internal static void RequireHeldBy(nn.Module module, ScalarType? dtype)
    {
        using var scope = NewDisposeScope();
        var tooLarge = dtype is { } type
            ? module.state_dict().Where(pair => Finite.Is(pair.Value) && !Finite.Is(pair.Value, type)).Select(static pair => pair.Key).ToList()
            : [];
        if (tooLarge.Count > 0)
        {
            throw new ArgumentException(
                $"{Listing.Count(tooLarge.Count, "weight")} of {module.GetName()} would overflow to infinity in {dtype}, "
                    + $"expected a type that holds them: BFloat16 or Float32. Nothing was written:\n{Listing.Lines(tooLarge)}");
        }
    }

    /// <summary>
    /// Refuses a configuration that asks for far more weights than the files hold, before a network of that size is built. A few that are missing
    /// are for the loading to tell, by their names.
    /// </summary>
    /// <param name="folder">The folder.</param>
    /// <param name="variant">The files' variant.</param>
    /// <param name="weights">The number of weights that the configuration asks for.</param>
    /// <exception cref="FileNotFoundException">There are no weights.</exception>
    /// <exception cref="InvalidDataException">The files hold less than half.</exception>
    internal static void RequireWeights(string folder, string? variant, double weights)
    {
        var held = 0.0;
        foreach (var path in WeightFiles.Find(folder, variant))
        {
            using var file = SafetensorsFile.Open(path);
            held += file.Tensors.Values.Sum(static info => (double)info.Count);
        }

        RequireWeights(Path.Combine(folder, Config), weights, held);
    }

    /// <summary>The same where the number of weights that are there is known.</summary>
    /// <param name="origin">The file that describes the network, for the message.</param>
    /// <param name="weights">The number of weights that it asks for.</param>
    /// <param name="held">The number of weights that are there.</param>
    /// <exception cref="InvalidDataException">There are less than half.</exception>
    internal static void RequireWeights(string origin, double weights, double held)
    {
        if (weights > 2 * held)
        {
            throw new InvalidDataException(
                $"'{origin}' describes a network of {weights:N0} weights, but its files hold only {held:N0}: "
                    + "expected a configuration and weights that belong together. Download the model again.");
        }
    }

    /// <summary>Lets a model that was made in a scope outlive it: some layers leave their weights to the scope that they were made in.</summary>
    internal static void Keep(nn.Module model)
    {
        foreach (var weight in model.parameters().Concat(model.buffers()))
        {
            weight.DetachFromDisposeScope();
        }
    }

    private static Dictionary<string, WeightSource> Sources(IReadOnlyList<SafetensorsFile> files, string folder, Func<string, string?>? rename)
    {
        var sources = new Dictionary<string, WeightSource>(StringComparer.Ordinal);
        var twice = new List<string>();
        foreach (var (file, key) in files.SelectMany(static file => file.Tensors.Keys.Select(key => (file, key))))
        {
            if ((rename is null ? key : rename(key)) is { } name && !sources.TryAdd(name, WeightSource.Whole(file, key)))
            {
                twice.Add(name);
            }
        }

        return twice.Count == 0
            ? sources
            : throw new InvalidDataException($"The weights in '{folder}' are given twice: {Listing.Inline(twice)}. Download the model again.");
    }
}
