using static TorchSharp.torch;

namespace LoraNotebooks.Diffusion;

/// <summary>
/// A sampler that works on x = x₀ + σ·ε and solves dx/dσ = (x − x₀)/σ from the largest noise level down
/// (Karras et al. 2022, arXiv:2206.00364, equation 1 with σ(t) = t).
/// </summary>
internal abstract class SigmaSampler : Sampler
{
    private readonly double[] sigmas;

    /// <summary>Chooses the noise levels.</summary>
    /// <param name="config">Schedule and settings.</param>
    /// <param name="steps">n.</param>
    /// <param name="evaluations">How often the model is asked at each level but the first.</param>
    /// <param name="reachesZero">Whether the last level is 0 whatever the configuration says.</param>
    protected SigmaSampler(SchedulerConfig config, int steps, int evaluations = 1, bool reachesZero = true)
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

        Timesteps = Repeated(timesteps);
        sigmas = [.. Repeated(once), reachesZero ? 0 : levels.Final(config)];

        double[] Repeated(double[] values) => [values[0], .. values[1..].SelectMany(value => Enumerable.Repeat(value, evaluations))];
    }

    public sealed override IReadOnlyList<double> Sigmas => sigmas;

    // With leading spacing the first level is below the largest, and the initial sample holds signal of variance one too.
    public sealed override double InitialNoiseSigma => Config.TimestepSpacing == TimestepSpacing.Leading ? Math.Sqrt(sigmas[0] * sigmas[0] + 1) : sigmas[0];

    public sealed override Tensor ScaleModelInput(Tensor sample, int step) => sample * Scale(step);

    /// <summary>x₀ as the model sees it at a step's level.</summary>
    protected Tensor OriginalAt(int step, Tensor modelOutput, Tensor sample) =>
        Original(modelOutput, sample * Scale(step), Scale(step), sigmas[step] * Scale(step));

    /// <summary>dx/dσ at a step's level.</summary>
    protected Tensor Derivative(int step, Tensor modelOutput, Tensor sample) => (sample - OriginalAt(step, modelOutput, sample)) / sigmas[step];

    /// <summary>1/√(σ²+1): what brings x = x₀ + σ·ε to the variance that the model was trained with.</summary>
    private double Scale(int step) => 1 / Math.Sqrt(sigmas[step] * sigmas[step] + 1);
}
