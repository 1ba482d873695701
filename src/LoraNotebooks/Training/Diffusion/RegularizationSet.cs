using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using LoraNotebooks.Data;
using LoraNotebooks.Diffusion;

namespace LoraNotebooks.Training.Diffusion;

/// <summary>
/// Images of a class as the base model draws it, in a dataset folder. Trained on beside the subject's, they keep the model from taking every member of the
/// class for the subject (prior preservation, Ruiz et al. 2022, arXiv:2208.12242, section 3.3).
/// </summary>
/// <example><code>
/// var classImages = RegularizationSet.OpenOrCreate("datasets/mika-regularization", pipeline, new() { Prompts = ["portrait, long hair"], Count = 50 });
/// using var result = new LoraTrainer().Train(new() { PriorLossWeight = 1 }, pipeline, dataset.WithRegularization(classImages));
/// </code></example>
public static class RegularizationSet
{
    /// <summary>The file beside the images that says how they were made.</summary>
    public const string RecordName = "regularization.json";

    private static readonly JsonSerializerOptions JsonOptions = new() { Converters = { new JsonStringEnumConverter() }, WriteIndented = true };

    /// <summary>Draws the images, or takes those of the folder if they were drawn with these options by this model: a rerun trains on the same.</summary>
    /// <param name="folder">The folder; it must not exist yet, be empty, or be an earlier call's. It appears whole or not at all.</param>
    /// <param name="pipeline">The base model. Attach no LoRA before: its influence would be drawn too.</param>
    /// <param name="options">What to draw.</param>
    /// <param name="progress">Told the number of sampling steps done so far, of all images.</param>
    /// <param name="cancellationToken">Gives up; nothing is written.</param>
    /// <returns>The images with their class prompts as captions; see <see cref="PreparedDataset.WithRegularization"/>.</returns>
    /// <exception cref="ArgumentException">The options have faults; all are listed.</exception>
    /// <exception cref="InvalidDataException">The folder's images were made otherwise, or changed since; all differences are listed.</exception>
    /// <exception cref="IOException">The folder holds something else.</exception>
    public static PreparedDataset OpenOrCreate(
        string folder,
        StableDiffusionPipeline pipeline,
        RegularizationOptions options,
        IProgress<int>? progress = null,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(folder);
        ArgumentNullException.ThrowIfNull(pipeline);
        ArgumentNullException.ThrowIfNull(options);
        options.ThrowIfInvalid();
        var target = Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder));
        var record = new JsonObject { ["options"] = JsonSerializer.SerializeToNode(options, JsonOptions), ["model"] = Fingerprint(pipeline) };
        if (File.Exists(Path.Combine(target, RecordName)))
        {
            return Open(target, record);
        }

        if (Directory.Exists(target) && Directory.EnumerateFileSystemEntries(target).Any())
        {
            throw new IOException(
                $"{target} has files, but no {RecordName}: it is no folder that was made here. "
                    + $"Give another folder; images of your own are read with {nameof(ImageDataset)}.{nameof(ImageDataset.Open)}.");
        }

        var images = new PreparedDataset(Draw(pipeline, options, progress, cancellationToken));
        record["data"] = images.ComputeHash();
        Save(images, record, target);
        return images;
    }

    /// <summary>
    /// Each prompt's share, with seeds that go on from prompt to prompt;
    /// in the result the prompts take turns, so that any first part holds all of them.
    /// </summary>
    private static IEnumerable<PreparedImage> Draw(
        StableDiffusionPipeline pipeline,
        RegularizationOptions options,
        IProgress<int>? progress,
        CancellationToken cancellationToken)
    {
        var drawn = new List<(int Turn, int Prompt, long Seed, RgbImage Image)>();
        var before = 0;
        for (var p = 0; p < options.Prompts.Count; p++)
        {
            var share = options.Count / options.Prompts.Count + (p < options.Count % options.Prompts.Count ? 1 : 0);
            if (share == 0)
            {
                break;
            }

            var generation = options.Generation with { Prompt = options.Prompts[p], Seed = options.Generation.Seed + drawn.Count, Count = share };
            var images = pipeline.Generate(generation, cancellationToken, progress is null ? null : new Offset(progress, before));
            drawn.AddRange(images.Select((image, turn) => (turn, p, generation.Seed + turn, image)));
            before += generation.Steps * ((share + generation.BatchSize - 1) / generation.BatchSize);
        }

        return drawn
            .OrderBy(image => image.Turn)
            .ThenBy(image => image.Prompt)
            .Select((image, i) => new PreparedImage($"{i:D6}", image.Image, options.Prompts[image.Prompt], $"seed {image.Seed}"));
    }

    private static PreparedDataset Open(string folder, JsonObject expected)
    {
        JsonObject record;
        try
        {
            record = JsonNode.Parse(File.ReadAllText(Path.Combine(folder, RecordName)))!.AsObject();
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException or NullReferenceException)
        {
            throw new InvalidDataException(
                $"{RecordName} in {folder} is damaged: {error.Message} Delete the folder, so that the images are drawn anew.",
                error);
        }

        var images = PreparedDataset.Load(folder);
        List<string> differences = [.. expected
            .Where(pair => !JsonNode.DeepEquals(pair.Value, record[pair.Key]))
            .Select(pair => $"{pair.Key}: {Text(record[pair.Key])}, here {Text(pair.Value)}")];
        if (images.ComputeHash() is var hash && hash != (string?)record["data"])
        {
            differences.Add($"data: images or captions were changed since they were drawn (hash {Text(record["data"])}, here {hash})");
        }

        Faults.ThrowIfAny(differences, found => new InvalidDataException(
            $"The images in {folder} are not those of these settings. "
                + "Delete the folder or give another one; to use the images as they are, "
                + $"read them with {nameof(PreparedDataset)}.{nameof(PreparedDataset.Load)}:\n{Listing.Lines(found)}"));
        return images;

        static string Text(JsonNode? node) => node?.ToJsonString() ?? "none";
    }

    private static void Save(PreparedDataset images, JsonObject record, string folder)
    {
        var temporary = $"{folder}.{Guid.NewGuid():N}.tmp";
        try
        {
            images.Save(temporary);
            AtomicFile.WriteAllText(Path.Combine(temporary, RecordName), record.ToJsonString(JsonOptions));
            if (Directory.Exists(folder))
            {
                Directory.Delete(folder);
            }

            Directory.Move(temporary, folder);
        }
        finally
        {
            if (Directory.Exists(temporary))
            {
                Directory.Delete(temporary, recursive: true);
            }
        }
    }

    /// <summary>SHA-256 over the hashes of the networks' weights and the noise schedule's settings.</summary>
    private static string Fingerprint(StableDiffusionPipeline pipeline)
    {
        var parts = pipeline.HashWeights().Select(static network => $"{network.Key} {network.Value}").Append(pipeline.Scheduler.ToJson().ToJsonString());
        return Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(string.Join('\n', parts))));
    }

    private sealed class Offset(IProgress<int> progress, int before) : IProgress<int>
    {
        public void Report(int value) => progress.Report(before + value);
    }
}
