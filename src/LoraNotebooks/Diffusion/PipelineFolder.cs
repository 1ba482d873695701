using System.Text.Json.Nodes;
using LoraNotebooks.Formats;

namespace LoraNotebooks.Diffusion;

/// <summary>The folder of a whole Stable Diffusion model as diffusers lays it out: model_index.json and a folder per component.</summary>
internal static class PipelineFolder
{
    public const string Index = "model_index.json";

    private const string ClassName = "StableDiffusionPipeline";
    private const string SchedulerFile = "scheduler_config.json";

    private static readonly string[] Pickled = [".ckpt", ".pt", ".pth", ".bin"];

    /// <summary>The path of the scheduler's configuration.</summary>
    public static string SchedulerPath(string folder) => Path.Combine(folder, "scheduler", SchedulerFile);

    /// <summary>Checks that a folder holds a Stable Diffusion model with all its components.</summary>
    /// <exception cref="FileNotFoundException">Something is missing: all of it is named.</exception>
    /// <exception cref="InvalidDataException">It is something else.</exception>
    public static void Check(string folder)
    {
        if (File.Exists(folder))
        {
            throw new InvalidDataException(Pickled.Contains(Path.GetExtension(folder).ToLowerInvariant())
                ? $"'{folder}' is a pickled checkpoint, which is not read because reading one can run any code that is hidden in it. Use the model's diffusers folder with safetensors files."
                : $"'{folder}' is a file; expected a model's folder in diffusers layout, with {Index} and one folder per component.");
        }

        var index = Path.Combine(folder, Index);
        if (!File.Exists(index))
        {
            throw new FileNotFoundException($"'{folder}' has no {Index}; expected a Stable Diffusion model's folder in diffusers layout. Give the folder that holds unet, vae, text_encoder, tokenizer and scheduler.", index);
        }

        var name = PythonJson.ParseObject(File.ReadAllText(index), index)["_class_name"] is JsonValue value && value.TryGetValue<string>(out var text) ? text : "nothing";
        if (name != ClassName)
        {
            throw new InvalidDataException($"'{index}' describes {name}; expected {ClassName} (Stable Diffusion 1.x or 2.x text-to-image).");
        }

        string[] needed = ["scheduler/" + SchedulerFile, "text_encoder/config.json", "tokenizer/vocab.json", "tokenizer/merges.txt", "unet/config.json", "vae/config.json"];
        var missing = needed.Where(file => !File.Exists(Path.Combine(folder, file))).ToList();
        if (missing.Count > 0)
        {
            throw new FileNotFoundException($"The model in '{folder}' is incomplete; missing: {string.Join(", ", missing)}. Download these components too.", Path.Combine(folder, missing[0]));
        }
    }

    /// <summary>Writes model_index.json and the scheduler's configuration.</summary>
    public static void WriteIndex(string folder, SchedulerConfig scheduler)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(SchedulerPath(folder))!);
        scheduler.Save(SchedulerPath(folder));
        var index = new JsonObject
        {
            ["_class_name"] = ClassName,
            ["_diffusers_version"] = "0.30.0",
            ["feature_extractor"] = new JsonArray(null, null),
            ["requires_safety_checker"] = false,
            ["safety_checker"] = new JsonArray(null, null),
            ["scheduler"] = new JsonArray("diffusers", scheduler.ClassName),
            ["text_encoder"] = new JsonArray("transformers", "CLIPTextModel"),
            ["tokenizer"] = new JsonArray("transformers", "CLIPTokenizer"),
            ["unet"] = new JsonArray("diffusers", "UNet2DConditionModel"),
            ["vae"] = new JsonArray("diffusers", "AutoencoderKL"),
        };
        AtomicFile.WriteAllText(Path.Combine(folder, Index), PythonJson.Write(index));
    }
}
