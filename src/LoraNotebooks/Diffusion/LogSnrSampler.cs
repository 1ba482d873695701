using LoraNotebooks.Tensors;

namespace LoraNotebooks.Diffusion;

/// <summary>
/// A sampler that works on x = α·x₀ + σ·ε with α² + σ² = 1 and walks along λ = log(α/σ), half the logarithm of the signal-to-noise
/// ratio, in which the linear part of the ODE is solved exactly (Lu et al. 2022, arXiv:2206.00927, proposition 3.1).
/// </summary>
internal abstract class LogSnrSampler : Sampler
{
    private readonly double[] sigmas;

    /// <summary>Chooses the noise levels.</summary>
    /// <param name="config">Schedule and settings.</param>
    /// <param name="steps">n.</param>
    /// <param name="roundsKarras">Whether the model is given the nearest whole timestep of Karras' levels rather than the one below.</param>
    /// <param name="memory">How many estimates of x₀ are remembered.</param>
    protected LogSnrSampler(SchedulerConfig config, int steps, bool roundsKarras, int memory)
        : base(config)
    {
        var levels = new SigmaLevels(Schedule);
        var timesteps = TimestepSequence.AllButLast(config, steps);
        var sigmas = timesteps.Select(levels.At).ToArray();
        if (SigmaLevels.Spaced(config, levels.Smallest, levels.Largest, steps) is { } spaced)
        {
            sigmas = spaced;
            var rounds = config.UseKarrasSigmas && roundsKarras;
            timesteps = [.. spaced.Select(levels.TimestepOf).Select(t => rounds ? Math.Round(t, MidpointRounding.ToEven) : Math.Floor(t))];
        }

        Timesteps = timesteps;
        this.sigmas = [.. sigmas, levels.Final(config)];
        Originals = new TensorHistory(memory);
    }

    public sealed override IReadOnlyList<double> Sigmas => sigmas;

    /// <summary>The estimates of x₀ so far.</summary>
    protected TensorHistory Originals { get; }

    public override void Dispose()
    {
        Originals.Dispose();
        base.Dispose();
    }

    /// <summary>α, σ and λ at a step's noise level.</summary>
    protected (double Signal, double Sigma, double Lambda) Level(int step)
    {
        var signal = 1 / Math.Sqrt(sigmas[step] * sigmas[step] + 1);
        return (signal, sigmas[step] * signal, -Math.Log(sigmas[step]));
    }

    /// <summary>x₀ as the model sees it at a step's level.</summary>
    protected Term OriginalAt(int step, Term modelOutput, Term sample)
    {
        var (signal, sigma, _) = Level(step);
        return Original(modelOutput, sample, signal, sigma);
    }
}
