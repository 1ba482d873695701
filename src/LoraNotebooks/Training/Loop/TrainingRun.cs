using LoraNotebooks.Adapters;
using LoraNotebooks.Training.Optimizers;
using static TorchSharp.torch;

namespace LoraNotebooks.Training.Loop;

/// <summary>The loop of one run, and all that changes in it.</summary>
internal sealed class TrainingRun : IDisposable
{
    /// <summary>
    /// Steps between two full collections. A step makes thousands of small managed wrappers, of which those alive during a quick collection grow
    /// old; left alone, they pile up to tens of megabytes before the runtime thinks a full collection worth while.
    /// </summary>
    private const int StepsPerCollection = 100;

    private readonly TrainingTask task;
    private readonly TrainingConfig config;
    private readonly TrainingPlan plan;
    private readonly IReadOnlyList<TrainedNetwork> networks;
    private readonly bool drops;
    private readonly IProgress<TrainingSample>? sampleProgress;
    private readonly IProgress<TrainingStep>? progress;
    private readonly TrainedGroups groups;
    private readonly OptimizerRun optimizer;
    private readonly GradientStep gradientStep;
    private readonly TrainingFiles files;
    private readonly LossCurve curve = new();
    private readonly SpeedMeter speed;
    private readonly TimeProvider clock;
    private readonly long began;
    private readonly List<TrainingStep> steps = [];
    private readonly List<TrainingSample> samples = [];
    private IReadOnlyList<int[]> batches = [];
    private IReadOnlyList<string> untrainedLayers = [];
    private IReadOnlyList<string> warnings;
    private int done;

    public TrainingRun(TrainingTask task, IProgress<TrainingSample>? sampleProgress, IProgress<TrainingStep>? progress, TimeProvider clock)
    {
        (this.task, config, plan, networks) = (task, task.Config, task.Plan(), task.Networks);
        (this.sampleProgress, this.progress) = (sampleProgress, progress);
        (this.clock, began, speed) = (clock, clock.GetTimestamp(), new SpeedMeter(clock));
        warnings = plan.Warnings;
        drops = networks.Any(static network => network.Model.GetConfig(network.Adapter).Dropout > 0);
        groups = new TrainedGroups(config, networks);
        optimizer = new OptimizerRun(config.Optimizer, groups.Groups);
        gradientStep = new GradientStep(optimizer, config.MaxGradientNorm);
        files = new TrainingFiles(task, plan, clock);
        files.Rehearse();
    }

    /// <summary>Takes weights, the optimizer's states, step and losses of a stopped run, if there is one to go on from.</summary>
    public void Resume(string? stateFile)
    {
        files.TellReplaced(stateFile);
        if (stateFile is null)
        {
            return;
        }

        var (losses, epochs) = files.LoadState(stateFile, optimizer);
        foreach (var loss in losses)
        {
            curve.Add(loss);
        }

        done = losses.Count;
        if (RatesChange(epochs))
        {
            warnings =
            [
                .. warnings,
                $"Epochs: {epochs} when the {Listing.Count(done, "step")} of the state were taken, here {plan.Epochs}: "
                + $"the rates of {config.Schedule.Kind} hang on the number of steps, "
                + "so that this run is not the one of that many epochs from the start. Train anew where that matters.",
            ];
        }
    }

    /// <summary>Runs to the last step, or until cancelled.</summary>
    /// <param name="owner">The task, once more, with the type of what it leaves.</param>
    /// <param name="cancellationToken">Stops.</param>
    public TrainingResult<TLora> Execute<TLora>(TrainingTask<TLora> owner, CancellationToken cancellationToken)
    {
        var wasCancelled = false;
        var before = done;
        foreach (var warning in warnings)
        {
            Notice.Tell($"Training {config.Name}: {warning}");
        }

        try
        {
            if (done == 0)
            {
                DrawSamples(0, cancellationToken);
            }
            else if (done % plan.StepsPerEpoch == 0 && files.SampledEpochs < done / plan.StepsPerEpoch)
            {
                // The run that is resumed was stopped before or among the samples of its last epoch.
                FinishSamples(done / plan.StepsPerEpoch, cancellationToken);
            }

            while (done < plan.TotalSteps)
            {
                TakeStep(cancellationToken);
                if (done % plan.StepsPerEpoch == 0)
                {
                    FinishEpoch(done / plan.StepsPerEpoch, cancellationToken);
                }
            }
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested && done > 0)
        {
            wasCancelled = done < plan.TotalSteps;
        }
        catch (TrainingDivergedException fault)
        {
            // The weights are finite, but no good any more; the record shows how it came to that.
            files.WriteRecord(steps, untrainedLayers, warnings, wasCancelled: false, fault.Message);
            throw;
        }
        catch (Exception fault) when (done > before)
        {
            // A sample that cannot be drawn or a listener that throws does not take away what was learnt.
            Rescue(fault);
            throw;
        }

        SetTraining(false);
        files.SaveFinal(done, optimizer, curve);
        files.WriteRecord(steps, untrainedLayers, warnings, wasCancelled);
        return new TrainingResult<TLora>
        {
            Task = owner,
            Lora = owner.Lora,
            Config = config,
            Plan = plan,
            Steps = steps,
            Samples = samples,
            UntrainedLayers = untrainedLayers,
            Warnings = warnings,
            Checkpoints = files.Checkpoints,
            StateFile = files.StateFile,
            RecordFile = files.RecordFile,
            WasCancelled = wasCancelled,
            Seconds = clock.GetElapsedTime(began).TotalSeconds,
        };
    }

    public void Dispose() => optimizer.Dispose();

    private void Rescue(Exception fault)
    {
        var unwritten = "what was learnt";
        try
        {
            files.SaveFinal(done, optimizer, curve);
            var kept = $"what was learnt is in '{files.Checkpoints[^1]}', to go on from in '{files.StateFile}'";
            unwritten = kept + ", but its record";
            files.WriteRecord(steps, untrainedLayers, warnings, wasCancelled: false, fault.Message);
            Notice.Tell($"Training {config.Name} ended at step {done} by a fault; {kept}.");
        }
        catch (Exception second) when (second is IOException or UnauthorizedAccessException)
        {
            Notice.Tell($"Training {config.Name} ended at step {done} by a fault; {unwritten} could not be written: {second.Message}");
        }
    }

    private void TakeStep(CancellationToken cancellationToken)
    {
        var (epoch, stepOfEpoch) = Math.DivRem(done, plan.StepsPerEpoch);
        if (stepOfEpoch == 0 || batches.Count == 0)
        {
            batches = Batches(epoch);
        }

        speed.Start();
        SetTraining(true);
        optimizer.UseTrainingWeights();
        var first = stepOfEpoch * config.GradientAccumulation;
        var count = Math.Min(config.GradientAccumulation, batches.Count - first);
        var metrics = new MeanMetrics();
        var update = gradientStep.Take(count, i => Loss(epoch, first + i, metrics), groups.Rates(done, plan.TotalSteps), cancellationToken);
        if (!update.IsFinite)
        {
            throw new TrainingDivergedException(done + 1, update, files.Checkpoints.LastOrDefault());
        }

        if (steps.Count == 0)
        {
            untrainedLayers = groups.LayersOf(optimizer.WithoutGradient);
        }

        BoundWeights();
        var rates = groups.NetworkRates(done, plan.TotalSteps);
        done++;
        speed.Stop(batches.Skip(first).Take(count).Sum(batch => batch.Length));
        steps.Add(new TrainingStep
        {
            Step = done,
            TotalSteps = plan.TotalSteps,
            Epoch = epoch + 1,
            TotalEpochs = plan.Epochs,
            Loss = update.Loss,
            SmoothedLoss = curve.Add(update.Loss),
            LearningRates = rates,
            Metrics = metrics.Means,
            GradientNorm = update.GradientNorm,
            Seconds = clock.GetElapsedTime(began).TotalSeconds,
            Unit = plan.Unit,
            ExamplesPerSecond = speed.ExamplesPerSecond,
            SecondsLeft = speed.SecondsPerStep * (plan.TotalSteps - done),
        });
        progress?.Report(steps[^1]);
        if (done % StepsPerCollection == 0)
        {
            GC.Collect();
        }
    }

    /// <summary>Whether the steps of a plan of other epochs have other learning rates.</summary>
    private bool RatesChange(int epochs)
    {
        var total = plan.StepsPerEpoch * epochs;
        return epochs != plan.Epochs
            && Enumerable.Range(0, Math.Min(total, plan.TotalSteps))
                .Any(step => config.Schedule.Rate(step, total, 1) != config.Schedule.Rate(step, plan.TotalSteps, 1));
    }

    private void BoundWeights()
    {
        if (config.ScaleWeightNorms is { } maxNorm)
        {
            MaxNormRegularization.Apply(networks.SelectMany(static network => network.Model.GetLayers(network.Adapter)), maxNorm);
        }
    }

    /// <summary>The batches of an epoch as indices of examples, in an order of its own.</summary>
    private IReadOnlyList<int[]> Batches(int epoch)
    {
        using var generator = task.Seeds.Generator(RandomUse.Order, epoch);
        return [.. task.Order(generator).Chunk(config.BatchSize)];
    }

    private Tensor Loss(int epoch, int batchOfEpoch, MeanMetrics metrics)
    {
        var number = ((long)epoch * plan.BatchesPerEpoch) + batchOfEpoch;
        if (drops)
        {
            var seed = task.Seeds.Derive(RandomUse.Dropout, number);
            AdaptedModel.SeedDropout(networks.Select(static network => (network.Model, network.Adapter)), seed);
        }

        var batch = new TrainingBatch(batches[batchOfEpoch], number, task.Seeds);
        var loss = task.Loss(batch);
        metrics.Add(batch.Metrics);
        return loss;
    }

    private void SetTraining(bool isTraining)
    {
        foreach (var network in networks)
        {
            if (isTraining)
            {
                network.Model.Train();
            }
            else
            {
                network.Model.Eval();
            }
        }
    }

    private void FinishEpoch(int epochs, CancellationToken cancellationToken)
    {
        if (config.SaveEveryEpochs is { } saveEvery && epochs % saveEvery == 0 && epochs < plan.Epochs)
        {
            files.SaveCheckpoint(epochs, done, optimizer, curve);
            files.WriteRecord(steps, untrainedLayers, warnings, wasCancelled: false);
        }

        FinishSamples(epochs, cancellationToken);
    }

    private void FinishSamples(int epochs, CancellationToken cancellationToken)
    {
        if (config.SampleEveryEpochs is { } sampleEvery && epochs % sampleEvery == 0)
        {
            DrawSamples(epochs, cancellationToken);
            files.SampledEpochs = epochs;
        }
    }

    private void DrawSamples(int epochs, CancellationToken cancellationToken)
    {
        if (config.SampleEveryEpochs is null)
        {
            return;
        }

        SetTraining(false);
        optimizer.UseEvaluationWeights();
        foreach (var sample in task.Samples(epochs, cancellationToken))
        {
            samples.Add(sample);
            sampleProgress?.Report(sample);
        }
    }
}
