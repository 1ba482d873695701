using static TorchSharp.torch;

namespace LoraNotebooks.Training.Pretraining;

/// <summary>The loop that the stages share: learning rate, resume, saving, progress, cancellation.</summary>
internal static class PretrainingLoop
{
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
        AveragedAdamW optimizer,
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
            optimizer.Load(state);
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
                    throw new InvalidOperationException($"The {stage}'s loss is {number} at step {step + 1}. The state of the last save is kept; lower the learning rate ({peakLearningRate}) and run again.");
                }

                optimizer.Step(learningRate);
                sum += number;
                sinceReport++;
            }

            if (optimizer.Steps % reportEvery == 0 || optimizer.Steps == steps)
            {
                progress?.Report(new PretrainingStep(stage, optimizer.Steps, steps, sum / sinceReport, learningRate, sinceReport * batch / clock.GetElapsedTime(reported).TotalSeconds));
                (sum, sinceReport) = (0, 0);
                reported = clock.GetTimestamp();
            }

            if (optimizer.Steps % config.SaveEvery == 0 || optimizer.Steps == steps || cancellation.IsCancellationRequested)
            {
                optimizer.Save(state);
                cancellation.ThrowIfCancellationRequested();
            }
        }
    }

    /// <summary>The learning rate of a step, from 0: a line up to the peak, then a half cosine wave.</summary>
    internal static double LearningRate(long step, long steps, double peak)
    {
        const double floor = 0.02;
        var warmUp = Math.Min(200, steps / 10 + 1);
        if (step < warmUp)
        {
            return peak * (step + 1) / warmUp;
        }

        var done = (double)(step - warmUp) / Math.Max(1, steps - warmUp);
        return peak * (floor + (1 - floor) * 0.5 * (1 + Math.Cos(Math.PI * done)));
    }
}
