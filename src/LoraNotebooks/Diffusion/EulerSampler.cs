using static TorchSharp.torch;

namespace LoraNotebooks.Diffusion;

/// <summary>
/// Euler's method on dx/dσ = (x − x₀)/σ (Karras et al. 2022, arXiv:2206.00364, algorithm 1), and its ancestral variant
/// (k-diffusion's <c>sample_euler_ancestral</c>).
/// </summary>
internal sealed class EulerSampler : Sampler
{
    private readonly bool ancestral;
    private readonly double[] sigmas;

    public EulerSampler(SchedulerConfig config, int steps, bool ancestral)
        : base(config)
    {
        this.ancestral = ancestral;
        var levels = new SigmaLevels(Schedule);
        var timesteps = TimestepSequence.Fractional(config, steps);
        var sigmas = timesteps.Select(levels.At).ToArray();
        if (!ancestral && SigmaLevels.Spaced(config, sigmas[^1], sigmas[0], timesteps.Length) is { } spaced)
        {
            sigmas = spaced;
            timesteps = [.. spaced.Select(levels.TimestepOf)];
        }

        Timesteps = timesteps;
        this.sigmas = [.. sigmas, ancestral ? 0 : levels.Final(config)];
    }

    public override IReadOnlyList<double> Sigmas => sigmas;

    // With leading spacing the first level is below the largest, and the initial sample holds signal of variance one too.
    public override double InitialNoiseSigma => Config.TimestepSpacing == TimestepSpacing.Leading ? Math.Sqrt(sigmas[0] * sigmas[0] + 1) : sigmas[0];

    public override bool AddsNoise => ancestral;

    public override Tensor ScaleModelInput(Tensor sample, int step) => sample * Scale(step);

    private protected override Tensor Next(Tensor modelOutput, int step, Tensor sample, Func<Tensor> noise)
    {
        var (sigma, next) = (sigmas[step], sigmas[step + 1]);
        var scale = Scale(step);
        var original = Original(modelOutput, sample * scale, scale, sigma * scale);
        var derivative = (sample - original) / sigma;
        if (!ancestral)
        {
            return sample + (next - sigma) * derivative;
        }

        // σ_up² = σ'²·(σ² − σ'²)/σ²,  σ_down² = σ'² − σ_up²
        var up = Math.Sqrt(next * next * (sigma * sigma - next * next) / (sigma * sigma));
        var down = Math.Sqrt(next * next - up * up);
        return sample + (down - sigma) * derivative + up * noise();
    }

    /// <summary>1/√(σ²+1): what brings x = x₀ + σ·ε to the variance that the model was trained with.</summary>
    private double Scale(int step) => 1 / Math.Sqrt(sigmas[step] * sigmas[step] + 1);
}
