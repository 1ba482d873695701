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

    private readonly TrainingTask _task;
    private readonly TrainingConfig _config;
    private readonly TrainingPlan _plan;
    private readonly IReadOnlyList<TrainedNetwork> _networks;
    private readonly bool _drops;
    private readonly IProgress<TrainingSample>? _sampleProgress;
    private readonly IProgress<TrainingStep>? _progress;
    private readonly TrainedGroups _groups;
    private readonly OptimizerRun _optimizer;
    private readonly GradientStep _gradientStep;
    private readonly TrainingFiles _files;
    private readonly LossCurve _curve = new();
    private readonly SpeedMeter _speed;
    private readonly TimeProvider _clock;
    private readonly long _began;
    private readonly List<TrainingStep> _steps = [];
    private readonly List<TrainingSample> _samples = [];
    private IReadOnlyList<int[]> _batches = [];
    private IReadOnlyList<string> _untrainedLayers = [];
    private IReadOnlyList<string> _warnings;
    private int _done;

    public TrainingRun(TrainingTask task, IProgress<TrainingSample>? sampleProgress, IProgress<TrainingStep>? progress, TimeProvider clock)
    {
        (_task, _config, _plan, _networks) = (task, task.Config, task.Plan(), task.Networks);
        (_sampleProgress, _progress) = (sampleProgress, progress);
        (_clock, _began, _speed) = (clock, clock.GetTimestamp(), new SpeedMeter(clock));
        _warnings = _plan.Warnings;
        _drops = _networks.Any(static network => network.Model.GetConfig(network.Adapter).Dropout > 0);
        _groups = new TrainedGroups(_config, _networks);
        _optimizer = new OptimizerRun(_config.Optimizer, _groups.Groups);
        _gradientStep = new GradientStep(_optimizer, _config.MaxGradientNorm);
        _files = new TrainingFiles(task, _plan, clock);
        _files.Rehearse();
    }

    /// <summary>Takes weights, the optimizer's states, step and losses of a stopped run, if there is one to go on from.</summary>
    public void Resume(string? stateFile)
    {
        _files.TellReplaced(stateFile);
        if (stateFile is null)
        {
            return;
        }

        var (losses, epochs) = _files.LoadState(stateFile, _optimizer);
        foreach (var loss in losses)
        {
            _curve.Add(loss);
        }

        _done = losses.Count;
        if (RatesChange(epochs))
        {
            _warnings =
            [
                .. _warnings,
                $"Epochs: {epochs} when the {Listing.Count(_done, "step")} of the state were taken, here {_plan.Epochs}: "
                + $"the rates of {_config.Schedule.Kind} hang on the number of steps, "
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
        var before = _done;
        foreach (var warning in _warnings)
        {
            Notice.Tell($"Training {_config.Name}: {warning}");
        }

        try
        {
            if (_done == 0)
            {
                DrawSamples(0, cancellationToken);
            }
            else if (_done % _plan.StepsPerEpoch == 0 && _files.SampledEpochs < _done / _plan.StepsPerEpoch)
            {
                // The run that is resumed was stopped before or among the samples of its last epoch.
                FinishSamples(_done / _plan.StepsPerEpoch, cancellationToken);
            }

            while (_done < _plan.TotalSteps)
            {
                TakeStep(cancellationToken);
                if (_done % _plan.StepsPerEpoch == 0)
                {
                    FinishEpoch(_done / _plan.StepsPerEpoch, cancellationToken);
                }
            }
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested && _done > 0)
        {
            wasCancelled = _done < _plan.TotalSteps;
        }
        catch (TrainingDivergedException fault)
        {
            // The weights are finite, but no good any more; the record shows how it came to that.
            _files.WriteRecord(_steps, _untrainedLayers, _warnings, wasCancelled: false, fault.Message);
            throw;
        }
        catch (Exception fault) when (_done > before)
        {
            // A sample that cannot be drawn or a listener that throws does not take away what was learnt.
            Rescue(fault);
            throw;
        }

        SetTraining(false);
        _files.SaveFinal(_done, _optimizer, _curve);
        _files.WriteRecord(_steps, _untrainedLayers, _warnings, wasCancelled);
        return new TrainingResult<TLora>
        {
            Task = owner,
            Lora = owner.Lora,
            Config = _config,
            Plan = _plan,
            Steps = _steps,
            Samples = _samples,
            UntrainedLayers = _untrainedLayers,
            Warnings = _warnings,
            Checkpoints = _files.Checkpoints,
            StateFile = _files.StateFile,
            RecordFile = _files.RecordFile,
            WasCancelled = wasCancelled,
            Seconds = _clock.GetElapsedTime(_began).TotalSeconds,
        };
    }

    public void Dispose() => _optimizer.Dispose();

    private void Rescue(Exception fault)
    {
        var unwritten = "what was learnt";
        try
        {
            _files.SaveFinal(_done, _optimizer, _curve);
            var kept = $"what was learnt is in '{_files.Checkpoints[^1]}', to go on from in '{_files.StateFile}'";
            unwritten = kept + ", but its record";
            _files.WriteRecord(_steps, _untrainedLayers, _warnings, wasCancelled: false, fault.Message);
            Notice.Tell($"Training {_config.Name} ended at step {_done} by a fault; {kept}.");
        }
        catch (Exception second) when (second is IOException or UnauthorizedAccessException)
        {
            Notice.Tell($"Training {_config.Name} ended at step {_done} by a fault; {unwritten} could not be written: {second.Message}");
        }
    }

    private void TakeStep(CancellationToken cancellationToken)
    {
        var (epoch, stepOfEpoch) = Math.DivRem(_done, _plan.StepsPerEpoch);
        if (stepOfEpoch == 0 || _batches.Count == 0)
        {
            _batches = Batches(epoch);
        }

        _speed.Start();
        SetTraining(true);
        _optimizer.UseTrainingWeights();
        var first = stepOfEpoch * _config.GradientAccumulation;
        var count = Math.Min(_config.GradientAccumulation, _batches.Count - first);
        var metrics = new MeanMetrics();
        var update = _gradientStep.Take(count, i => Loss(epoch, first + i, metrics), _groups.Rates(_done, _plan.TotalSteps), cancellationToken);
        if (!update.IsFinite)
        {
            throw new TrainingDivergedException(_done + 1, update, _files.Checkpoints.LastOrDefault());
        }

        if (_steps.Count == 0)
        {
            _untrainedLayers = _groups.LayersOf(_optimizer.WithoutGradient);
        }

        BoundWeights();
        var rates = _groups.NetworkRates(_done, _plan.TotalSteps);
        _done++;
        _speed.Stop(_batches.Skip(first).Take(count).Sum(batch => batch.Length));
        _steps.Add(new TrainingStep
        {
            Step = _done,
            TotalSteps = _plan.TotalSteps,
            Epoch = epoch + 1,
            TotalEpochs = _plan.Epochs,
            Loss = update.Loss,
            SmoothedLoss = _curve.Add(update.Loss),
            LearningRates = rates,
            Metrics = metrics.Means,
            GradientNorm = update.GradientNorm,
            Seconds = _clock.GetElapsedTime(_began).TotalSeconds,
            Unit = _plan.Unit,
            ExamplesPerSecond = _speed.ExamplesPerSecond,
            SecondsLeft = _speed.SecondsPerStep * (_plan.TotalSteps - _done),
        });
        _progress?.Report(_steps[^1]);
        if (_done % StepsPerCollection == 0)
        {
            GC.Collect();
        }
    }

    /// <summary>Whether the steps of a plan of other epochs have other learning rates.</summary>
    private bool RatesChange(int epochs)
    {
        var total = _plan.StepsPerEpoch * epochs;
        return epochs != _plan.Epochs
            && Enumerable.Range(0, Math.Min(total, _plan.TotalSteps))
                .Any(step => _config.Schedule.Rate(step, total, 1) != _config.Schedule.Rate(step, _plan.TotalSteps, 1));
    }

    private void BoundWeights()
    {
        if (_config.ScaleWeightNorms is { } maxNorm)
        {
            MaxNormRegularization.Apply(_networks.SelectMany(static network => network.Model.GetLayers(network.Adapter)), maxNorm);
        }
    }

    /// <summary>The batches of an epoch as indices of examples, in an order of its own.</summary>
    private IReadOnlyList<int[]> Batches(int epoch)
    {
        using var generator = _task.Seeds.Generator(RandomUse.Order, epoch);
        return [.. _task.Order(generator).Chunk(_config.BatchSize)];
    }

    private Tensor Loss(int epoch, int batchOfEpoch, MeanMetrics metrics)
    {
        var number = ((long)epoch * _plan.BatchesPerEpoch) + batchOfEpoch;
        if (_drops)
        {
            var seed = _task.Seeds.Derive(RandomUse.Dropout, number);
            AdaptedModel.SeedDropout(_networks.Select(static network => (network.Model, network.Adapter)), seed);
        }

        var batch = new TrainingBatch(_batches[batchOfEpoch], number, _task.Seeds);
        var loss = _task.Loss(batch);
        metrics.Add(batch.Metrics);
        return loss;
    }

    private void SetTraining(bool isTraining)
    {
        foreach (var network in _networks)
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
        if (_config.SaveEveryEpochs is { } saveEvery && epochs % saveEvery == 0 && epochs < _plan.Epochs)
        {
            _files.SaveCheckpoint(epochs, _done, _optimizer, _curve);
            _files.WriteRecord(_steps, _untrainedLayers, _warnings, wasCancelled: false);
        }

        FinishSamples(epochs, cancellationToken);
    }

    private void FinishSamples(int epochs, CancellationToken cancellationToken)
    {
        if (_config.SampleEveryEpochs is { } sampleEvery && epochs % sampleEvery == 0)
        {
            DrawSamples(epochs, cancellationToken);
            _files.SampledEpochs = epochs;
        }
    }

    private void DrawSamples(int epochs, CancellationToken cancellationToken)
    {
        if (_config.SampleEveryEpochs is null)
        {
            return;
        }

        SetTraining(false);
        _optimizer.UseEvaluationWeights();
        foreach (var sample in _task.Samples(epochs, cancellationToken))
        {
            _samples.Add(sample);
            _sampleProgress?.Report(sample);
        }
    }
}
