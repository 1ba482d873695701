using System.Globalization;
using LoraNotebooks.Formats;
using LoraNotebooks.Training.Optimizers;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace LoraNotebooks.Training.Pretraining;

/// <summary>The loop that the stages share: learning rate, resume, saving, progress, cancellation.</summary>
internal static class PretrainingLoop
{
    private const string Steps = "steps";
    private const double WeightDecay = 0.01;
    private const double MaxGradientNorm = 1;
    private const double FinalRatio = 0.02;
    private const int MostWarmup = 200;

    /// <summary>AdamW and an average of the weights, which may be in bfloat16: masters of them are kept.</summary>
    /// <param name="parameters">What trains.</param>
    /// <param name="averageDecay">The decay of the average per step.</param>
    public static OptimizerRun NewOptimizer(IReadOnlyList<Parameter> parameters, double averageDecay) => new(
        new AveragedOptimizer { Inner = new AdamWOptimizer { Beta2 = 0.99 }, Decay = averageDecay },
        [new ParameterGroup("model", parameters, WeightDecay)],
        allowsLowerTypes: true);

    /// <summary>Runs a stage from where its saved state ends to its last step.</summary>
    /// <param name="stage">The stage's name; its state is <c>stage.safetensors</c>.</param>
    /// <param name="config">The configuration.</param>
    /// <param name="optimizer">The optimizer, restored from the saved state if there is one.</param>
    /// <param name="steps">The stage's steps.</param>
    /// <param name="batch">Images per step, for the speed.</param>
    /// <param name="peakLearningRate">Reached after the warm-up, then decayed by a half cosine to 2 %.</param>
    /// <param name="loss">Makes the loss of a step from its generator.</param>
    /// <param name="progress">Receives a report every 25 steps.</param>
    /// <param name="cancellation">Stops after the present step; the state is saved.</param>
    /// <param name="clock">What tells the time. Default the system's.</param>
    public static void Run(
        string stage,
        PretrainingConfig config,
        OptimizerRun optimizer,
        long steps,
        int batch,
        double peakLearningRate,
        Func<long, Generator, Tensor> loss,
        IProgress<PretrainingStep>? progress,
        CancellationToken cancellation,
        TimeProvider? clock = null)
    {
        const int reportEvery = 25;
        var state = Path.Combine(config.StateFolder, stage + ".safetensors");
        if (File.Exists(state))
        {
            Load(state, optimizer);
        }

        clock ??= TimeProvider.System;
        var reported = clock.GetTimestamp();
        var sum = 0.0;
        var sinceReport = 0;
        while (optimizer.Steps < steps)
        {
            var step = optimizer.Steps;
            var learningRate = LearningRate(step, steps, peakLearningRate);
            using (NewDisposeScope())
            {
                using var generator = PortraitCorpus.StepGenerator(config.Seed, stage, step);
                var value = loss(step, generator);
                value.backward();
                var number = value.item<float>();
                if (!float.IsFinite(number))
                {
                    throw new InvalidOperationException(
                        $"The {stage}'s loss is {number} at step {step + 1}. "
                        + $"The state of the last save is kept; lower the learning rate ({peakLearningRate}) and run again.");
                }

                optimizer.Step([learningRate], MaxGradientNorm);
                optimizer.ClearGradients();
                sum += number;
                sinceReport++;
            }

            if (optimizer.Steps % reportEvery == 0 || optimizer.Steps == steps)
            {
                var speed = sinceReport * batch / clock.GetElapsedTime(reported).TotalSeconds;
                progress?.Report(new PretrainingStep(stage, optimizer.Steps, steps, sum / sinceReport, learningRate, speed));
                (sum, sinceReport) = (0, 0);
                reported = clock.GetTimestamp();
            }

            if (optimizer.Steps % config.SaveEvery == 0 || optimizer.Steps == steps || cancellation.IsCancellationRequested)
            {
                Save(state, optimizer);
                cancellation.ThrowIfCancellationRequested();
            }
        }
    }

    /// <summary>Goes on from a saved state.</summary>
    /// <exception cref="InvalidDataException">The state belongs to another model.</exception>
    public static void Load(string path, OptimizerRun optimizer)
    {
        using var scope = NewDisposeScope();
        using var file = SafetensorsFile.Open(path);
        try
        {
            var tensors = file.Tensors.Keys.ToDictionary(static name => name, name => file.Load(name));
            optimizer.Restore(tensors, long.Parse(file.Metadata[Steps], CultureInfo.InvariantCulture));
        }
        catch (InvalidDataException fault)
        {
            throw new InvalidDataException(
                $"{path} is of another model. Delete the file to start over, or train with the configuration it was made with. {fault.Message}", fault);
        }
    }

    /// <summary>The learning rate of a step, from 0: a line up to the peak, then a half cosine wave.</summary>
    internal static double LearningRate(long step, long steps, double peak)
    {
        var warmUp = (int)Math.Min(MostWarmup, steps / 10 + 1);
        var schedule = new LearningRateSchedule { Kind = ScheduleKind.CosineWithMinLr, Warmup = warmUp, FinalRatio = FinalRatio };

        // The schedule's line begins at 0; here the first step learns, too.
        return schedule.Rate((int)(step < warmUp ? step + 1 : step), (int)steps, peak);
    }

    private static void Save(string path, OptimizerRun optimizer)
    {
        using var scope = NewDisposeScope();
        SafetensorsFile.Write(path, optimizer.State(), new Dictionary<string, string> { [Steps] = optimizer.Steps.ToString(CultureInfo.InvariantCulture) });
    }
}
