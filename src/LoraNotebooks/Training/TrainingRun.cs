using LoraNotebooks.Data;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Training.Optimizers;

namespace LoraNotebooks.Training;

/// <summary>The loop of one run, and all that changes in it.</summary>
internal sealed class TrainingRun : IDisposable
{
    /// <summary>
    /// Steps between two full collections. A step makes thousands of small managed wrappers, of which those alive during a quick collection grow
    /// old; left alone, they pile up to tens of megabytes before the runtime thinks a full collection worth while.
    /// </summary>
    private const int StepsPerCollection = 100;

    private readonly TrainingConfig config;
    private readonly TrainingPlan plan;
    private readonly StableDiffusionPipeline pipeline;
    private readonly TrainingSet set;
    private readonly StableDiffusionLora lora;
    private readonly IProgress<TrainingSample>? sampleProgress;
    private readonly IProgress<TrainingStep>? progress;
    private readonly TrainedGroups groups;
    private readonly OptimizerRun optimizer;
    private readonly DiffusionTrainingStep trainingStep;
    private readonly TrainingFiles files;
    private readonly TrainingSeeds seeds;
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

    public TrainingRun(
        TrainingConfig config,
        TrainingPlan plan,
        StableDiffusionPipeline pipeline,
        TrainingBase baseModel,
        PreparedDataset dataset,
        TrainingSet set,
        NoiseSchedule schedule,
        StableDiffusionLora lora,
        IProgress<TrainingSample>? sampleProgress,
        IProgress<TrainingStep>? progress,
        TimeProvider clock)
    {
        (this.config, this.plan, this.pipeline, this.set, this.lora, this.sampleProgress, this.progress) = (config, plan, pipeline, set, lora, sampleProgress, progress);
        (this.clock, began, speed) = (clock, clock.GetTimestamp(), new SpeedMeter(clock));
        warnings = plan.Warnings;
        seeds = new TrainingSeeds(config.Seed);
        groups = new TrainedGroups(config, lora);
        optimizer = new OptimizerRun(config.Optimizer, groups.Groups);
        trainingStep = new DiffusionTrainingStep(pipeline.UNet, schedule, optimizer, config);
        files = new TrainingFiles(config, plan, pipeline, baseModel, dataset, lora, clock);
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
                $"Epochs: {epochs} when the {Listing.Count(done, "step")} of the state were taken, here {plan.Epochs}: the rates of {config.Schedule.Kind} hang on the number of steps, "
                + "so that this run is not the one of that many epochs from the start. Train anew where that matters.",
            ];
        }
    }

    /// <summary>Runs to the last step, or until cancelled.</summary>
    public TrainingResult Execute(CancellationToken cancellationToken)
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

        lora.Eval();
        files.SaveFinal(done, optimizer, curve);
        files.WriteRecord(steps, untrainedLayers, warnings, wasCancelled);
        return new TrainingResult
        {
            Lora = lora,
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
            batches = set.Batches(epoch);
        }

        speed.Start();
        lora.Train();
        optimizer.UseTrainingWeights();
        var first = stepOfEpoch * config.GradientAccumulation;
        var count = Math.Min(config.GradientAccumulation, batches.Count - first);
        var update = trainingStep.Update(count, i => Draw(epoch, first + i), groups.Rates(done, plan.TotalSteps), cancellationToken);
        if (!update.IsFinite)
        {
            throw new TrainingDivergedException(done + 1, update, files.Checkpoints.LastOrDefault());
        }

        if (steps.Count == 0)
        {
            untrainedLayers = groups.LayersOf(optimizer.WithoutGradient);
        }

        BoundWeights();
        var (unetRate, textEncoderRate) = groups.NetworkRates(done, plan.TotalSteps);
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
            UNetLearningRate = unetRate,
            TextEncoderLearningRate = textEncoderRate,
            GradientNorm = update.GradientNorm,
            Seconds = clock.GetElapsedTime(began).TotalSeconds,
            ImagesPerSecond = speed.ImagesPerSecond,
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
            && Enumerable.Range(0, Math.Min(total, plan.TotalSteps)).Any(step => config.Schedule.Rate(step, total, 1) != config.Schedule.Rate(step, plan.TotalSteps, 1));
    }

    private void BoundWeights()
    {
        if (config.ScaleWeightNorms is { } maxNorm)
        {
            MaxNormRegularization.Apply(lora.Networks.SelectMany(network => network.Model.GetLayers(lora.Name)), maxNorm);
        }
    }

    private DiffusionBatch Draw(int epoch, int batchOfEpoch)
    {
        var number = ((long)epoch * plan.BatchesPerEpoch) + batchOfEpoch;
        if (config.UNetLora.Dropout > 0 || config.TextEncoderLora.Dropout > 0)
        {
            lora.SeedDropout(seeds.Derive(TrainingSeeds.Use.Dropout, number));
        }

        return set.Draw(batches[batchOfEpoch], number);
    }

    private void FinishEpoch(int epochs, CancellationToken cancellationToken)
    {
        if (config.SaveEveryEpochs is { } saveEvery && epochs % saveEvery == 0 && epochs < plan.Epochs)
        {
            files.SaveCheckpoint(epochs, done, optimizer, curve);
            files.WriteRecord(steps, untrainedLayers, warnings, wasCancelled: false);
        }

        if (config.SampleEveryEpochs is { } sampleEvery && epochs % sampleEvery == 0)
        {
            DrawSamples(epochs, cancellationToken);
        }
    }

    private void DrawSamples(int epochs, CancellationToken cancellationToken)
    {
        if (config.SampleEveryEpochs is null)
        {
            return;
        }

        // The plan has told what is not seen of them.
        pipeline.Text.MarkTold([.. config.SamplePrompts, config.SampleOptions.NegativePrompt], config.SampleOptions.Reading);

        lora.Eval();
        optimizer.UseEvaluationWeights();
        foreach (var prompt in config.SamplePrompts)
        {
            var options = config.SampleOptions with { Prompt = prompt };
            foreach (var (index, image) in pipeline.Generate(options, cancellationToken).Index())
            {
                samples.Add(new TrainingSample(epochs, prompt, options.Seed + index, image));
                sampleProgress?.Report(samples[^1]);
            }
        }
    }
}
