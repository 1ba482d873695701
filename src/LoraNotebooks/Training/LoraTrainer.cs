using LoraNotebooks.Data;
using LoraNotebooks.Diffusion;
using static TorchSharp.torch;

namespace LoraNotebooks.Training;

/// <summary>
/// Trains a LoRA of a Stable Diffusion pipeline. The loop runs on the calling thread; it tells numbers after each step, draws samples and
/// writes checkpoints after epochs. The same settings, data and number of threads give the same numbers, bit for bit.
/// </summary>
/// <example><code>
/// var dataset = ImageDataset.Open("datasets/mika").Prepare(new() { Resolution = 64, ResolutionStep = 8 });
/// using var result = new LoraTrainer().Train(new() { Name = "mika", BatchSize = 4 }, pipeline, dataset);
/// </code></example>
public sealed class LoraTrainer
{
    /// <summary>Told each picture as it is drawn, on the training thread. Default nobody.</summary>
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

    /// <summary>Trains.</summary>
    /// <param name="config">The settings.</param>
    /// <param name="pipeline">The base model. The LoRA stays attached to it until the result is disposed.</param>
    /// <param name="dataset">What to learn.</param>
    /// <param name="progress">Told the numbers of each step, on the training thread.</param>
    /// <param name="cancellationToken">Stops within one step. What was learnt is kept: adapter, state and record are written and returned as at the end of a run.</param>
    /// <returns>The LoRA, and what happened.</returns>
    /// <remarks>
    /// Warnings of the plan are told before the first step. Where a fault ends a run after its first step, adapter, state and record of the steps taken are
    /// written first.
    /// </remarks>
    /// <exception cref="ArgumentException">The settings have faults, or do not fit the pipeline or the images.</exception>
    /// <exception cref="InvalidDataException"><see cref="ResumeFrom"/> belongs to another run; all differences are listed.</exception>
    /// <exception cref="TrainingDivergedException">A loss or gradient was not finite. The checkpoints stay; the LoRA is taken off.</exception>
    /// <exception cref="OperationCanceledException">The run was cancelled before its first step could begin.</exception>
    public TrainingResult Train(
        TrainingConfig config,
        StableDiffusionPipeline pipeline,
        PreparedDataset dataset,
        IProgress<TrainingStep>? progress = null,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(config);
        ArgumentNullException.ThrowIfNull(pipeline);
        ArgumentNullException.ThrowIfNull(dataset);
        var plan = TrainingPlan.For(config, dataset, pipeline);
        using var scope = NewDisposeScope();
        var schedule = config.NoiseScheduleFor(pipeline.Scheduler);
        var baseModel = TrainingBase.Of(pipeline);
        using var set = new TrainingSet(pipeline, config, dataset, schedule, cancellationToken);
        var seed = new TrainingSeeds(config.Seed).Derive(TrainingSeeds.Use.Weights);
        var lora = StableDiffusionLora.Create(pipeline, config.Name, config.TrainsUNet ? config.UNetLora : null, config.TrainsTextEncoder ? config.TextEncoderLora : null, seed);
        try
        {
            using var precision = config.Precision == TrainingPrecision.BFloat16
                ? new LoweredPrecision(ScalarType.BFloat16, lora.Networks.Select(network => network.Model.BaseModel).Append(pipeline.UNet).Distinct())
                : null;
            using var frozen = config.TrainsUNet ? null : new FrozenNetwork(pipeline.UNet);
            using var run = new TrainingRun(config, plan, pipeline, baseModel, dataset, set, schedule, lora, Samples, progress, Clock);
            run.Resume(ResumeFrom);
            return run.Execute(cancellationToken);
        }
        catch
        {
            lora.Dispose();
            throw;
        }
    }
}
