namespace LoraNotebooks.Diffusion;

/// <summary>
/// The timesteps that a sampler of n steps visits, from the noisiest down (Lin et al. 2024, arXiv:2305.08891, table 2; diffusers' <c>set_timesteps</c>).
/// </summary>
internal static class TimestepSequence
{
    /// <summary>DDIM, DDPM, PNDM: whole timesteps.</summary>
    public static double[] Whole(SchedulerConfig config, int steps)
    {
        CheckSteps(config, steps, steps);
        return config.TimestepSpacing == TimestepSpacing.Linspace
            ? Descending(Linspace(0, config.NumTrainTimesteps - 1, steps).Select(value => Round(value)))
            : Even(config, steps);
    }

    /// <summary>Euler, Heun, LMS: timesteps between the whole ones too, in upstream's float32: at zero terminal SNR the last levels are that steep.</summary>
    public static double[] Fractional(SchedulerConfig config, int steps)
    {
        CheckSteps(config, steps, steps);
        return config.TimestepSpacing == TimestepSpacing.Linspace
            ? Descending(Linspace(0, config.NumTrainTimesteps - 1, steps).Select(value => (double)(float)value))
            : Even(config, steps);
    }

    /// <summary>DPM++: n of n+1 even parts, as its last step goes to the final noise level.</summary>
    public static double[] AllButLast(SchedulerConfig config, int steps)
    {
        var parts = config.TimestepSpacing == TimestepSpacing.Trailing ? steps : steps + 1;
        CheckSteps(config, steps, parts);
        return config.TimestepSpacing == TimestepSpacing.Linspace
            ? Descending(Linspace(0, config.NumTrainTimesteps - 1, parts).Select(value => Round(value)))[..steps]
            : Even(config, parts)[..steps];
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

    /// <summary>
    /// No two parts begin at one timestep, and none beyond the last: there a step would lead nowhere, or from where the schedule says nothing.
    /// </summary>
    private static void CheckSteps(SchedulerConfig config, int steps, int parts)
    {
        var T = config.NumTrainTimesteps;
        var most = Math.Max(T - (parts - steps), 1);
        if (steps < 1 || steps > most)
        {
            throw new ArgumentException($"Got {steps} steps, expected 1 to {most}: the schedule has {T} timesteps. 20 to 50 are usual.");
        }

        var first = config.TimestepSpacing == TimestepSpacing.Leading ? (parts - 1) * (T / parts) + config.StepsOffset : 0;
        if (first >= T)
        {
            throw new ArgumentException(
                $"Got {steps} steps with steps_offset {config.StepsOffset}, which begin at timestep {first}; the schedule has {T} timesteps. "
                + "Take fewer steps, a smaller offset, or trailing spacing.");
        }
    }
}
