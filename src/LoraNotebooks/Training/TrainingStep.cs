using LoraNotebooks.Data;

namespace LoraNotebooks.Training;

/// <summary>What one optimizer step did: numbers only, so that it can be kept, sent and drawn anywhere.</summary>
public sealed record TrainingStep
{
    /// <summary>The step, from 1.</summary>
    public required int Step { get; init; }

    /// <summary>The number of steps of the whole run.</summary>
    public required int TotalSteps { get; init; }

    /// <summary>The epoch that the step belongs to, from 1.</summary>
    public required int Epoch { get; init; }

    /// <summary>The number of epochs of the whole run.</summary>
    public required int TotalEpochs { get; init; }

    /// <summary>The loss before the update, the mean over the step's batches.</summary>
    public required double Loss { get; init; }

    /// <summary>The loss as a moving average: exponential with a memory of about 50 steps, corrected for its start.</summary>
    public required double SmoothedLoss { get; init; }

    /// <summary>
    /// η in this step by what the networks' rates are called, in the networks' order: "unet"; with LoRA+ that of A.
    /// </summary>
    public required IReadOnlyDictionary<string, double> LearningRates { get; init; }

    /// <summary>What the task noted beside the loss, by name; of each the mean over the step's batches. Empty if nothing.</summary>
    public IReadOnlyDictionary<string, double> Metrics { get; init; } = new Dictionary<string, double>();

    /// <summary>The L2 norm of all gradients together, before clipping.</summary>
    public required double GradientNorm { get; init; }

    /// <summary>Seconds since training began, without those of an earlier run that was resumed.</summary>
    public required double Seconds { get; init; }

    /// <summary>What an example is, in one word: "image".</summary>
    public required string Unit { get; init; }

    /// <summary>Examples per second, over the last steps, without the time for samples and checkpoints.</summary>
    public required double ExamplesPerSecond { get; init; }

    /// <summary>Seconds that the rest of the steps will take at this speed.</summary>
    public required double SecondsLeft { get; init; }
}

/// <summary>What was made while training to see what has been learnt, always from the same seed, so that epochs can be compared.</summary>
/// <param name="Epoch">The number of epochs trained by then; 0: before training.</param>
/// <param name="Prompt">What was asked for.</param>
/// <param name="Seed">The seed of its random numbers.</param>
public abstract record TrainingSample(int Epoch, string Prompt, long Seed);

/// <summary>A picture drawn while training.</summary>
/// <param name="Epoch">The number of epochs trained by then; 0: before training.</param>
/// <param name="Prompt">The prompt.</param>
/// <param name="Seed">The seed of the noise.</param>
/// <param name="Image">The picture.</param>
public sealed record PictureSample(int Epoch, string Prompt, long Seed, RgbImage Image) : TrainingSample(Epoch, Prompt, Seed);

/// <summary>A text written while training.</summary>
/// <param name="Epoch">The number of epochs trained by then; 0: before training.</param>
/// <param name="Prompt">The beginning or the question.</param>
/// <param name="Seed">The seed of the drawing of tokens.</param>
/// <param name="Text">What was written.</param>
public sealed record TextSample(int Epoch, string Prompt, long Seed, string Text) : TrainingSample(Epoch, Prompt, Seed);
