using LoraNotebooks.Tensors;

namespace LoraNotebooks.Diffusion;

/// <summary>
/// Euler's method (Karras et al. 2022, arXiv:2206.00364, algorithm 1 without the correction), and its ancestral variant
/// (k-diffusion's <c>sample_euler_ancestral</c>).
/// </summary>
internal sealed class EulerSampler : SigmaSampler
{
    private readonly bool _ancestral;

    public static SamplerDeclaration Plain => new(nameof(SamplerKind.Euler), static (config, steps, _) => new EulerSampler(config, steps, ancestral: false))
    {
        OtherNames = ["k_euler"],
        SchedulerClass = "EulerDiscreteScheduler",
    };

    public static SamplerDeclaration WithNoise => new(
        nameof(SamplerKind.EulerAncestral), static (config, steps, _) => new EulerSampler(config, steps, ancestral: true))
    {
        Title = "Euler a",
        OtherNames = ["k_euler_a", "euler_ancestral"],
        SchedulerClass = "EulerAncestralDiscreteScheduler",
    };

    public EulerSampler(SchedulerConfig config, int steps, bool ancestral)
        : base(config, steps, reachesZero: ancestral) => _ancestral = ancestral;

    public override bool AddsNoise => _ancestral;

    protected override Term Next(Term modelOutput, int step, Term sample, Func<Term> noise)
    {
        var (sigma, next) = (Sigmas[step], Sigmas[step + 1]);
        var derivative = Derivative(step, modelOutput, sample);
        if (!_ancestral)
        {
            return sample + (next - sigma) * derivative;
        }

        var (down, up) = Ancestral(sigma, next);
        return sample + (down - sigma) * derivative + up * noise();
    }
}
