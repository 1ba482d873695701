using LoraNotebooks.Data;
using LoraNotebooks.Diffusion;

namespace LoraNotebooks.Training;

/// <summary>
/// How many steps a run takes: repeats × images × epochs / batch, rounded up twice: an epoch's last batch may be smaller than the others, and as
/// accumulation starts anew with each epoch, its last step may average fewer batches.
/// </summary>
/// <remarks>The arithmetic of kohya-ss/sd-scripts, train_network.py: batches per epoch rounded up, steps per epoch rounded up.</remarks>
public sealed record TrainingPlan
{
    private TrainingPlan()
    {
    }

    /// <summary>The number of images, mirrored copies counted.</summary>
    public required int Images { get; init; }

    /// <summary>Images that an epoch shows: the sum of their repeats.</summary>
    public required int ImagesPerEpoch { get; init; }

    /// <summary>How many of <see cref="ImagesPerEpoch"/> are regularization images.</summary>
    public int RegularizationImagesPerEpoch { get; private init; }

    /// <summary>Batches of an epoch: ⌈images per epoch / batch⌉.</summary>
    public required int BatchesPerEpoch { get; init; }

    /// <summary>Steps of an epoch, that is updates of the weights: ⌈batches / accumulation⌉.</summary>
    public required int StepsPerEpoch { get; init; }

    /// <summary>The number of epochs.</summary>
    public required int Epochs { get; init; }

    /// <summary>N, images per batch.</summary>
    public required int BatchSize { get; init; }

    /// <summary>Batches per step.</summary>
    public required int GradientAccumulation { get; init; }

    /// <summary>Steps during which the learning rate rises.</summary>
    public required int WarmupSteps { get; init; }

    /// <summary>
    /// What works, but perhaps not as meant: settings without effect beside the others, captions that are longer than the text encoder sees, what preparing
    /// the images has cut off.
    /// </summary>
    public IReadOnlyList<string> Warnings { get; internal init; } = [];

    /// <summary>Steps of the run.</summary>
    public int TotalSteps => StepsPerEpoch * Epochs;

    /// <summary>Plans a run.</summary>
    /// <param name="config">The settings.</param>
    /// <param name="dataset">What it learns from.</param>
    /// <exception cref="ArgumentException">The settings have faults, alone or with these images.</exception>
    public static TrainingPlan For(TrainingConfig config, PreparedDataset dataset)
    {
        ArgumentNullException.ThrowIfNull(dataset);
        var plan = For(config, dataset.Count, dataset.ImagesPerEpoch) with { RegularizationImagesPerEpoch = dataset.Images.Where(image => image.IsRegularization).Sum(image => image.Repeats) };
        Faults.ThrowIfAny(SettingPairs.Faults(config, dataset));
        return plan with { Warnings = [.. plan.Warnings, .. SettingPairs.Warnings(config, dataset), .. dataset.Report.Summary] };
    }

    /// <summary>Plans a run on a model, which tells what captions and prompts are too long for it.</summary>
    /// <param name="config">The settings.</param>
    /// <param name="dataset">What it learns from.</param>
    /// <param name="pipeline">The base model.</param>
    /// <exception cref="ArgumentException">The settings have faults, alone, with these images or with this model.</exception>
    public static TrainingPlan For(TrainingConfig config, PreparedDataset dataset, StableDiffusionPipeline pipeline)
    {
        ArgumentNullException.ThrowIfNull(pipeline);
        var plan = For(config, dataset);
        Faults.ThrowIfAny(SettingPairs.Faults(config, pipeline));
        return plan with { Warnings = [.. plan.Warnings, .. SettingPairs.Warnings(config, dataset, pipeline)] };
    }

    /// <summary>Plans a run.</summary>
    /// <param name="config">Epochs, batch size, accumulation and schedule.</param>
    /// <param name="images">The number of images.</param>
    /// <param name="imagesPerEpoch">Images that an epoch shows: the sum of their repeats.</param>
    /// <exception cref="ArgumentException">The settings have faults, or a number is not positive.</exception>
    public static TrainingPlan For(TrainingConfig config, int images, int imagesPerEpoch)
    {
        ArgumentNullException.ThrowIfNull(config);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(images);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(imagesPerEpoch);
        config.ThrowIfInvalid();
        var batches = RoundedUp(imagesPerEpoch, config.BatchSize);
        var steps = RoundedUp(batches, config.GradientAccumulation);
        if ((long)steps * config.Epochs > int.MaxValue)
        {
            throw new ArgumentException(
                $"Epochs: got {config.Epochs} of {Count(steps, "step")}, expected at most {int.MaxValue} steps in all.",
                nameof(config));
        }

        var plan = new TrainingPlan
        {
            Images = images,
            ImagesPerEpoch = imagesPerEpoch,
            BatchesPerEpoch = batches,
            StepsPerEpoch = steps,
            Epochs = config.Epochs,
            BatchSize = config.BatchSize,
            GradientAccumulation = config.GradientAccumulation,
            WarmupSteps = config.Schedule.WarmupSteps(steps * config.Epochs),
        };
        return plan with { Warnings = [.. SettingPairs.Warnings(config), .. SettingPairs.Warnings(config, plan)] };
    }

    /// <summary>
    /// The plan in words, e.g. "20 images, 200 per epoch with repeats; batches of 4: 50 steps per epoch; 5 epochs = 250 steps.", and a line for each
    /// warning.
    /// </summary>
    public override string ToString() =>
        $"{Count(Images, "image")}, {ImagesPerEpoch} per epoch with repeats{(RegularizationImagesPerEpoch > 0 ? $", {RegularizationImagesPerEpoch} of them for regularization" : "")}; batches of {BatchSize}"
        + $"{(GradientAccumulation > 1 ? $", {GradientAccumulation} of them to a step" : "")}: {Count(StepsPerEpoch, "step")} per epoch; {Count(Epochs, "epoch")} = {Count(TotalSteps, "step")}"
        + $"{(WarmupSteps > 0 ? $", the first {WarmupSteps} of them warm-up" : "")}."
        + string.Concat(Warnings.Select(static warning => $"\nwarning: {warning}"));

    private static int RoundedUp(int amount, int part) => (int)(((long)amount + part - 1) / part);

    private static string Count(int count, string singular) => $"{count} {singular}{(count == 1 ? "" : "s")}";
}
