using System.Collections.Concurrent;
using LoraNotebooks.Formats;
using LoraNotebooks.Hub;

namespace LoraNotebooks.Diffusion;

/// <summary>What a LoRA file's metadata tells of its base model, in the words of kohya's tools and of ModelSpec 1.0.1. Only what is known is said.</summary>
/// <remarks>Source: kohya-ss/sd-scripts, library/sai_model_spec.py and train_network.py; Stability-AI/ModelSpec.</remarks>
internal static class BaseModelFacts
{
    private const string Diffusers = "https://github.com/huggingface/diffusers";
    private const string OriginalSdxl = "https://github.com/Stability-AI/generative-models";

    /// <summary>The hash of a checkpoint of gigabytes takes seconds, and every checkpoint of a training notes it.</summary>
    private static readonly ConcurrentDictionary<(string Path, long Length, DateTime Written), (string Model, string Legacy)> Hashes = [];

    /// <summary>The kind of a pipeline's model, for what a LoRA is compared with.</summary>
    public static LoraArchitecture ArchitectureOf(StableDiffusionPipeline pipeline) =>
        pipeline.Text.IsDual ? LoraArchitecture.StableDiffusionXL
        : IsSecond(pipeline) ? LoraArchitecture.StableDiffusion2
        : LoraArchitecture.StableDiffusion1;

    public static Dictionary<string, string> Of(StableDiffusionPipeline pipeline)
    {
        var isVelocity = pipeline.Scheduler.PredictionType == PredictionType.VPrediction;
        var isXL = pipeline.Text.IsDual;
        var isSecond = IsSecond(pipeline);
        var facts = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["modelspec.sai_model_spec"] = "1.0.1",
            ["modelspec.architecture"] = (
                isXL ? "stable-diffusion-xl-v1-base"
                : !isSecond ? "stable-diffusion-v1"
                : isVelocity ? "stable-diffusion-v2-768-v"
                : "stable-diffusion-v2-512") + "/lora",

            // Whose names the file has: SDXL's blocks are called as in the original code.
            ["modelspec.implementation"] = isXL ? OriginalSdxl : Diffusers,
            ["modelspec.resolution"] = $"{pipeline.NativeSize}x{pipeline.NativeSize}",
            ["modelspec.prediction_type"] = isVelocity ? "v" : "epsilon",
            ["ss_v2"] = isSecond ? "True" : "False",
            ["ss_base_model_version"] = isXL ? "sdxl_base_v1-0" : (isSecond ? "sd_v2" : "sd_v1") + (isVelocity ? "_v" : ""),
        };
        if (pipeline.Source is { } source)
        {
            // A model of the hub lies in a folder that is called after its commit.
            facts["ss_sd_model_name"] = HubCache.SnapshotOf(source) is { } cached ? cached.Name : Path.GetFileName(Path.TrimEndingDirectorySeparator(source));
            if (File.Exists(source))
            {
                // A folder has no hash: kohya's is that of one file, as it was loaded. What was in memory then is in the run's record.
                var file = new FileInfo(source);
                (facts["ss_new_sd_model_hash"], facts["ss_sd_model_hash"]) =
                    Hashes.GetOrAdd((source, file.Length, file.LastWriteTimeUtc), static key => KohyaHashes.OfCheckpoint(key.Path));
            }
        }

        return facts;
    }

    private static bool IsSecond(StableDiffusionPipeline pipeline) => !pipeline.Text.IsDual && pipeline.UNet.Config.CrossAttentionDim[0] == 1024;
}
