using LoraNotebooks.Diffusion;
using LoraNotebooks.Formats;
using LoraNotebooks.Models.Diffusion;
using LoraNotebooks.Tests.Diffusion;
using LoraNotebooks.Tests.Models;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Fuzzing;

/// <summary>Whole models: SDXL's folder, original files with and without configurations beside them, shards of a variant.</summary>
internal static class ModelTargets
{
    private const string Original = "model.safetensors";
    private const string VariantIndex = "diffusion_pytorch_model.safetensors.index.fp16.json";

    public static IReadOnlyList<FuzzTarget> All(TemporaryFolder root)
    {
        var (xl, inferred, shards) = (root.In("xl"), root.In("inferred"), root.In("variant"));
        OriginalFile.SaveXL(xl).Dispose();
        OriginalFile.SaveXL(inferred, isUsual: true).Dispose();
        foreach (var part in (string[])["unet", "vae", "text_encoder", "text_encoder_2", "tokenizer_2"])
        {
            Directory.Delete(Path.Combine(inferred, part), recursive: true);
        }

        File.Delete(Path.Combine(inferred, "model_index.json"));
        var tensors = SafetensorsFile.LoadAll(Path.Combine(inferred, Original), ScalarType.BFloat16);
        SafetensorsFile.Write(Path.Combine(inferred, Original), tensors);
        FuzzTarget.SaveShards(root.In("pipeline", "vae"), shards, "fp16");
        return
        [
            new("sdxl unet config", xl, "unet/config.json", Mutation.Json, ReadFolder, 2),
            new("sdxl second text encoder config", xl, "text_encoder_2/config.json", Mutation.Json, ReadFolder, 2),
            new("sdxl second text encoder weights", xl, "text_encoder_2/model.safetensors", TensorMutation.Any, ReadFolder, 2),
            new("sdxl second tokenizer_config", xl, "tokenizer_2/tokenizer_config.json", Mutation.Json, ReadFolder, 1),
            new("sdxl model_index", xl, "model_index.json", Mutation.Json, ReadFolder, 2),
            new("sdxl scheduler config", xl, "scheduler/scheduler_config.json", Mutation.Json, ReadFolder, 1),
            new("original file with configs", xl, Original, TensorMutation.Any, ReadFile, 3),
            new("config beside an original file", xl, "unet/config.json", Mutation.Json, ReadFile, 2),
            new("text config beside an original file", xl, "text_encoder_2/config.json", Mutation.Json, ReadFile, 3),
            new("original file without configs", inferred, Original, TensorMutation.Any, ReadFile, 2),
            new("index of a variant", shards, VariantIndex, Mutation.Json, ReadVariant, 10),
            new("shard of a variant", shards, "model.fp16-00001-of-00002.safetensors", TensorMutation.Any, ReadVariant, 6),
        ];
    }

    private static void ReadFolder(string folder) => StableDiffusionPipeline.FromFolder(folder).Dispose();

    private static void ReadFile(string folder) => StableDiffusionPipeline.FromFile(Path.Combine(folder, Original)).Dispose();

    private static void ReadVariant(string folder) => AutoencoderKL.FromFolder(folder, variant: "fp16").Dispose();
}
