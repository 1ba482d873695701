using LoraNotebooks.Tensors;

namespace LoraNotebooks.Diffusion;

/// <summary>
/// A sampler that works on x = α·x₀ + σ·ε with α² + σ² = 1 and walks along λ = log(α/σ), half the logarithm of the signal-to-noise
/// ratio, in which the linear part of the ODE is solved exactly (Lu et al. 2022, arXiv:2206.00927, proposition 3.1).
/// </summary>
public abstract class LogSnrSampler : Sampler
{
    private readonly double[] _sigmas;

    /// <summary>Chooses the noise levels.</summary>
    /// <param name="config">Schedule and settings.</param>
    /// <param name="steps">n, 1 to the number of training timesteps; one less where the spacing does not trail.</param>
    /// <param name="roundsKarras">Whether the model is given the nearest whole timestep of Karras' levels rather than the one below.</param>
    /// <param name="memory">How many estimates of x₀ are remembered, the order of the method.</param>
    /// <exception cref="ArgumentException">The settings have faults, or the schedule does not have so many steps.</exception>
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
        _sigmas = [.. sigmas, levels.Final(config)];
        Originals = new TensorHistory(memory);
    }

    /// <inheritdoc/>
    public sealed override IReadOnlyList<double> Sigmas => _sigmas;

    /// <summary>The last estimates of x₀; a formula adds that of its step, from <see cref="OriginalAt"/>.</summary>
    protected TensorHistory Originals { get; }

    /// <inheritdoc/>
    public override void Dispose()
    {
        Originals.Dispose();
        base.Dispose();
    }

    /// <summary>α, σ and λ at a step's noise level; after the last step λ may be infinite.</summary>
    /// <param name="step">The step's number, from 0; that of the last plus one is the level at the end.</param>
    protected (double Signal, double Sigma, double Lambda) Level(int step)
    {
        var signal = 1 / Math.Sqrt(_sigmas[step] * _sigmas[step] + 1);
        return (signal, _sigmas[step] * signal, -Math.Log(_sigmas[step]));
    }

    /// <summary>x₀ as the model sees it at a step's level.</summary>
    /// <param name="step">The step's number, from 0.</param>
    /// <param name="modelOutput">The model's answer there.</param>
    /// <param name="sample">x = α·x₀ + σ·ε, as <see cref="Sampler.Next"/> is given it.</param>
    protected Term OriginalAt(int step, Term modelOutput, Term sample)
    {
        var (signal, sigma, _) = Level(step);
        return Original(modelOutput, sample, signal, sigma);
    }
}
