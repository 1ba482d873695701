namespace LoraNotebooks.Diffusion;

/// <summary>What a model in one original file does not tell of itself.</summary>
public sealed record SingleFileOptions
{
    /// <summary>
    /// A folder with what the file lacks: <c>tokenizer/</c> (for SDXL also <c>tokenizer_2/</c>), and, where a model is not of the usual sizes,
    /// the configurations as <c>unet/config.json</c> or <c>unet_config.json</c>, likewise vae, text_encoder, text_encoder_2 and
    /// <c>scheduler/scheduler_config.json</c>. A diffusers folder of the same family will do. Default the file's own folder.
    /// </summary>
    public string? ConfigFolder { get; init; }

    /// <summary>The folder with CLIP's vocab.json and merges.txt. Default <c>tokenizer</c> in <see cref="ConfigFolder"/>.</summary>
    public string? TokenizerFolder { get; init; }

    /// <summary>
    /// What the network predicts. Default as the scheduler's configuration says; without one, noise in Stable Diffusion 1.x and XL (velocity
    /// where an XL file is marked so). The files of 2.x do not tell: 2-base and 2.1-base predict noise, 2.0 and 2.1 velocity.
    /// </summary>
    public PredictionType? PredictionType { get; init; }
}
