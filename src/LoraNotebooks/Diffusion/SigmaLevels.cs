namespace LoraNotebooks.Diffusion;

/// <summary>
/// The noise levels σ = √((1−ᾱ)/ᾱ) of a schedule, in which x = x₀ + σ·ε (Karras et al. 2022, arXiv:2206.00364), and the ways to
/// walk down them.
/// </summary>
internal sealed class SigmaLevels
{
    /// <summary>The ᾱ that stands for 0 at zero terminal SNR, so that σ stays finite: 2⁻²⁴ (upstream's value).</summary>
    public const float SmallestSignal = 1f / (1 << 24);

    private const double Rho = 7;

    private readonly double[] _table;
    private readonly double[] _logs;

    /// <summary>Computes σ for every training timestep.</summary>
    public SigmaLevels(NoiseSchedule schedule)
    {
        _table =
        [
            .. schedule.AlphasCumprod
                .Select(signal => signal == 0 ? SmallestSignal : signal)
                .Select(signal => (double)MathF.Sqrt((1 - signal) / signal)),
        ];
        _logs = [.. _table.Select(sigma => (double)MathF.Log((float)sigma))];
    }

    /// <summary>σ of the first training timestep.</summary>
    public double Smallest => _table[0];

    /// <summary>σ of the last training timestep.</summary>
    public double Largest => _table[^1];

    /// <summary>σ at a timestep, linear between the whole ones.</summary>
    public double At(double timestep)
    {
        var low = Math.Clamp((int)Math.Floor(timestep), 0, _table.Length - 1);
        var high = Math.Min(low + 1, _table.Length - 1);
        return _table[low] + (_table[high] - _table[low]) * Math.Clamp(timestep - low, 0, 1);
    }

    /// <summary>The timestep that has a noise level, linear in log σ between the whole ones.</summary>
    public double TimestepOf(double sigma)
    {
        var log = Math.Log(Math.Max(sigma, 1e-10));
        var low = Math.Clamp(Array.FindLastIndex(_logs, entry => entry <= log), 0, _logs.Length - 2);
        var weight = Math.Clamp((_logs[low] - log) / (_logs[low] - _logs[low + 1]), 0, 1);
        return (1 - weight) * low + weight * (low + 1);
    }

    /// <summary>
    /// n levels from <paramref name="largest"/> to <paramref name="smallest"/>, spaced as the configuration asks; <see langword="null"/> where it
    /// leaves them to the timesteps.
    /// </summary>
    public static double[]? Spaced(SchedulerConfig config, double smallest, double largest, int n)
    {
        if (config.UseKarrasSigmas)
        {
            // σ_i = (σ_max^(1/ρ) + i/(n−1)·(σ_min^(1/ρ) − σ_max^(1/ρ)))^ρ (equation 5)
            return [.. TimestepSequence.Linspace(0, 1, n)
                .Select(part => Math.Pow(Math.Pow(largest, 1 / Rho) + part * (Math.Pow(smallest, 1 / Rho) - Math.Pow(largest, 1 / Rho)), Rho))];
        }

        return config.UseExponentialSigmas ? [.. TimestepSequence.Linspace(Math.Log(largest), Math.Log(smallest), n).Select(log => Math.Exp(log))] : null;
    }

    /// <summary>The level after the last step.</summary>
    public double Final(SchedulerConfig config) => config.FinalSigma == FinalSigma.Zero ? 0 : Smallest;
}
