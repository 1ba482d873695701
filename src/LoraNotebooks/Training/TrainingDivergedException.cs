namespace LoraNotebooks.Training;

/// <summary>What an update did. Where a number is not finite, there was none.</summary>
/// <param name="Loss">The mean of the batches' losses, before the update.</param>
/// <param name="GradientNorm">The L2 norm of all gradients together, before clipping.</param>
public readonly record struct UpdateResult(double Loss, double GradientNorm)
{
    /// <summary>Whether the update took place.</summary>
    public bool IsFinite => double.IsFinite(Loss) && double.IsFinite(GradientNorm);
}

/// <summary>A loss or a gradient became infinite or no number, so that training cannot go on.</summary>
public sealed class TrainingDivergedException : Exception
{
    /// <summary>Says what happened and what to do.</summary>
    /// <param name="step">The step, from 1.</param>
    /// <param name="update">Its numbers.</param>
    /// <param name="lastCheckpoint">The newest adapter file of the run, if there is one.</param>
    public TrainingDivergedException(int step, UpdateResult update, string? lastCheckpoint)
        : base($"Training stopped at step {step}: got loss {update.Loss} and gradient norm {update.GradientNorm}, expected finite numbers. "
            + "The step was not taken. "
            + "Lower the learning rate, add warm-up, keep MaxGradientNorm at 1, or load the pipeline in float32. "
            + (lastCheckpoint is null
                ? "No checkpoint was written before; set SaveEveryEpochs to have one."
                : $"The last good checkpoint is {lastCheckpoint}."))
    {
        Step = step;
        LastCheckpoint = lastCheckpoint;
    }

    /// <summary>The step that was not taken, from 1.</summary>
    public int Step { get; }

    /// <summary>The newest adapter file of the run, if there is one.</summary>
    public string? LastCheckpoint { get; }
}
