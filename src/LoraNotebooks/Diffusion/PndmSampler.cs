using LoraNotebooks.Tensors;

namespace LoraNotebooks.Diffusion;

/// <summary>
/// Pseudo linear multistep ("PLMS"; Liu et al. 2022, arXiv:2202.09778, equations 11 and 12): Adams–Bashforth over the model's last four
/// answers. The start repeats the second timestep instead of Runge–Kutta steps (upstream's <c>skip_prk_steps</c>, which Stable Diffusion sets).
/// </summary>
internal sealed class PndmSampler : Sampler
{
    private const int Remembered = 4;

    private readonly int _stride;
    private readonly TensorHistory _outputs = new(Remembered);
    private readonly TensorHistory _firstSample = new(1);

    public static SamplerDeclaration Declaration => new(nameof(SamplerKind.Pndm), static (config, steps, _) => new PndmSampler(config, steps))
    {
        Title = "PLMS",
        OtherNames = ["PNDM"],
        SchedulerClass = "PNDMScheduler",
        HasLevels = false,
    };

    public PndmSampler(SchedulerConfig config, int steps)
        : base(config)
    {
        var once = WholeTimesteps(steps);
        Timesteps = steps == 1 ? once : [once[0], once[1], .. once[1..]];
        _stride = config.NumTrainTimesteps / steps;
    }

    public override void Dispose()
    {
        _outputs.Dispose();
        _firstSample.Dispose();
        base.Dispose();
    }

    protected override Term Next(Term modelOutput, int step, Term sample, Func<Term> noise)
    {
        var t = (int)Timesteps[step];
        if (step == 1)
        {
            // The second evaluation corrects the first step: from the first sample again, with the mean of both answers.
            return Move((modelOutput + _outputs[0]) / 2, _firstSample[0], t + _stride, t);
        }

        if (step == 0)
        {
            _firstSample.Add(sample);
        }

        _outputs.Add(modelOutput);
        var e = _outputs;
        var combined = e.Count switch
        {
            1 => e[0],
            2 => (3 * e[0] - e[1]) / 2,
            3 => (23 * e[0] - 16 * e[1] + 5 * e[2]) / 12,
            _ => (55 * e[0] - 59 * e[1] + 37 * e[2] - 9 * e[3]) / 24,
        };
        return Move(combined, sample, t, t - _stride);
    }

    /// <summary>Equation 11: DDIM's step written so that x₀ never appears.</summary>
    private Term Move(Term output, Term sample, int from, int to)
    {
        double a = Math.Max(Schedule.AlphasCumprod[from], SigmaLevels.SmallestSignal);
        double b = to >= 0 ? Schedule.AlphasCumprod[to] : Config.SetAlphaToOne ? 1 : Schedule.AlphasCumprod[0];
        var noise = Noise(output, sample, Math.Sqrt(a), Math.Sqrt(1 - a));
        var denominator = a * Math.Sqrt(1 - b) + Math.Sqrt(a * (1 - a) * b);
        return Math.Sqrt(b / a) * sample - (b - a) / denominator * noise;
    }
}
