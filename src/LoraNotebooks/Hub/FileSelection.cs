using System.IO.Enumeration;
using System.Text.RegularExpressions;

namespace LoraNotebooks.Hub;

/// <summary>Chooses the files of a repository that are needed.</summary>
internal static partial class FileSelection
{
    private const string PipelineIndex = "model_index.json";
    private const string WeightsExtension = ".safetensors";

    private static readonly string[] Extensions = [WeightsExtension, ".json", ".txt"];
    private static readonly string[] KnownVariants = ["fp16", "bf16", "fp32", "non_ema", "ema_only"];
    private static readonly string[] UnusedFolders = ["safety_checker", "onnx", "openvino", "coreml", "flax"];

    /// <summary>The files to fetch, smallest first, so that what is wrong with a model shows before its weights are here.</summary>
    /// <exception cref="HubException">There is nothing to fetch, or no such variant.</exception>
    public static IReadOnlyList<ListedFile> Select(HubId id, IReadOnlyList<ListedFile> files, DownloadOptions options)
    {
        var readable = files
            .Where(static file => Extensions.Contains(Path.GetExtension(file.Name).ToLowerInvariant()) && !IsIndexOfPickles(file.Name))
            .DistinctBy(static file => file.Name)
            .ToList();
        var chosen = options.Files.Count > 0
            ? readable.Where(file => options.Files.Any(pattern => FileSystemName.MatchesSimpleExpression(pattern, file.Name, ignoreCase: false))).ToList()
            : OfVariant(id, Needed(readable), options.Variant);
        return chosen.Count > 0
            ? [.. chosen.OrderBy(static file => file.Size ?? 0).ThenBy(static file => file.Name, StringComparer.Ordinal)]
            : throw new HubException(
                HubFailure.NotFound,
                options.Files.Count > 0
                    ? $"The model {id} has no safetensors, JSON or text file that matches {string.Join(", ", options.Files)}. Its files: "
                        + $"{Printable.Text(string.Join(", ", readable.Select(static file => file.Name)))}"
                    : $"The model {id} has no safetensors, JSON or text files. Pickled weights (.bin, .ckpt, .pt) are not fetched because reading "
                        + "them can run code; look for a version with safetensors.");
    }

    private static List<ListedFile> Needed(List<ListedFile> files)
    {
        // A pipeline's root often holds the same model once more as single files for other programs.
        var isPipeline = files.Any(static file => file.Name == PipelineIndex);
        return isPipeline
            ? [.. files.Where(static file =>
                file.Name.Split('/') is var parts && (parts.Length == 1 ? !IsWeights(file.Name) : !UnusedFolders.Contains(parts[0])))]
            : files;
    }

    private static List<ListedFile> OfVariant(HubId id, List<ListedFile> files, string? wanted)
    {
        var variants = files.Select(file => (File: file, Weights: WeightsOf(file.Name, wanted))).ToList();
        if (wanted is not null && variants.All(entry => entry.Weights?.Variant != wanted))
        {
            var known = variants.Select(static entry => entry.Weights?.Variant).Where(static variant => variant is { Length: > 0 }).Distinct().ToList();
            throw new HubException(
                HubFailure.NotFound,
                $"The model {id} has no weights of the variant '{wanted}'; it has "
                    + $"{(known.Count == 0 ? "only plain ones. Leave the variant out" : string.Join(", ", known) + " and may have plain ones")}.");
        }

        return
        [
            .. variants.Where(static entry => entry.Weights is null).Select(static entry => entry.File),
            .. variants.Where(static entry => entry.Weights is not null)
                .GroupBy(static entry => entry.Weights!.Value.Stem)
                .SelectMany(weights => Preferred(weights.Select(static entry => (entry.File, entry.Weights!.Value.Variant)).ToList(), wanted)),
        ];
    }

    /// <summary>The wanted variant of one component's weights, else the plain one, else any.</summary>
    private static IEnumerable<ListedFile> Preferred(IReadOnlyList<(ListedFile File, string Variant)> weights, string? wanted)
    {
        string[] candidates = [wanted ?? "", "", .. KnownVariants, weights[0].Variant];
        var variant = candidates.First(candidate => weights.Any(entry => entry.Variant == candidate));
        return weights.Where(entry => entry.Variant == variant).Select(static entry => entry.File);
    }

    /// <summary>
    /// What a weights file, one of its shards or their index belongs to: unet/diffusion_pytorch_model, variant fp16. Null for another file.
    /// Libraries write a variant before the shard's number or after it, and in an index before the last dot.
    /// </summary>
    private static (string Stem, string Variant)? WeightsOf(string name, string? wanted)
    {
        var match = Weights().Match(name);
        if (!match.Success)
        {
            return null;
        }

        var stem = match.Groups["stem"].Value;
        if (match.Groups["index"] is { Success: true, Length: > 0 } index)
        {
            return (stem, index.Value);
        }

        var dot = stem.LastIndexOf('.');
        var variant = dot > 0 ? stem[(dot + 1)..] : "";
        // Any other word after a dot is part of a name, as in v1.5.safetensors.
        return dot > 0 && (variant == wanted || KnownVariants.Contains(variant)) ? (Shard().Replace(stem[..dot], ""), variant) : (stem, "");
    }

    private static bool IsWeights(string name) => name.EndsWith(WeightsExtension, StringComparison.OrdinalIgnoreCase);

    private static bool IsIndexOfPickles(string name) =>
        name.Contains(".bin.", StringComparison.OrdinalIgnoreCase)
        || name.Contains(".msgpack.", StringComparison.OrdinalIgnoreCase)
        || name.Contains(".h5.", StringComparison.OrdinalIgnoreCase);

    [GeneratedRegex(@"\A(?<stem>.+?)(?:-\d{5}-of-\d{5})?\.safetensors(?:\.index(?:\.(?<index>\w+))?\.json)?\z")]
    private static partial Regex Weights();

    [GeneratedRegex(@"-\d{5}-of-\d{5}\z")]
    private static partial Regex Shard();
}
