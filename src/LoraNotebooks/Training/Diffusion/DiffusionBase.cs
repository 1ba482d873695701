using System.Globalization;
using LoraNotebooks.Diffusion;

namespace LoraNotebooks.Training.Diffusion;

/// <summary>What a Stable Diffusion pipeline is by its numbers.</summary>
internal static class DiffusionBase
{
    /// <summary>Reads all weights once. Call it before the run's own adapter is attached and before precision is lowered.</summary>
    /// <param name="pipeline">The pipeline.</param>
    public static TrainingBase Of(StableDiffusionPipeline pipeline) => new()
    {
        Source = pipeline.Source,
        HubName = pipeline.HubName,
        Type = pipeline.UNet.parameters().First().dtype.ToString(),
        Weights = pipeline.HashWeights(),
        Settings = SettingsOf(pipeline),
        Adapters = StableDiffusionLora.BesideNetworksOf(pipeline),
    };

    private static Dictionary<string, string> SettingsOf(StableDiffusionPipeline pipeline)
    {
        string[] ofTraining = ["num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "prediction_type", "rescale_betas_zero_snr"];
        var scheduler = pipeline.Scheduler.ToJson();
        var settings = ofTraining.ToDictionary(static name => name, name => scheduler[name]?.ToJsonString() ?? "null", StringComparer.Ordinal);
        settings["scaling_factor"] = pipeline.Vae.Config.ScalingFactor.ToString("R", CultureInfo.InvariantCulture);
        settings["shift_factor"] = pipeline.Vae.Config.ShiftFactor?.ToString("R", CultureInfo.InvariantCulture) ?? "null";
        return settings;
    }
}
