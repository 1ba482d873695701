using LoraNotebooks.Adapters;
using LoraNotebooks.Data;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Models.Language;
using static LoraNotebooks.Training.Loop.LoopPairs;

namespace LoraNotebooks.Training.Diffusion;

/// <summary>
/// Settings that are right alone and wrong together: with each other, with the plan, with the images, with the model. What cannot work is a fault; what
/// works, but not as it seems, a warning.
/// </summary>
internal static class SettingPairs
{
    private static readonly DiffusionTrainingConfig Usual = new();

    /// <summary>What cannot work together. Settings that are wrong alone are not looked at.</summary>
    public static IReadOnlyList<string> Faults(DiffusionTrainingConfig config)
    {
        var faults = new Faults();
        faults.Require(
            config.UNetLearningRate != 0 || config.TextEncoderLearningRate is { } rate && rate != 0,
            $"UNetLearningRate, TextEncoderLearningRate: got {config.UNetLearningRate} and {Told(config.TextEncoderLearningRate)}, "
                + "expected one of them to be positive: nothing would be trained");
        faults.Require(
            !config.ScaleVPredLossLikeNoisePred || config.VPredLikeLoss is null,
            $"ScaleVPredLossLikeNoisePred, VPredLikeLoss: got both, expected one: the first is for models that predict v, the second for those that predict ε");
        faults.Require(
            !config.ZeroTerminalSnr || config.VPredLikeLoss is null,
            $"ZeroTerminalSnr, VPredLikeLoss: got both, expected one: the first is for models that predict v, the second for those that predict ε");
        return faults;
    }

    /// <summary>What works, but not as it seems.</summary>
    public static IReadOnlyList<string> Warnings(DiffusionTrainingConfig config) =>
    [
        .. NoEffect(!config.TrainsUNet && !Same(config.UNetLora, Usual.UNetLora), "UNetLora", "UNetLearningRate is 0, so that the UNet stays as it is"),
        .. NoEffect(
            !config.TrainsTextEncoder && !Same(config.TextEncoderLora, Usual.TextEncoderLora),
            "TextEncoderLora",
            "TextEncoderLearningRate is not given, so that the text encoder stays as it is"),
        .. NoEffect(config.NoiseOffsetRandomStrength && config.NoiseOffset is null, nameof(config.NoiseOffsetRandomStrength), "there is no NoiseOffset"),
        .. NoEffect(config.IpNoiseGammaRandomStrength && config.IpNoiseGamma is null, nameof(config.IpNoiseGammaRandomStrength), "there is no IpNoiseGamma"),
        .. NoEffect(
            config.MultiresNoiseDiscount != Usual.MultiresNoiseDiscount && config.MultiresNoiseIterations is null,
            nameof(config.MultiresNoiseDiscount),
            "there are no MultiresNoiseIterations"),
        .. NoEffect(!IsHuber(config) && config.HuberC != Usual.HuberC, nameof(config.HuberC), $"LossType is {config.LossType}; Huber and SmoothL1 have a c"),
        .. NoEffect(
            !IsHuber(config) && config.HuberSchedule != Usual.HuberSchedule,
            nameof(config.HuberSchedule),
            $"LossType is {config.LossType}; Huber and SmoothL1 have a c"),
        .. NoEffect(
            config.HuberScale != 1 && (!IsHuber(config) || config.HuberSchedule == HuberSchedule.Snr),
            nameof(config.HuberScale),
            IsHuber(config) ? "HuberSchedule is Snr, where c follows the noise level" : $"LossType is {config.LossType}; Huber and SmoothL1 have a c"),
        .. NoEffect(
            config.Captions.KeepTokens > 0 && !config.Captions.Shuffle && config.Captions.TagDropout == 0,
            "Captions.KeepTokens",
            "tags are neither shuffled nor dropped"),
        .. When(config.Captions.CaptionDropout == 1, "Captions.CaptionDropout is 1: no caption is ever seen"),
        .. When(config.Captions is { CaptionDropout: < 1, TagDropout: 1, KeepTokens: 0 }, "Captions.TagDropout is 1 and KeepTokens 0: no tag is ever seen"),
        .. When(
            config is { MinSnrGamma: not null, DebiasedEstimationLoss: true },
            "MinSnrGamma and DebiasedEstimationLoss are both given: timesteps are weighed by both, one after the other"),
        .. SampleWarnings(config),
    ];

    /// <summary>What works, but not as it seems with these images.</summary>
    public static IReadOnlyList<string> Warnings(DiffusionTrainingConfig config, PreparedDataset dataset)
    {
        var regularization = dataset.Images.Count(static image => image.IsRegularization);
        var split = config.Reading.Weighting != PromptWeighting.Off && (config.Captions.Shuffle || config.Captions.TagDropout > 0)
            ? dataset.Images.Where(static image => CutsBrackets(image.Caption)).Select(static image => image.Name).ToList()
            : [];
        return
        [
            .. NoEffect(config.PriorLossWeight != 1 && regularization == 0, nameof(config.PriorLossWeight), "there are no regularization images"),
            .. When(
                config.PriorLossWeight == 0 && regularization > 0,
                $"PriorLossWeight is 0: {Listing.Count(regularization, "regularization image")} take time and teach nothing"),
            .. When(
                split.Count > 0,
                "Captions are cut at commas to be shuffled or dropped, "
                    + $"and weights in brackets reach over commas in {Listing.Inline(split)}: write the weight to each tag"),
        ];
    }

    /// <summary>What cannot work with these images.</summary>
    public static IReadOnlyList<string> Faults(DiffusionTrainingConfig config, PreparedDataset dataset)
    {
        var faults = new Faults();
        faults.Require(
            dataset.Images.Any(image => image.LossWeight * (image.IsRegularization ? config.PriorLossWeight : 1) > 0),
            "LossWeight, PriorLossWeight: got 0 for every image, expected more for some: nothing would be learnt");
        return faults;
    }

    /// <summary>What cannot work with this model; what the noise schedule says is found where it is made.</summary>
    public static IReadOnlyList<string> Faults(DiffusionTrainingConfig config, StableDiffusionPipeline pipeline)
    {
        var faults = new Faults();
        var layers = pipeline.Text.LargestClipSkip;
        faults.Require(config.ClipSkip <= layers, $"ClipSkip: got {config.ClipSkip}, expected 1 to {layers}, for which the text encoder has layers");
        if (config.SampleEveryEpochs is not null)
        {
            var (options, factor) = (config.SampleOptions, pipeline.Vae.DownsamplingFactor);
            faults.Require(
                options.ClipSkip <= layers,
                $"SampleOptions.ClipSkip: got {options.ClipSkip}, expected 1 to {layers}, for which the text encoder has layers");
            faults.Require(
                (options.Width ?? 0) % factor == 0,
                $"SampleOptions.Width: got {options.Width}, expected a multiple of {factor}, by which the autoencoder shrinks images");
            faults.Require(
                (options.Height ?? 0) % factor == 0,
                $"SampleOptions.Height: got {options.Height}, expected a multiple of {factor}, by which the autoencoder shrinks images");
            faults.Require(
                options.Steps <= pipeline.Scheduler.NumTrainTimesteps,
                $"SampleOptions.Steps: got {options.Steps}, expected at most {pipeline.Scheduler.NumTrainTimesteps}, the model's number of timesteps");
        }

        return faults;
    }

    /// <summary>What is not seen of captions and prompts by this model.</summary>
    public static IReadOnlyList<string> Warnings(DiffusionTrainingConfig config, PreparedDataset dataset, StableDiffusionPipeline pipeline)
    {
        var known = new Dictionary<string, string?>(StringComparer.Ordinal);
        var cut = new List<string>();
        foreach (var image in dataset.Images)
        {
            if (!known.TryGetValue(image.Caption, out var fault))
            {
                known.Add(image.Caption, fault = pipeline.Text.Unseen(image.Caption, config.Reading));
            }

            if (fault is not null)
            {
                cut.Add($"{image.Name}: {fault}");
            }
        }

        var (draws, options) = (config.SampleEveryEpochs is not null, config.SampleOptions);
        return
        [
            .. When(cut.Count > 0, $"{Listing.Count(cut.Count, "caption")} longer than the text encoder sees: {Listing.Inline(cut, "; ")}"),
            .. OrNone(TextEncoders.PlainOf("caption", dataset.Images.Select(static image => image.Caption), config.Reading)),
            .. OrNone(draws ? TextEncoders.PlainOf("sample prompt", config.SamplePrompts, options.Reading) : null),
            .. OrNone(draws ? pipeline.Text.UnseenOf("sample prompt", config.SamplePrompts, options.Reading) : null),
            .. OrNone(draws && options.Guidance != 1 ? pipeline.Text.UnseenOf("negative sample prompt", [options.NegativePrompt], options.Reading) : null),
        ];
    }

    private static IEnumerable<string> SampleWarnings(DiffusionTrainingConfig config)
    {
        if (config.SampleEveryEpochs is null)
        {
            return NoEffect(config.SamplePrompts.Count > 0, nameof(config.SamplePrompts), "SampleEveryEpochs is not given, so that no samples are drawn");
        }

        var options = config.SampleOptions;
        return
        [
            .. NoEffect(options.Prompt.Length > 0, "SampleOptions.Prompt", "SamplePrompts are drawn"),
            .. NoEffect(
                options.NegativePrompt.Length > 0 && options.Guidance == 1,
                "SampleOptions.NegativePrompt",
                "SampleOptions.Guidance is 1, where there is none"),
            .. When(
                options.ClipSkip != config.ClipSkip,
                $"SampleOptions.ClipSkip is {options.ClipSkip}, and ClipSkip {config.ClipSkip}: samples do not show what is trained"),
            .. When(
                options.Reading.Weighting == PromptWeighting.Off && config.Reading.Weighting != PromptWeighting.Off,
                "SampleOptions.Reading weighs nothing, and Reading does: brackets in sample prompts are text"),
        ];
    }

    /// <summary>Whether a bracket opens in one tag and closes in another.</summary>
    private static bool CutsBrackets(string caption) =>
        CaptionTags.Split(caption).Any(static tag => tag.Count(static c => c is '(' or '[') != tag.Count(static c => c is ')' or ']'));

    private static bool IsHuber(DiffusionTrainingConfig config) => config.LossType is LossType.Huber or LossType.SmoothL1;

    private static bool Same(LoraConfig a, LoraConfig b) => a.ToPeftJson().ToJsonString() == b.ToPeftJson().ToJsonString();

    private static string Told(double? rate) => rate?.ToString(System.Globalization.CultureInfo.CurrentCulture) ?? "none";

    private static IEnumerable<string> OrNone(string? warning) => warning is null ? [] : [warning];
}
