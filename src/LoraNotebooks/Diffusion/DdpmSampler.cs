using LoraNotebooks.Tensors;

namespace LoraNotebooks.Diffusion;

/// <summary>Ancestral sampling (Ho et al. 2020, arXiv:2006.11239, algorithm 2, with the posterior of equations 6 and 7).</summary>
internal sealed class DdpmSampler : Sampler
{
    public static SamplerDeclaration Declaration => new(nameof(SamplerKind.Ddpm), static (config, steps, _) => new DdpmSampler(config, steps))
    {
        Title = "DDPM",
        SchedulerClass = "DDPMScheduler",
        HasLevels = false,
    };

    public DdpmSampler(SchedulerConfig config, int steps)
        : base(config)
    {
        Timesteps = WholeTimesteps(steps);
    }

    public override bool AddsNoise => true;

    protected override Term Next(Term modelOutput, int step, Term sample, Func<Term> noise)
    {
        var t = (int)Timesteps[step];
        double a = Schedule.AlphasCumprod[t];
        double previous = step + 1 < Timesteps.Count ? Schedule.AlphasCumprod[(int)Timesteps[step + 1]] : 1;
        var alpha = a / previous;
        var beta = 1 - alpha;
        var original = Clip(Original(modelOutput, sample, Math.Sqrt(a), Math.Sqrt(1 - a)));

        // μ̃ = √ᾱ_{t−1}·β/(1−ᾱ_t)·x₀ + √α·(1−ᾱ_{t−1})/(1−ᾱ_t)·x_t,  β̃ = (1−ᾱ_{t−1})/(1−ᾱ_t)·β
        var mean = Math.Sqrt(previous) * beta / (1 - a) * original + Math.Sqrt(alpha) * (1 - previous) / (1 - a) * sample;
        var variance = Math.Max((1 - previous) / (1 - a) * beta, 1e-20);
        return t > 0 ? mean + Math.Sqrt(variance) * noise() : mean;
    }
}
