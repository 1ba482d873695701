using LoraNotebooks.Tensors;

namespace LoraNotebooks.Diffusion;

/// <summary>
/// Linear multistep: Adams–Bashforth of order 4 over uneven noise levels (k-diffusion's <c>sample_lms</c>). The polynomial through the
/// last four slopes dx/dσ is integrated to the next level.
/// </summary>
internal sealed class LmsSampler(SchedulerConfig config, int steps) : SigmaSampler(config, steps)
{
    private const int Order = 4;

    private readonly TensorHistory _slopes = new(Order);

    public static SamplerDeclaration Declaration => new(nameof(SamplerKind.Lms), static (config, steps, _) => new LmsSampler(config, steps))
    {
        Title = "LMS",
        OtherNames = ["k_lms"],
        SchedulerClass = "LMSDiscreteScheduler",
    };

    public override void Dispose()
    {
        _slopes.Dispose();
        base.Dispose();
    }

    protected override Term Next(Term modelOutput, int step, Term sample, Func<Term> noise)
    {
        _slopes.Add(Derivative(step, modelOutput, sample));
        var next = sample;
        for (var j = 0; j < _slopes.Count; j++)
        {
            next += Coefficient(step, j, _slopes.Count) * _slopes[j];
        }

        return next;
    }

    /// <summary>
    /// ∫ ℓ_j(σ) dσ from σ_step to σ_{step+1}, where ℓ_j = ∏_{k≠j} (σ − σ_{step−k})/(σ_{step−j} − σ_{step−k}) is Lagrange's polynomial.
    /// Its degree is at most 3, so two Gauss–Legendre points at ±1/√3 integrate it exactly.
    /// </summary>
    private double Coefficient(int step, int j, int order)
    {
        var (middle, half) = ((Sigmas[step + 1] + Sigmas[step]) / 2, (Sigmas[step + 1] - Sigmas[step]) / 2);
        return half * (Lagrange(middle - half / Math.Sqrt(3)) + Lagrange(middle + half / Math.Sqrt(3)));

        double Lagrange(double sigma) => Enumerable.Range(0, order).Where(k => k != j)
            .Aggregate(1d, (product, k) => product * (sigma - Sigmas[step - k]) / (Sigmas[step - j] - Sigmas[step - k]));
    }
}
