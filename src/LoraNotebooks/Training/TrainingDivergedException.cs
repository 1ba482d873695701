namespace LoraNotebooks.Training;

/// <summary>A loss or a gradient became infinite or no number, so that training cannot go on.</summary>
public sealed class TrainingDivergedException : Exception
{
    /// <summary>Says what happened and what to do.</summary>
    /// <param name="step">The step, from 1.</param>
    /// <param name="update">Its numbers.</param>
    /// <param name="lastCheckpoint">The newest adapter file of the run, if there is one.</param>
    public TrainingDivergedException(int step, UpdateResult update, string? lastCheckpoint)
        : base($"Training stopped at step {step}: got loss {update.Loss} and gradient norm {update.GradientNorm}, expected finite numbers. The step was not taken. "
            + "Lower the learning rate, add warm-up, keep MaxGradientNorm at 1, or load the pipeline in float32. "
            + (lastCheckpoint is null ? "No checkpoint was written before; set SaveEveryEpochs to have one." : $"The last good checkpoint is {lastCheckpoint}."))
    {
        Step = step;
        LastCheckpoint = lastCheckpoint;
    }

    /// <summary>The step that was not taken, from 1.</summary>
    public int Step { get; }

    /// <summary>The newest adapter file of the run, if there is one.</summary>
    public string? LastCheckpoint { get; }
}
