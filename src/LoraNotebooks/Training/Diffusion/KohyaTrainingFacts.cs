using System.Globalization;
using System.Text.Json;
using LoraNotebooks.Data;

namespace LoraNotebooks.Training.Diffusion;

/// <summary>
/// What a kohya file's metadata tells about its training (<c>ss_*</c>):
/// text as Python writes it, nested values as JSON. Only what is true of the run.
/// </summary>
/// <remarks>Source: kohya-ss/sd-scripts, train_network.py. What the weights and the pipeline themselves tell is added by who writes the file.</remarks>
internal static class KohyaTrainingFacts
{
    private const string None = "None";

    public static Dictionary<string, string> Of(DiffusionTrainingConfig config, PreparedDataset dataset, TrainingFileFacts of)
    {
        var (plan, steps, started, written) = of;
        var (training, regularization) = (dataset.Images.Where(image => !image.IsRegularization), dataset.Images.Where(image => image.IsRegularization));
        var tags = new PreparedDataset(Pictures(dataset.Images).Select(static shown => shown.First())).Tags.Tags
            .ToDictionary(static tag => tag.Tag, static tag => tag.Count);
        var facts = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["ss_output_name"] = config.Name,
            ["ss_training_started_at"] = Seconds(started),
            ["ss_training_finished_at"] = Seconds(written),
            ["ss_seed"] = Text(config.Seed),
            ["ss_learning_rate"] = Text(config.TrainsUNet ? config.UNetLearningRate : config.TextEncoderLearningRate),
            ["ss_unet_lr"] = config.TrainsUNet ? Text(config.UNetLearningRate) : None,
            ["ss_text_encoder_lr"] = config.TrainsTextEncoder ? Text(config.TextEncoderLearningRate!) : None,
            ["ss_optimizer"] = config.Optimizer.MetadataText(config.WeightDecay),
            ["ss_lr_scheduler"] = Name(config.Schedule.Kind),
            ["ss_lr_warmup_steps"] = Text(plan.WarmupSteps),
            ["ss_max_grad_norm"] = Text(config.MaxGradientNorm),
            ["ss_min_snr_gamma"] = Text(config.MinSnrGamma),
            ["ss_debiased_estimation"] = Text(config.DebiasedEstimationLoss),
            ["ss_loss_type"] = Name(config.LossType),
            ["ss_huber_schedule"] = Name(config.HuberSchedule),
            ["ss_huber_c"] = Text(config.HuberC),
            ["ss_huber_scale"] = Text(config.HuberScale),
            ["ss_zero_terminal_snr"] = Text(config.ZeroTerminalSnr),
            ["ss_noise_offset"] = Text(config.NoiseOffset),
            ["ss_noise_offset_random_strength"] = Text(config.NoiseOffsetRandomStrength),
            ["ss_adaptive_noise_scale"] = Text(config.AdaptiveNoiseScale),
            ["ss_multires_noise_iterations"] = Text(config.MultiresNoiseIterations),
            ["ss_multires_noise_discount"] = Text(config.MultiresNoiseDiscount),
            ["ss_ip_noise_gamma"] = Text(config.IpNoiseGamma),
            ["ss_ip_noise_gamma_random_strength"] = Text(config.IpNoiseGammaRandomStrength),
            ["ss_scale_weight_norms"] = Text(config.ScaleWeightNorms),
            ["ss_prior_loss_weight"] = Text(config.PriorLossWeight),
            ["ss_num_train_images"] = Text(plan.ExamplesPerEpoch - plan.RegularizationPerEpoch),
            ["ss_num_reg_images"] = Text(plan.RegularizationPerEpoch),
            ["ss_num_batches_per_epoch"] = Text(plan.BatchesPerEpoch),
            ["ss_num_epochs"] = Text(plan.Epochs),
            ["ss_epoch"] = Text(steps / plan.StepsPerEpoch),
            ["ss_steps"] = Text(steps),
            ["ss_max_train_steps"] = Text(plan.TotalSteps),
            ["ss_batch_size_per_device"] = Text(plan.BatchSize),
            ["ss_total_batch_size"] = Text(plan.BatchSize),
            ["ss_gradient_accumulation_steps"] = Text(plan.GradientAccumulation),
            ["ss_gradient_checkpointing"] = "False",
            ["ss_mixed_precision"] = config.Precision == TrainingPrecision.BFloat16 ? "bf16" : "no",
            ["ss_clip_skip"] = Text(config.ClipSkip),
            ["ss_max_token_length"] = config.Reading.MaxTokenLength is { } length ? Text(length) : "None",
            ["ss_resolution"] = $"({dataset.Width}, {dataset.Height})",
            ["ss_cache_latents"] = "True",
            ["ss_enable_bucket"] = "False",
            ["ss_flip_aug"] = Text(dataset.Images.Any(image => image.Mirrored)),
            ["ss_random_crop"] = "False",
            ["ss_shuffle_caption"] = Text(config.Captions.Shuffle),
            ["ss_keep_tokens"] = Text(config.Captions.KeepTokens),
            ["ss_caption_dropout_rate"] = Text(config.Captions.CaptionDropout),
            ["ss_caption_tag_dropout_rate"] = Text(config.Captions.TagDropout),
            ["ss_dataset_dirs"] = Folders(training, config.Name),
            ["ss_reg_dataset_dirs"] = Folders(regularization, "regularization"),
            ["ss_tag_frequency"] = JsonSerializer.Serialize(new Dictionary<string, object> { [config.Name] = tags }),
        };
        if (config.LoraPlusLrRatio is { } ratio)
        {
            facts["ss_network_args"] = JsonSerializer.Serialize(new { loraplus_lr_ratio = Text(ratio) });
        }

        return facts;
    }

    /// <summary>
    /// Pictures by how often an epoch shows them, as folders called N_name would hold them. kohya's tools mirror while they train (<c>ss_flip_aug</c>) and
    /// do not count the mirrored ones as images; a picture and its mirrored copy therefore are one image, shown twice as often.
    /// </summary>
    private static string Folders(IEnumerable<PreparedImage> images, string name) => JsonSerializer.Serialize(
        Pictures(images).GroupBy(static shown => shown.Sum(static image => image.Repeats))
            .ToDictionary(group => $"{group.Key}_{name}", static group => new { n_repeats = group.Key, img_count = group.Count() }));

    /// <summary>Each picture with its mirrored copy, where it has one.</summary>
    private static IEnumerable<IReadOnlyList<PreparedImage>> Pictures(IEnumerable<PreparedImage> images)
    {
        var copies = images.Where(static image => image.Mirrored).ToLookup(static image => image.SourceFile, StringComparer.Ordinal);
        var originals = images.Where(static image => !image.Mirrored).ToList();
        var known = originals.Select(static image => image.SourceFile).ToHashSet(StringComparer.Ordinal);
        return originals.Select(image => (IReadOnlyList<PreparedImage>)[image, .. copies[image.SourceFile]])
            .Concat(copies.Where(group => !known.Contains(group.Key)).Select(static group => (IReadOnlyList<PreparedImage>)[.. group]));
    }

    /// <summary>A value's name as Python writes it, e.g. constant_with_warmup.</summary>
    private static string Name(Enum value) => JsonNamingPolicy.SnakeCaseLower.ConvertName(value.ToString());

    private static string Seconds(DateTimeOffset time) => Text(time.ToUnixTimeMilliseconds() / 1000d);

    private static string Text(object? value) => value is null ? None : Convert.ToString(value, CultureInfo.InvariantCulture)!;
}
