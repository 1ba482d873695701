using LoraNotebooks.Data;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Training.Diffusion;
using LoraNotebooks.Training.Loop;
using static TorchSharp.torch;

namespace LoraNotebooks.Training;

/// <summary>
/// Trains a LoRA. The loop runs on the calling thread; it tells numbers after each step, draws samples and writes checkpoints after epochs. The same
/// settings, data and number of threads give the same numbers, bit for bit.
/// </summary>
/// <example><code>
/// var dataset = ImageDataset.Open("datasets/mika").Prepare(new() { Resolution = 64, ResolutionStep = 8 });
/// using var result = new LoraTrainer().Train(new() { Name = "mika", BatchSize = 4 }, pipeline, dataset);
/// </code></example>
public sealed class LoraTrainer
{
    /// <summary>Told each sample as it is drawn, on the training thread. Default nobody.</summary>
    public IProgress<TrainingSample>? Samples { get; init; }

    /// <summary>
    /// A state file (<see cref="TrainingResult.StateFile"/>) to go on from; default none. The run then gives the numbers of one that was never
    /// stopped. Settings that decide numbers, data and base model must be the same, except that <see cref="TrainingConfig.Epochs"/> may change, to no fewer
    /// than are done; the learning rates then follow the new plan, and a warning says so where that makes a difference.
    /// Another processor, libtorch or number of threads is allowed: the record tells which run took which steps on what.
    /// </summary>
    public string? ResumeFrom { get; init; }

    /// <summary>What tells the time. Default the system's.</summary>
    internal TimeProvider Clock { get; init; } = TimeProvider.System;

    /// <summary>Trains a LoRA of a Stable Diffusion pipeline.</summary>
    /// <param name="config">The settings.</param>
    /// <param name="pipeline">The base model. The LoRA stays attached to it until the result is disposed.</param>
    /// <param name="dataset">What to learn.</param>
    /// <param name="progress">Told the numbers of each step, on the training thread.</param>
    /// <param name="cancellationToken">
    /// Stops within one step. What was learnt is kept: adapter, state and record are written and returned as at the end of a run.
    /// </param>
    /// <returns>The LoRA, and what happened.</returns>
    /// <remarks>
    /// Warnings of the plan are told before the first step. Where a fault ends a run after its first step, adapter, state and record of the steps taken are
    /// written first.
    /// </remarks>
    /// <exception cref="ArgumentException">The settings have faults, or do not fit the pipeline or the images.</exception>
    /// <exception cref="InvalidDataException"><see cref="ResumeFrom"/> belongs to another run; all differences are listed.</exception>
    /// <exception cref="TrainingDivergedException">A loss or gradient was not finite. The checkpoints stay; the LoRA is taken off.</exception>
    /// <exception cref="OperationCanceledException">The run was cancelled before its first step could begin.</exception>
    public TrainingResult<StableDiffusionLora> Train(
        DiffusionTrainingConfig config,
        StableDiffusionPipeline pipeline,
        PreparedDataset dataset,
        IProgress<TrainingStep>? progress = null,
        CancellationToken cancellationToken = default) =>
        Train(new DiffusionTask(config, pipeline, dataset, cancellationToken), progress, cancellationToken);

    /// <summary>Trains whatever a task says.</summary>
    /// <typeparam name="TLora">What the task leaves.</typeparam>
    /// <param name="task">What is trained. It belongs to the result, which disposes it, and is disposed if there is none.</param>
    /// <param name="progress">Told the numbers of each step, on the training thread.</param>
    /// <param name="cancellationToken">
    /// Stops within one step. What was learnt is kept: adapter, state and record are written and returned as at the end of a run.
    /// </param>
    /// <returns>What the task leaves, and what happened.</returns>
    /// <exception cref="ArgumentException">The task has nothing to train.</exception>
    /// <exception cref="InvalidDataException"><see cref="ResumeFrom"/> belongs to another run; all differences are listed.</exception>
    /// <exception cref="TrainingDivergedException">A loss or gradient was not finite. The checkpoints stay; the task is disposed.</exception>
    /// <exception cref="OperationCanceledException">The run was cancelled before its first step could begin.</exception>
    public TrainingResult<TLora> Train<TLora>(TrainingTask<TLora> task, IProgress<TrainingStep>? progress = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(task);
        using var scope = NewDisposeScope();
        try
        {
            using var precision = task.Config.Precision == TrainingPrecision.BFloat16
                ? new LoweredPrecision(ScalarType.BFloat16, task.Modules.Distinct())
                : null;
            using var frozen = new FrozenNetworks(task.Modules.Except(task.Networks.Select(static network => network.Model.BaseModel)));
            using var run = new TrainingRun(task, Samples, progress, Clock);
            run.Resume(ResumeFrom);
            return run.Execute(task, cancellationToken);
        }
        catch
        {
            task.Dispose();
            throw;
        }
        finally
        {
            task.Release();
        }
    }
}
