using LoraNotebooks.Formats;
using static TorchSharp.torch;

namespace LoraNotebooks.Adapters.Tools;

/// <summary>The weights of one network on disk: a .safetensors file, or a folder with one, whole or in shards.</summary>
internal sealed class NetworkWeights : IDisposable
{
    private readonly string _path;
    private readonly List<SafetensorsFile> _files = [];
    private readonly Dictionary<string, SafetensorsFile> _holders = new(StringComparer.Ordinal);

    public NetworkWeights(string path)
    {
        _path = path;
        try
        {
            foreach (var file in FilesOf(path))
            {
                var opened = SafetensorsFile.Open(file);
                _files.Add(opened);
                foreach (var name in opened.Tensors.Keys)
                {
                    _holders[name] = opened;
                }
            }
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>The names, in order.</summary>
    public IEnumerable<string> Names => _holders.Keys.Order(StringComparer.Ordinal);

    /// <summary>Which network of Stable Diffusion a folder or file has, as its names tell.</summary>
    public static string NetworkOf(string path)
    {
        using var weights = new NetworkWeights(path);
        return weights._holders.Keys.Any(static name => name.StartsWith("down_blocks.", StringComparison.Ordinal)) ? "unet"
            : weights._holders.Keys.Any(static name => name.StartsWith("text_model.", StringComparison.Ordinal)) ? "text_encoder"
            : throw new InvalidDataException(
                $"'{path}' is neither a UNet nor a text encoder in diffusers' names: "
                + $"its names begin like '{string.Join("', '", weights.Names.Take(3))}'. Convert an original checkpoint to a model folder first.");
    }

    /// <summary>One weight in float32.</summary>
    public Tensor Load(string name) => _holders[name].Load(name, ScalarType.Float32);

    /// <summary>Throws unless another network has the same names and shapes.</summary>
    public void RequireSameAs(NetworkWeights other)
    {
        var faults = _holders.Keys.Union(other._holders.Keys).Order(StringComparer.Ordinal).Select(name =>
            !_holders.TryGetValue(name, out var mine) ? $"only in '{other._path}': {name}"
            : !other._holders.TryGetValue(name, out var its) ? $"only in '{_path}': {name}"
            : !mine.Tensors[name].Shape.SequenceEqual(its.Tensors[name].Shape)
                ? $"other shapes: {name} is {Shapes.Text(mine.Tensors[name].Shape)} and {Shapes.Text(its.Tensors[name].Shape)}"
            : null).OfType<string>().ToList();
        Faults.ThrowIfAny(faults, static found => new InvalidDataException(
            $"The models are not of one architecture ({Listing.Count(found.Count, "fault")}):\n{Listing.Lines(found)}"));
    }

    public void Dispose() => _files.ForEach(static file => file.Dispose());

    /// <summary>The one file without a variant ("….fp16.safetensors"), or all shards.</summary>
    private static List<string> FilesOf(string path)
    {
        if (File.Exists(path))
        {
            return [path];
        }

        var all = Directory.Exists(path) ? Directory.GetFiles(path, "*.safetensors").Order(StringComparer.Ordinal).ToList() : [];
        var plain = all.Where(static file => System.IO.Path.GetFileNameWithoutExtension(file).Split('.').Length == 1).ToList();
        var chosen = plain.Count > 0 ? plain : all;
        return chosen.Count switch
        {
            0 => throw new FileNotFoundException(
                $"'{path}' has no .safetensors weights; expected a model folder with unet/ and text_encoder/, or the folder of one network.",
                path),
            > 1 when !chosen.All(static file => System.IO.Path.GetFileName(file).Contains("-of-", StringComparison.Ordinal)) =>
                throw new InvalidDataException(
                    $"'{path}' has several weight files ({Listing.Inline([.. chosen.Select(static file => System.IO.Path.GetFileName(file))])}), "
                    + "expected one, or shards of one."),
            _ => chosen,
        };
    }
}
