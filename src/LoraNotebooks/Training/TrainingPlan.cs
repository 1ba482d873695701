using LoraNotebooks.Training.Loop;

namespace LoraNotebooks.Training;

/// <summary>
/// How many steps a run takes: repeats × examples × epochs / batch, rounded up twice: an epoch's last batch may be smaller than the others, and as
/// accumulation starts anew with each epoch, its last step may average fewer batches.
/// </summary>
/// <remarks>The arithmetic of kohya-ss/sd-scripts, train_network.py: batches per epoch rounded up, steps per epoch rounded up.</remarks>
public sealed record TrainingPlan
{
    private TrainingPlan()
    {
    }

    /// <summary>What an example is, in one word: "image" (mirrored copies count as images).</summary>
    public required string Unit { get; init; }

    /// <summary>The number of examples.</summary>
    public required int Examples { get; init; }

    /// <summary>Examples that an epoch shows: the sum of their repeats.</summary>
    public required int ExamplesPerEpoch { get; init; }

    /// <summary>How many of <see cref="ExamplesPerEpoch"/> are for regularization.</summary>
    public int RegularizationPerEpoch { get; internal init; }

    /// <summary>Batches of an epoch: ⌈examples per epoch / batch⌉.</summary>
    public required int BatchesPerEpoch { get; init; }

    /// <summary>Steps of an epoch, that is updates of the weights: ⌈batches / accumulation⌉.</summary>
    public required int StepsPerEpoch { get; init; }

    /// <summary>The number of epochs.</summary>
    public required int Epochs { get; init; }

    /// <summary>N, examples per batch.</summary>
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
    /// <param name="config">Epochs, batch size, accumulation and schedule.</param>
    /// <param name="examples">The number of examples.</param>
    /// <param name="examplesPerEpoch">Examples that an epoch shows: the sum of their repeats.</param>
    /// <param name="unit">What an example is, in one word. Default "example".</param>
    /// <exception cref="ArgumentException">The settings have faults, or a number is not positive.</exception>
    public static TrainingPlan For(TrainingConfig config, int examples, int examplesPerEpoch, string unit = "example")
    {
        ArgumentNullException.ThrowIfNull(config);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(examples);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(examplesPerEpoch);
        config.ThrowIfInvalid();
        var batches = RoundedUp(examplesPerEpoch, config.BatchSize);
        var steps = RoundedUp(batches, config.GradientAccumulation);
        if ((long)steps * config.Epochs > int.MaxValue)
        {
            throw new ArgumentException(
                $"Epochs: got {config.Epochs} of {Listing.Count(steps, "step")}, expected at most {int.MaxValue} steps in all.",
                nameof(config));
        }

        var plan = new TrainingPlan
        {
            Unit = unit,
            Examples = examples,
            ExamplesPerEpoch = examplesPerEpoch,
            BatchesPerEpoch = batches,
            StepsPerEpoch = steps,
            Epochs = config.Epochs,
            BatchSize = config.BatchSize,
            GradientAccumulation = config.GradientAccumulation,
            WarmupSteps = config.Schedule.WarmupSteps(steps * config.Epochs),
        };
        return plan.Warn([.. config.Warnings(), .. LoopPairs.Warnings(config, plan)]);
    }

    /// <summary>
    /// The plan in words, e.g. "20 images, 200 per epoch with repeats; batches of 4: 50 steps per epoch; 5 epochs = 250 steps.", and a line for each
    /// warning.
    /// </summary>
    public override string ToString() =>
        $"{Listing.Count(Examples, Unit)}, {ExamplesPerEpoch} per epoch with repeats"
        + $"{(RegularizationPerEpoch > 0 ? $", {RegularizationPerEpoch} of them for regularization" : "")}; batches of {BatchSize}"
        + $"{(GradientAccumulation > 1 ? $", {GradientAccumulation} of them to a step" : "")}: {Listing.Count(StepsPerEpoch, "step")} per epoch; "
        + $"{Listing.Count(Epochs, "epoch")} = {Listing.Count(TotalSteps, "step")}"
        + $"{(WarmupSteps > 0 ? $", the first {WarmupSteps} of them warm-up" : "")}."
        + string.Concat(Warnings.Select(static warning => $"\nwarning: {warning}"));

    /// <summary>The plan with more to warn of.</summary>
    internal TrainingPlan Warn(IReadOnlyList<string> more) => this with { Warnings = [.. Warnings, .. more] };

    private static int RoundedUp(int amount, int part) => (int)(((long)amount + part - 1) / part);
}
