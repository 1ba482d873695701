using System.Text.Json;
using System.Text.Json.Nodes;
using LoraNotebooks.Models;

namespace LoraNotebooks.Diffusion;

/// <summary>What a model_index.json tells of its model.</summary>
/// <param name="IsXL">Whether it is SDXL, with two text encoders.</param>
/// <param name="ForceZeros">Whether an empty negative prompt is zeros; SDXL's default.</param>
internal sealed record PipelineIndex(bool IsXL, bool ForceZeros)
{
    private const string FirstClass = "StableDiffusionPipeline";
    private const string XLClass = "StableDiffusionXLPipeline";

    public static IReadOnlyList<string> ClassNames { get; } = [FirstClass, XLClass];

    public string ClassName => IsXL ? XLClass : FirstClass;

    /// <summary>The names of the folders' parts: those of the second encoder end in _2.</summary>
    public IReadOnlyList<string> EncoderSuffixes => IsXL ? ["", "_2"] : [""];

    public static PipelineIndex Of(string className, JsonObject index) =>
        new(className == XLClass, className == XLClass && (index["force_zeros_for_empty_prompt"]?.GetValueKind() ?? JsonValueKind.True) == JsonValueKind.True);
}

/// <summary>The folder of a whole Stable Diffusion model as diffusers lays it out: model_index.json and a folder per component.</summary>
internal static class PipelineFolder
{
    public const string Index = "model_index.json";

    private const string SchedulerFile = "scheduler_config.json";

    /// <summary>The path of the scheduler's configuration.</summary>
    public static string SchedulerPath(string folder) => Path.Combine(folder, "scheduler", SchedulerFile);

    /// <summary>Checks that a folder holds a Stable Diffusion model with all its components, and tells which.</summary>
    /// <exception cref="FileNotFoundException">Something is missing: all of it is named.</exception>
    /// <exception cref="InvalidDataException">It is something else.</exception>
    public static PipelineIndex Read(string folder)
    {
        if (File.Exists(folder))
        {
            WeightFiles.RefusePickled(folder);
            throw new InvalidDataException(
                $"'{folder}' is a file; expected a model's folder in diffusers layout, with {Index} and one folder per component. "
                + "A whole model in one .safetensors file is read by StableDiffusionPipeline.FromFile.");
        }

        var index = Path.Combine(folder, Index);
        if (!File.Exists(index))
        {
            throw new FileNotFoundException(
                $"'{folder}' has no {Index}; expected a Stable Diffusion model's folder in diffusers layout. "
                + "Give the folder that holds unet, vae, text_encoder, tokenizer and scheduler.",
                index);
        }

        var json = PythonJson.ReadObject(index);
        var name = json["_class_name"] is JsonValue value && value.TryGetValue<string>(out var text) ? text : "nothing";
        if (!PipelineIndex.ClassNames.Contains(name))
        {
            throw new InvalidDataException(
                $"'{index}' describes {name}; "
                + $"expected {string.Join(" or ", PipelineIndex.ClassNames)} (Stable Diffusion 1.x, 2.x or XL text-to-image).");
        }

        var found = PipelineIndex.Of(name, json);
        string[] needed =
        [
            "scheduler/" + SchedulerFile, "unet/config.json", "vae/config.json",
            .. found.EncoderSuffixes.SelectMany(static suffix =>
                (string[])[$"text_encoder{suffix}/config.json", $"tokenizer{suffix}/vocab.json", $"tokenizer{suffix}/merges.txt"]),
        ];
        var missing = needed.Where(file => !File.Exists(Path.Combine(folder, file))).Order(StringComparer.Ordinal).ToList();
        if (missing.Count > 0)
        {
            throw new FileNotFoundException(
                $"The model in '{folder}' is incomplete; missing: {Listing.Inline(missing)}. Download these components too.",
                Path.Combine(folder, missing[0]));
        }

        return found;
    }

    /// <summary>Writes model_index.json and the scheduler's configuration.</summary>
    public static void WriteIndex(string folder, SchedulerConfig scheduler, PipelineIndex index)
    {
        scheduler.Save(SchedulerPath(folder));
        var components = new SortedDictionary<string, JsonNode?>(StringComparer.Ordinal)
        {
            ["_class_name"] = index.ClassName,
            ["_diffusers_version"] = "0.30.0",
            ["scheduler"] = new JsonArray("diffusers", scheduler.ClassName),
            ["text_encoder"] = new JsonArray("transformers", "CLIPTextModel"),
            ["tokenizer"] = new JsonArray("transformers", "CLIPTokenizer"),
            ["unet"] = new JsonArray("diffusers", "UNet2DConditionModel"),
            ["vae"] = new JsonArray("diffusers", "AutoencoderKL"),
        };
        if (index.IsXL)
        {
            components["force_zeros_for_empty_prompt"] = index.ForceZeros;
            components["text_encoder_2"] = new JsonArray("transformers", "CLIPTextModelWithProjection");
            components["tokenizer_2"] = new JsonArray("transformers", "CLIPTokenizer");
        }
        else
        {
            components["feature_extractor"] = new JsonArray(null, null);
            components["requires_safety_checker"] = false;
            components["safety_checker"] = new JsonArray(null, null);
        }

        AtomicFile.WriteAllText(Path.Combine(folder, Index), PythonJson.Write(new JsonObject(components)));
    }
}
