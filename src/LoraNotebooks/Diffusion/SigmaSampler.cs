using LoraNotebooks.Tensors;
using static TorchSharp.torch;

namespace LoraNotebooks.Diffusion;

/// <summary>
/// A sampler that works on x = x₀ + σ·ε and solves dx/dσ = (x − x₀)/σ from the largest noise level down
/// (Karras et al. 2022, arXiv:2206.00364, equation 1 with σ(t) = t).
/// </summary>
public abstract class SigmaSampler : Sampler
{
    private readonly double[] _sigmas;

    /// <summary>Chooses the noise levels.</summary>
    /// <param name="config">Schedule and settings.</param>
    /// <param name="steps">n, 1 to the number of training timesteps.</param>
    /// <param name="second">The level, between that of a step and the next one, at which the model is asked a second time; default not at all.</param>
    /// <param name="reachesZero">Whether the last level is 0 whatever the configuration says; default it is.</param>
    /// <exception cref="ArgumentException">The settings have faults, or the schedule does not have so many steps.</exception>
    protected SigmaSampler(SchedulerConfig config, int steps, Func<double, double, double>? second = null, bool reachesZero = true)
        : base(config)
    {
        var levels = new SigmaLevels(Schedule);
        var timesteps = TimestepSequence.Fractional(config, steps);
        var once = timesteps.Select(levels.At).ToArray();
        if (SigmaLevels.Spaced(config, once[^1], once[0], steps) is { } spaced)
        {
            once = spaced;
            timesteps = [.. spaced.Select(levels.TimestepOf)];
        }

        var evaluations = new List<(double Sigma, double Timestep)> { (once[0], timesteps[0]) };
        for (var i = 1; i < steps; i++)
        {
            if (second?.Invoke(once[i - 1], once[i]) is { } between)
            {
                evaluations.Add((between, between == once[i] ? timesteps[i] : levels.TimestepOf(between)));
            }

            evaluations.Add((once[i], timesteps[i]));
        }

        Timesteps = [.. evaluations.Select(evaluation => evaluation.Timestep)];
        _sigmas = [.. evaluations.Select(evaluation => evaluation.Sigma), reachesZero ? 0 : levels.Final(config)];
    }

    /// <inheritdoc/>
    public sealed override IReadOnlyList<double> Sigmas => _sigmas;

    /// <inheritdoc/>
    /// <remarks>With leading spacing the first level is below the largest, and the initial sample holds signal of variance one too.</remarks>
    public sealed override double InitialNoiseSigma => Config.TimestepSpacing == TimestepSpacing.Leading ? Math.Sqrt(_sigmas[0] * _sigmas[0] + 1) : _sigmas[0];

    /// <inheritdoc/>
    public sealed override Tensor ScaleModelInput(Tensor sample, int step) => sample.Times(Scale(step));

    /// <summary>x₀ as the model sees it at a step's level.</summary>
    /// <param name="step">The step's number, from 0.</param>
    /// <param name="modelOutput">The model's answer there.</param>
    /// <param name="sample">x = x₀ + σ·ε, as <see cref="Sampler.Next"/> is given it.</param>
    protected Term OriginalAt(int step, Term modelOutput, Term sample) =>
        Original(modelOutput, sample * Scale(step), Scale(step), _sigmas[step] * Scale(step));

    /// <summary>dx/dσ = (x − x₀)/σ at a step's level.</summary>
    /// <inheritdoc cref="OriginalAt"/>
    protected Term Derivative(int step, Term modelOutput, Term sample) => (sample - OriginalAt(step, modelOutput, sample)) / _sigmas[step];

    /// <summary>
    /// An ancestral step from σ to σ': down to σ_down without noise, then up by fresh noise of σ_up, where
    /// σ_up² = σ'²·(σ² − σ'²)/σ² and σ_down² = σ'² − σ_up² (k-diffusion's <c>get_ancestral_step</c>).
    /// </summary>
    /// <param name="sigma">σ, above 0.</param>
    /// <param name="next">σ', 0 to σ.</param>
    protected static (double Down, double Up) Ancestral(double sigma, double next) =>
        (next * next / sigma, Math.Sqrt(next * next * (sigma * sigma - next * next)) / sigma);

    /// <summary>1/√(σ²+1): what brings x = x₀ + σ·ε to the variance that the model was trained with.</summary>
    private double Scale(int step) => 1 / Math.Sqrt(_sigmas[step] * _sigmas[step] + 1);
}
