using System.Text.Json.Nodes;

namespace LoraNotebooks.Diffusion;

/// <summary>
/// A noise schedule and the sampler's settings, as diffusers' <c>scheduler_config.json</c> holds them. Keys that mean nothing
/// here are kept and written back.
/// </summary>
/// <remarks>The defaults are those of upstream's <c>DDIMScheduler</c>; see <see cref="StableDiffusion"/> for the usual values.</remarks>
public sealed partial record SchedulerConfig
{
    /// <summary>More timesteps than any model has; a damaged number must not fill the memory with their β.</summary>
    private const int MostTimesteps = 100_000;

    /// <summary>Stable Diffusion's schedule: √β linear from 0.00085 to 0.012, DDIM with offset 1 that ends at the first ᾱ.</summary>
    public static SchedulerConfig StableDiffusion { get; } = new()
    {
        BetaStart = 0.00085,
        BetaEnd = 0.012,
        BetaSchedule = BetaSchedule.ScaledLinear,
        ClipSample = false,
        SetAlphaToOne = false,
        StepsOffset = 1,
    };

    /// <summary>Upstream's class name (<c>_class_name</c>), which chooses the sampler. Default DDIMScheduler.</summary>
    public string ClassName { get; init; } = "DDIMScheduler";

    /// <summary>T, the number of timesteps the model was trained with. Default 1000.</summary>
    public int NumTrainTimesteps { get; init; } = 1000;

    /// <summary>β at the first timestep. Default 0.0001.</summary>
    public double BetaStart { get; init; } = 0.0001;

    /// <summary>β at the last timestep. Default 0.02.</summary>
    public double BetaEnd { get; init; } = 0.02;

    /// <summary>How β grows between its ends. Default linear.</summary>
    public BetaSchedule BetaSchedule { get; init; } = BetaSchedule.Linear;

    /// <summary>All T values of β, instead of a formula. Default none.</summary>
    public IReadOnlyList<double>? TrainedBetas { get; init; }

    /// <summary>What the model predicts. Default the noise.</summary>
    public PredictionType PredictionType { get; init; } = PredictionType.Epsilon;

    /// <summary>
    /// Whether β is rescaled so that the last timestep holds no signal (see <see cref="NoiseSchedule"/>). Default off; needs a prediction other than
    /// <see cref="PredictionType.Epsilon"/> and trailing spacing.
    /// </summary>
    public bool RescaleBetasZeroSnr { get; init; }

    /// <summary>Which timesteps are visited. Default leading.</summary>
    public TimestepSpacing TimestepSpacing { get; init; } = TimestepSpacing.Leading;

    /// <summary>Added to every timestep under leading spacing. Default 0; Stable Diffusion 1.</summary>
    public int StepsOffset { get; init; }

    /// <summary>DDIM: whether the step after the last goes to ᾱ = 1; otherwise to ᾱ of the first timestep. Default on.</summary>
    public bool SetAlphaToOne { get; init; } = true;

    /// <summary>DDIM, DDPM and Heun: whether the estimate of x₀ is clamped to ±<see cref="ClipSampleRange"/>. Default on; off for latent models.</summary>
    public bool ClipSample { get; init; } = true;

    /// <summary>The clamp's bound. Default 1.</summary>
    public double ClipSampleRange { get; init; } = 1;

    /// <summary>All samplers over noise levels: spaced as in Karras et al. 2022 (arXiv:2206.00364, equation 5, ρ = 7). Default off.</summary>
    public bool UseKarrasSigmas { get; init; }

    /// <summary>All samplers over noise levels: spaced evenly in log σ. Default off; excludes <see cref="UseKarrasSigmas"/>.</summary>
    public bool UseExponentialSigmas { get; init; }

    /// <summary>Euler, DPM++ and UniPC: the noise level at the end. Default 0.</summary>
    public FinalSigma FinalSigma { get; init; } = FinalSigma.Zero;

    /// <summary>DPM++ and UniPC: the order of the multistep method, 1 to 3. Default 2.</summary>
    public int SolverOrder { get; init; } = 2;

    /// <summary>
    /// DPM++: "midpoint" or "heun", the two second-order formulas. UniPC: "bh1" or "bh2", its B(h). Default midpoint, in a file of UniPC bh2;
    /// a sampler for which the value means nothing takes its own default, as upstream's do.
    /// </summary>
    public string SolverType { get; init; } = "midpoint";

    /// <summary>DPM++: "dpmsolver++" (deterministic) or "sde-dpmsolver++". Default dpmsolver++.</summary>
    public string AlgorithmType { get; init; } = "dpmsolver++";

    /// <summary>DPM++: whether runs of fewer than 15 steps end with a first-order step; UniPC: whether every run goes down to it. Default on.</summary>
    public bool LowerOrderFinal { get; init; } = true;

    /// <summary>DPM++: whether every run ends with a first-order step. Default off.</summary>
    public bool EulerAtFinal { get; init; }

    /// <summary>UniPC: the steps, from 0, whose result is not corrected. Default none.</summary>
    public IReadOnlyList<int> DisableCorrector { get; init; } = [];

    /// <summary>Keys of the file that mean nothing here, carried along.</summary>
    public IReadOnlyDictionary<string, JsonNode?> OtherSettings { get; init; } = new Dictionary<string, JsonNode?>();

    /// <summary>Every fault of the settings, each with what was got, what is expected and what to do; empty when there is none.</summary>
    public IReadOnlyList<string> Validate()
    {
        var faults = Keys.Validate(this);
        if (TrainedBetas is not null)
        {
            faults.Require(
                TrainedBetas.Count == NumTrainTimesteps,
                $"trained_betas: got {TrainedBetas.Count} values, expected one for each of the {NumTrainTimesteps} timesteps.");
        }
        else if (BetaSchedule != BetaSchedule.SquaredCosCapV2)
        {
            faults.Require(
                BetaStart > 0 && BetaStart <= BetaEnd && BetaEnd < 1,
                $"beta_start, beta_end: got {BetaStart} and {BetaEnd}, expected 0 < start ≤ end < 1.");
        }

        faults.Require(!UseKarrasSigmas || !UseExponentialSigmas, "use_karras_sigmas, use_exponential_sigmas: got both, expected at most one; turn one off.");
        return faults;
    }

    /// <summary>How the noise levels are spaced.</summary>
    internal SigmaSpacing SigmaSpacing => UseKarrasSigmas ? SigmaSpacing.Karras : UseExponentialSigmas ? SigmaSpacing.Exponential : SigmaSpacing.Timesteps;

    /// <summary>These settings with another spacing of the noise levels.</summary>
    /// <param name="spacing">Which; <see langword="null"/> leaves them as they are.</param>
    internal SchedulerConfig With(SigmaSpacing? spacing) => spacing is null
        ? this
        : this with { UseKarrasSigmas = spacing == SigmaSpacing.Karras, UseExponentialSigmas = spacing == SigmaSpacing.Exponential };

    /// <summary>Throws when the settings have faults.</summary>
    /// <exception cref="ArgumentException">Lists every fault.</exception>
    public void ThrowIfInvalid() => Faults.ThrowIfAny(Validate());
}
