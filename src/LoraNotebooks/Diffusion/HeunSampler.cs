using LoraNotebooks.Tensors;

namespace LoraNotebooks.Diffusion;

/// <summary>
/// Heun's method (Karras et al. 2022, arXiv:2206.00364, algorithm 1 without churn): an Euler step, then the step again with the mean
/// of the slopes at both ends. Every level but the first is asked about twice; the step to σ = 0 is Euler's.
/// </summary>
internal sealed class HeunSampler(SchedulerConfig config, int steps) : SigmaSampler(config, steps, second: (_, next) => next)
{
    private readonly TensorHistory _start = new(2); // x and dx/dσ where the Euler step began

    public static SamplerDeclaration Declaration => new(nameof(SamplerKind.Heun), static (config, steps, _) => new HeunSampler(config, steps))
    {
        OtherNames = ["k_heun"],
        SchedulerClass = "HeunDiscreteScheduler",
    };

    public override void Dispose()
    {
        _start.Dispose();
        base.Dispose();
    }

    protected override Term Next(Term modelOutput, int step, Term sample, Func<Term> noise)
    {
        var slope = (sample - Clip(OriginalAt(step, modelOutput, sample))) / Sigmas[step];
        if (step % 2 == 0)
        {
            _start.Add(sample);
            _start.Add(slope);
            return sample + (Sigmas[step + 1] - Sigmas[step]) * slope;
        }

        // x' = x + (σ' − σ)·(d + d')/2
        return _start[1] + (Sigmas[step] - Sigmas[step - 1]) * (_start[0] + slope) / 2;
    }
}
