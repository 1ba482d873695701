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

    /// <summary>η of the UNet's adapter in this step.</summary>
    public required double UNetLearningRate { get; init; }

    /// <summary>η of the text encoder's adapter in this step, in SDXL of both; <see langword="null"/> where the text encoder is frozen.</summary>
    public double? TextEncoderLearningRate { get; init; }

    /// <summary>The L2 norm of all gradients together, before clipping.</summary>
    public required double GradientNorm { get; init; }

    /// <summary>Seconds since training began, without those of an earlier run that was resumed.</summary>
    public required double Seconds { get; init; }

    /// <summary>Images per second, over the last steps, without the time for samples and checkpoints.</summary>
    public required double ImagesPerSecond { get; init; }

    /// <summary>Seconds that the rest of the steps will take at this speed.</summary>
    public required double SecondsLeft { get; init; }
}

/// <summary>A picture drawn while training, always from the same noise, so that epochs can be compared.</summary>
/// <param name="Epoch">The number of epochs trained by then; 0: before training.</param>
/// <param name="Prompt">The prompt.</param>
/// <param name="Seed">The seed of the noise.</param>
/// <param name="Image">The picture.</param>
public sealed record TrainingSample(int Epoch, string Prompt, long Seed, RgbImage Image);
