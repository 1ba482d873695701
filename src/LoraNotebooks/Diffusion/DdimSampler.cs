using LoraNotebooks.Tensors;

namespace LoraNotebooks.Diffusion;

/// <summary>DDIM (Song et al. 2021, arXiv:2010.02502, equation 12).</summary>
internal sealed class DdimSampler : Sampler
{
    private readonly double _eta;
    private readonly int _stride;

    public static SamplerDeclaration Declaration => new(nameof(SamplerKind.Ddim), static (config, steps, eta) => new DdimSampler(config, steps, eta))
    {
        Title = "DDIM",
        SchedulerClass = "DDIMScheduler",
        HasLevels = false,
        UsesEta = true,
    };

    public DdimSampler(SchedulerConfig config, int steps, double eta)
        : base(config)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(eta);
        _eta = eta;
        Timesteps = WholeTimesteps(steps);
        _stride = config.NumTrainTimesteps / steps;
    }

    public override bool AddsNoise => _eta > 0;

    protected override Term Next(Term modelOutput, int step, Term sample, Func<Term> noise)
    {
        var t = (int)Timesteps[step];
        double a = Schedule.AlphasCumprod[t];
        double previous = t >= _stride ? Schedule.AlphasCumprod[t - _stride] : Config.SetAlphaToOne ? 1 : Schedule.AlphasCumprod[0];
        var (signal, sigma) = (Math.Sqrt(a), Math.Sqrt(1 - a));

        // σ_t = η·√((1−ᾱ_{t−1})/(1−ᾱ_t))·√(1−ᾱ_t/ᾱ_{t−1})
        var deviation = _eta * Math.Sqrt((1 - previous) / (1 - a)) * Math.Sqrt(1 - a / previous);

        // x_{t−1} = √ᾱ_{t−1}·x₀ + √(1−ᾱ_{t−1}−σ_t²)·ε + σ_t·z
        var next = Math.Sqrt(previous) * Clip(Original(modelOutput, sample, signal, sigma))
            + Math.Sqrt(1 - previous - deviation * deviation) * Noise(modelOutput, sample, signal, sigma);
        return _eta > 0 ? next + deviation * noise() : next;
    }
}
