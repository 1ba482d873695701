using LoraNotebooks.Tensors;

namespace LoraNotebooks.Diffusion;

/// <summary>
/// DPM-Solver++, multistep, of order 1 to 3 (Lu et al. 2022, arXiv:2211.01095, algorithm 2), and its SDE variant (the same paper's
/// appendix), in diffusers' formulation. WebUI's "DPM++ 2M", "DPM++ 2M SDE" and "DPM++ 3M SDE".
/// </summary>
internal sealed class DpmPlusPlusSampler(SchedulerConfig config, int steps)
    : LogSnrSampler(config, steps, roundsKarras: config.BetaSchedule != BetaSchedule.SquaredCosCapV2, memory: config.SolverOrder)
{
    private const string Ode = "dpmsolver++";
    private const string Sde = "sde-dpmsolver++";
    private const int FewSteps = 15;

    private readonly bool _stochastic = config.AlgorithmType == Sde;

    public static SamplerDeclaration Second => Declare(nameof(SamplerKind.DpmPlusPlus2M), "DPM++ 2M") with
    {
        OtherNames = ["dpmsolver++"],
        Settings = static config => config with { AlgorithmType = Ode, SolverOrder = 2 },
        IsMeantBy = static config => config.AlgorithmType != Sde,
    };

    public static SamplerDeclaration SecondSde => Declare(nameof(SamplerKind.DpmPlusPlus2MSde), "DPM++ 2M SDE") with
    {
        Settings = static config => config with { AlgorithmType = Sde, SolverOrder = 2 },
        IsMeantBy = static config => config.AlgorithmType == Sde && config.SolverOrder != 3,
    };

    public static SamplerDeclaration ThirdSde => Declare(nameof(SamplerKind.DpmPlusPlus3MSde), "DPM++ 3M SDE") with
    {
        Settings = static config => config with { AlgorithmType = Sde, SolverOrder = 3 },
        IsMeantBy = static config => config.AlgorithmType == Sde && config.SolverOrder == 3,
    };

    public override bool AddsNoise => _stochastic;

    protected override Term Next(Term modelOutput, int step, Term sample, Func<Term> noise)
    {
        Originals.Add(OriginalAt(step, modelOutput, sample));
        var (_, sigma, lambda) = Level(step);
        var (nextSignal, nextSigma, nextLambda) = Level(step + 1);
        var h = nextLambda - lambda;
        if (h == 0)
        {
            return sample.Tensor.clone(); // the levels end where the step before has led to
        }

        // x_{t'} = σ'/σ·x + α'·(1 − e^{−h})·x₀ solves the linear part; the SDE lets x decay by e^{−h} more and adds as much noise.
        var exponent = _stochastic ? 2 * h : h;
        var gain = 1 - Math.Exp(-exponent);
        var next = nextSigma / sigma * (_stochastic ? Math.Exp(-h) : 1) * sample + nextSignal * gain * Originals[0];

        var order = Order(step);
        if (order >= 2)
        {
            // D₁ = (x₀ − x₀ of the step before)/r₀ with r₀ = h₀/h: how much x₀ would change over this step
            var r0 = (lambda - Level(step - 1).Lambda) / h;
            var d1 = (Originals[0] - Originals[1]) / r0;
            var linear = 1 - gain / exponent; // ∫ of e^{−(h−u)}·u/h
            if (order == 2)
            {
                next += nextSignal * (Config.SolverType == "heun" ? linear : gain / 2) * d1;
            }
            else
            {
                var r1 = (Level(step - 1).Lambda - Level(step - 2).Lambda) / h;
                var d2 = (d1 - (Originals[1] - Originals[2]) / r1) / (r0 + r1);
                next += nextSignal * (linear * (d1 + r0 * d2) - (linear / exponent - 0.5) * d2);
            }
        }

        return _stochastic ? next + nextSigma * Math.Sqrt(gain) * noise() : next;
    }

    private static SamplerDeclaration Declare(string name, string title) => new(name, static (config, steps, _) => new DpmPlusPlusSampler(config, steps))
    {
        Title = title,
        SchedulerClass = "DPMSolverMultistepScheduler",
    };

    /// <summary>As many orders as there are estimates; σ = 0 has no finite λ, and few steps are more stable with a low-order end.</summary>
    private int Order(int step)
    {
        var isFew = Config.LowerOrderFinal && Timesteps.Count < FewSteps;
        var remaining = Timesteps.Count - step;
        var most = remaining == 1 && (isFew || Config.EulerAtFinal || Config.FinalSigma == FinalSigma.Zero) ? 1
            : remaining == 2 && isFew ? 2
            : Config.SolverOrder;
        return Math.Min(most, Originals.Count);
    }
}
