using System.Text.Json.Nodes;

namespace LoraNotebooks.Models;

/// <summary>Finds the weights in a model's folder: one safetensors file, or shards with an index, plain or of a variant such as fp16.</summary>
internal static class WeightFiles
{
    private const string Extension = ".safetensors";
    private const string IndexPart = ".safetensors.index.";

    private static readonly string[] Pickled = [".ckpt", ".pt", ".pth", ".bin"];

    /// <summary>The paths of the weights.</summary>
    /// <param name="folder">The model's folder.</param>
    /// <param name="variant">The variant's name; by default the plain files, or the only variant there is.</param>
    /// <exception cref="FileNotFoundException">There are none, or shards are missing: all are named.</exception>
    /// <exception cref="InvalidDataException">There are several to choose from, or only pickled ones, or the index is faulty.</exception>
    public static IReadOnlyList<string> Find(string folder, string? variant = null)
    {
        if (!Directory.Exists(folder))
        {
            throw new FileNotFoundException($"The folder '{folder}' does not exist: expected a model in Hugging Face layout.", folder);
        }

        var plain = new[] { ModelFolder.DiffusersWeights, ModelFolder.TransformersWeights };
        var files = Directory.GetFiles(folder).Select(path => Path.GetFileName(path)!).Order(StringComparer.Ordinal).ToList();
        var indexes = files
            .Where(static file => file.Contains(IndexPart, StringComparison.Ordinal) && file.EndsWith(".json", StringComparison.Ordinal))
            .ToList();
        var sharded = indexes.SelectMany(index => Shards(folder, index)).ToHashSet(StringComparer.Ordinal);
        var entries = files
            .Where(file => file.EndsWith(Extension, StringComparison.Ordinal) && !sharded.Contains(file))
            .Concat(indexes)
            .Select(static file => (File: file, Variant: Variant(file)))
            .ToList();

        var wanted = entries.Where(entry => entry.Variant == variant).ToList();
        if (variant is null)
        {
            // A known name goes before any other; where nothing is plain, the only entry there is will do.
            var known = wanted.Where(entry => plain.Contains(entry.File) || indexes.Contains(entry.File)).ToList();
            wanted = known.Count > 0 ? [known[0]] : entries.Count == 1 ? entries : wanted;
        }

        return wanted.Count == 1
            ? indexes.Contains(wanted[0].File) ? Existing(folder, wanted[0].File) : [Path.Combine(folder, wanted[0].File)]
            : throw Unclear(folder, variant, [.. entries.Select(static entry => entry.File)], files);
    }

    /// <summary>Refuses a file that is a pickle by its name.</summary>
    /// <exception cref="InvalidDataException">It is one; the message tells why it is not read and what to do.</exception>
    public static void RefusePickled(string path)
    {
        if (IsPickled(path))
        {
            throw new InvalidDataException(
                $"'{path}' is a pickled checkpoint, which is not read because reading one can run any code that is hidden in it. {Remedy}");
        }
    }

    private static string Remedy =>
        "Download the model's safetensors files, or convert it on a machine where running its code does no harm: "
            + "load it with torch.load(path, weights_only=True) and write its state dict with safetensors.torch.save_file.";

    private static bool IsPickled(string path) => Pickled.Contains(Path.GetExtension(path).ToLowerInvariant());

    /// <summary>model.fp16.safetensors → fp16; model.safetensors.index.fp16.json → fp16; model.safetensors → null.</summary>
    private static string? Variant(string file)
    {
        var name = file.Contains(IndexPart, StringComparison.Ordinal)
            ? file[..file.IndexOf(IndexPart, StringComparison.Ordinal)] + "." + file[(file.IndexOf(IndexPart, StringComparison.Ordinal) + IndexPart.Length)..]
            : file;
        var parts = name.Split('.');
        return parts.Length > 2 ? parts[^2] : null;
    }

    private static string[] Shards(string folder, string index)
    {
        var path = Path.Combine(folder, index);
        var map = ConfigReader.ReadObject(path)["weight_map"] as JsonObject
            ?? throw new InvalidDataException($"'{path}' has no weight_map object: expected an index of sharded weights.");
        var names = map.Select(static pair => pair.Value?.ToString() ?? "").Distinct().Order(StringComparer.Ordinal).ToArray();
        var strange = names.Where(static name => name.Length == 0 || Path.GetFileName(name) != name || IsPickled(name)).ToArray();
        return strange.Length == 0
            ? names
            : throw new InvalidDataException(
                $"'{path}' names files outside its folder, or of another kind: '{Listing.Inline(strange, "', '")}'. "
                    + "Expected plain names of safetensors files; download the model again.");
    }

    private static IReadOnlyList<string> Existing(string folder, string index)
    {
        var paths = Shards(folder, index).Select(name => Path.Combine(folder, name)).ToList();
        var missing = paths.Where(path => !File.Exists(path)).ToList();
        return missing.Count == 0
            ? paths
            : throw new FileNotFoundException(
                $"'{Path.Combine(folder, index)}' lists shards that are not there: "
                    + $"{Listing.Inline([.. missing.Select(static path => Path.GetFileName(path))])}. Download them too.",
                missing[0]);
    }

    private static IOException Unclear(string folder, string? variant, IReadOnlyCollection<string> entries, IReadOnlyList<string> files)
    {
        var pickles = files.Where(IsPickled).ToList();
        var expected = $"expected {ModelFolder.DiffusersWeights}, {ModelFolder.TransformersWeights} or shards with an index";
        if (entries.Count == 0)
        {
            return new FileNotFoundException(
                pickles.Count > 0
                    ? $"The folder '{folder}' has no weights in safetensors format, only {Listing.Inline(pickles)}: {expected}; "
                        + $"pickled weights are not read because reading one can run any code that is hidden in it. {Remedy}"
                    : $"The folder '{folder}' has no weights in safetensors format: {expected}. Download them.",
                folder);
        }

        return new FileNotFoundException(
            variant is null
                ? $"The folder '{folder}' has several weights files ({Listing.Inline(entries)}): {expected}. Say which by the variant, e.g. fp16."
                : $"The folder '{folder}' has no weights of the variant '{variant}', only {Listing.Inline(entries)}. "
                    + "Name one of these variants, or none for the plain files.",
            folder);
    }
}
