using LoraNotebooks.Tensors;

namespace LoraNotebooks.Diffusion;

/// <summary>
/// Second-order single steps: the model is asked at a step's level and at the geometric mean of that and the level aimed at; the second
/// answer makes the step. DPM-Solver-2 (Lu et al. 2022, arXiv:2206.00927, algorithm 1; k-diffusion's <c>sample_dpm_2</c> and
/// <c>sample_dpm_2_ancestral</c>) follows the slope dx/dσ there, DPM-Solver++(2S) (arXiv:2211.01095, algorithm 1;
/// <c>sample_dpmpp_2s_ancestral</c> and <c>sample_dpmpp_sde</c>) the estimate of x₀.
/// </summary>
internal sealed class MidpointSampler : SigmaSampler
{
    private readonly TensorHistory _start = new(1); // x where the step began
    private readonly bool _ancestral;
    private readonly bool _noiseInTheMiddle;
    private readonly bool _bySlope;

    /// <param name="config">Schedule and settings.</param>
    /// <param name="steps">n.</param>
    /// <param name="bySlope">Whether the slope makes the step rather than the estimate of x₀.</param>
    /// <param name="ancestral">Whether a step ends with fresh noise.</param>
    /// <param name="noiseInTheMiddle">Whether there is fresh noise at the level between, too.</param>
    private MidpointSampler(SchedulerConfig config, int steps, bool bySlope, bool ancestral, bool noiseInTheMiddle = false)
        : base(config, steps, second: ancestral && !noiseInTheMiddle
            ? (_, next) => next // √(σ·σ_down), as σ_down = σ'²/σ
            : (sigma, next) => Math.Sqrt(sigma * next))
    {
        _bySlope = bySlope;
        _ancestral = ancestral;
        _noiseInTheMiddle = noiseInTheMiddle;
    }

    public static SamplerDeclaration DpmPlusPlusSde => new(
        nameof(SamplerKind.DpmPlusPlusSde),
        static (config, steps, _) => new MidpointSampler(config, steps, bySlope: false, ancestral: true, noiseInTheMiddle: true))
    {
        Title = "DPM++ SDE",
    };

    public static SamplerDeclaration DpmPlusPlus2SAncestral => new(
        nameof(SamplerKind.DpmPlusPlus2SAncestral), static (config, steps, _) => new MidpointSampler(config, steps, bySlope: false, ancestral: true))
    {
        Title = "DPM++ 2S a",
        OtherNames = ["dpmpp_2s_ancestral"],
    };

    public static SamplerDeclaration Dpm2 => new(
        nameof(SamplerKind.Dpm2), static (config, steps, _) => new MidpointSampler(config, steps, bySlope: true, ancestral: false))
    {
        Title = "DPM2",
        OtherNames = ["k_dpm_2"],
    };

    public static SamplerDeclaration Dpm2Ancestral => new(
        nameof(SamplerKind.Dpm2Ancestral), static (config, steps, _) => new MidpointSampler(config, steps, bySlope: true, ancestral: true))
    {
        Title = "DPM2 a",
        OtherNames = ["k_dpm_2_a", "dpm_2_ancestral"],
    };

    public override bool AddsNoise => _ancestral;

    public override void Dispose()
    {
        _start.Dispose();
        base.Dispose();
    }

    protected override Term Next(Term modelOutput, int step, Term sample, Func<Term> noise)
    {
        var original = OriginalAt(step, modelOutput, sample);
        if (step == Timesteps.Count - 1)
        {
            return original;
        }

        if (step % 2 == 0)
        {
            _start.Add(sample);
            return Step(sample, Sigmas[step], Sigmas[step + 1], _noiseInTheMiddle, (x, sigma, next) => Toward(x, original, next / sigma), noise);
        }

        return Step(_start[0], Sigmas[step - 1], Sigmas[step + 1], _ancestral, (x, sigma, next) => _bySlope
            ? x + (next - sigma) / Sigmas[step] * (sample - original)
            : Toward(x, original, next / sigma), noise);
    }

    private static Term Step(Term x, double sigma, double next, bool addsNoise, Func<Term, double, double, Term> move, Func<Term> noise)
    {
        if (!addsNoise)
        {
            return move(x, sigma, next);
        }

        var (down, up) = Ancestral(sigma, next);
        return move(x, sigma, down) + up * noise();
    }

    /// <summary>q·x + (1 − q)·x₀ with q = σ'/σ = e^{−h}: the exact step while x₀ stays the same.</summary>
    private static Term Toward(Term x, Term original, double q) => q * x + (1 - q) * original;
}
