namespace LoraNotebooks.Diffusion;

/// <summary>The timesteps that a sampler of n steps visits, from the noisiest down (Lin et al. 2024, arXiv:2305.08891, table 2; diffusers' <c>set_timesteps</c>).</summary>
internal static class TimestepSequence
{
    /// <summary>DDIM, DDPM, PNDM: whole timesteps.</summary>
    public static double[] Whole(SchedulerConfig config, int steps)
    {
        CheckSteps(config, steps);
        return config.TimestepSpacing == TimestepSpacing.Linspace
            ? Descending(Linspace(0, config.NumTrainTimesteps - 1, steps).Select(value => Round(value)))
            : Even(config, steps);
    }

    /// <summary>Euler, Heun, LMS: timesteps between the whole ones too, in upstream's float32: at zero terminal SNR the last levels are that steep.</summary>
    public static double[] Fractional(SchedulerConfig config, int steps)
    {
        CheckSteps(config, steps);
        return config.TimestepSpacing == TimestepSpacing.Linspace
            ? Descending(Linspace(0, config.NumTrainTimesteps - 1, steps).Select(value => (double)(float)value))
            : Even(config, steps);
    }

    /// <summary>DPM++: n of n+1 even parts, as its last step goes to the final noise level.</summary>
    public static double[] AllButLast(SchedulerConfig config, int steps)
    {
        CheckSteps(config, steps);
        var T = config.NumTrainTimesteps;
        return config.TimestepSpacing switch
        {
            TimestepSpacing.Linspace => Descending(Linspace(0, T - 1, steps + 1).Select(value => Round(value)))[..steps],
            TimestepSpacing.Leading => Descending(Enumerable.Range(0, steps + 1).Select(i => (double)(i * (T / (steps + 1)) + config.StepsOffset)))[..steps],
            _ => Even(config, steps),
        };
    }

    /// <summary>n values from first to last, both included; one value is the first.</summary>
    public static double[] Linspace(double first, double last, int n) =>
        [.. Enumerable.Range(0, n).Select(i => n == 1 ? first : i == n - 1 ? last : first + i * ((last - first) / (n - 1)))];

    private static double[] Even(SchedulerConfig config, int steps)
    {
        var T = config.NumTrainTimesteps;
        return config.TimestepSpacing == TimestepSpacing.Leading
            ? Descending(Enumerable.Range(0, steps).Select(i => (double)(i * (T / steps) + config.StepsOffset)))
            : [.. Enumerable.Range(0, steps).Select(i => Round(T - i * ((double)T / steps)) - 1)];
    }

    private static double[] Descending(IEnumerable<double> ascending) => [.. ascending.Reverse()];

    // numpy rounds halves to even.
    private static double Round(double value) => Math.Round(value, MidpointRounding.ToEven);

    private static void CheckSteps(SchedulerConfig config, int steps)
    {
        if (steps < 1 || steps > config.NumTrainTimesteps)
        {
            throw new ArgumentException($"Got {steps} steps, expected 1 to {config.NumTrainTimesteps}: the schedule has {config.NumTrainTimesteps} timesteps. 20 to 50 are usual.");
        }
    }
}
