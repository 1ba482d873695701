using static TorchSharp.torch;

namespace LoraNotebooks.Diffusion;

/// <summary>
/// DPM-Solver++(2M), the multistep second-order solver (Lu et al. 2022, arXiv:2211.01095, algorithm 2), and its SDE variant
/// (the same paper's appendix), in diffusers' formulation.
/// </summary>
internal sealed class DpmPlusPlus2MSampler : Sampler
{
    private const int FewSteps = 15;

    private readonly double[] sigmas;
    private readonly bool stochastic;
    private Tensor? previousOriginal;

    public DpmPlusPlus2MSampler(SchedulerConfig config, int steps)
        : base(config)
    {
        var levels = new SigmaLevels(Schedule);
        var timesteps = TimestepSequence.AllButLast(config, steps);
        var sigmas = timesteps.Select(levels.At).ToArray();
        if (SigmaLevels.Spaced(config, levels.Smallest, levels.Largest, steps) is { } spaced)
        {
            sigmas = spaced;

            // Upstream gives the model whole timesteps: Karras' are rounded, the others cut off.
            var rounds = config.UseKarrasSigmas && config.BetaSchedule != BetaSchedule.SquaredCosCapV2;
            timesteps = [.. spaced.Select(levels.TimestepOf).Select(t => rounds ? Math.Round(t, MidpointRounding.ToEven) : Math.Floor(t))];
        }

        Timesteps = timesteps;
        this.sigmas = [.. sigmas, levels.Final(config)];
        stochastic = config.AlgorithmType == "sde-dpmsolver++";
    }

    public override IReadOnlyList<double> Sigmas => sigmas;

    public override bool AddsNoise => stochastic;

    public override void Dispose()
    {
        previousOriginal?.Dispose();
        previousOriginal = null;
        base.Dispose();
    }

    private protected override Tensor Next(Tensor modelOutput, int step, Tensor sample, Func<Tensor> noise)
    {
        var (signal, sigma, lambda) = Level(step);
        var (nextSignal, nextSigma, nextLambda) = Level(step + 1);
        var original = Original(modelOutput, sample, signal, sigma);
        var h = nextLambda - lambda;

        // The exact solution of the linear part: x_{t'} = σ'/σ·x + α'·(1 − e^{−h})·x₀; the SDE adds as much decay again as noise.
        var decay = stochastic ? Math.Exp(-h) : 1;
        var gain = nextSignal * (1 - Math.Exp(-h) * decay);
        var next = nextSigma / sigma * decay * sample + gain * original;
        if (step > 0 && previousOriginal is not null && Config.SolverOrder == 2 && !EndsAtFirstOrder(step))
        {
            // x₀'s slope over λ, from the step before: D₁ = (x₀ − x₀ of the step before)/r, r = h_before/h
            var slope = (original - previousOriginal) * (h / (lambda - Level(step - 1).Lambda));
            next += SlopeWeight(nextSignal, gain, h) * slope;
        }

        Remember(original);
        return stochastic ? next + nextSigma * Math.Sqrt(1 - Math.Exp(-2 * h)) * noise() : next;
    }

    /// <summary>½·α'(1−e^{−h}) by the midpoint rule, or the exact integral of a line ("heun").</summary>
    private double SlopeWeight(double nextSignal, double gain, double h)
    {
        var exponent = stochastic ? 2 * h : h;
        return Config.SolverType == "midpoint" ? 0.5 * gain : nextSignal * ((Math.Exp(-exponent) - 1) / exponent + 1);
    }

    /// <summary>σ = 0 has no finite λ, and few steps are more stable with a first-order end.</summary>
    private bool EndsAtFirstOrder(int step) => step == Timesteps.Count - 1
        && (Config.EulerAtFinal || Config.FinalSigma == FinalSigma.Zero || (Config.LowerOrderFinal && Timesteps.Count < FewSteps));

    /// <summary>α, σ with x = α·x₀ + σ·ε, α² + σ² = 1, and λ = log(α/σ), at a step's noise level.</summary>
    private (double Signal, double Sigma, double Lambda) Level(int step)
    {
        var signal = 1 / Math.Sqrt(sigmas[step] * sigmas[step] + 1);
        return (signal, sigmas[step] * signal, -Math.Log(sigmas[step]));
    }

    // It outlives the step's scope, so it belongs to the sampler.
    private void Remember(Tensor original)
    {
        previousOriginal?.Dispose();
        previousOriginal = original.clone().DetachFromDisposeScope();
    }
}
