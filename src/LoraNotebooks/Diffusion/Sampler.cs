using LoraNotebooks.Tensors;
using static TorchSharp.torch;

namespace LoraNotebooks.Diffusion;

/// <summary>The samplers: ways from noise to a sample.</summary>
public enum SamplerKind
{
    /// <summary>Denoising diffusion implicit models: deterministic, few steps (Song et al. 2021, arXiv:2010.02502).</summary>
    Ddim,

    /// <summary>Ancestral sampling of the training chain: noise at every step, many steps (Ho et al. 2020, arXiv:2006.11239).</summary>
    Ddpm,

    /// <summary>Euler's method on the probability-flow ODE (Karras et al. 2022, arXiv:2206.00364).</summary>
    Euler,

    /// <summary>Euler steps that go below the next level and come back with fresh noise ("Euler a").</summary>
    EulerAncestral,

    /// <summary>Second-order multistep DPM-Solver++ ("DPM++ 2M"; Lu et al. 2022, arXiv:2211.01095).</summary>
    DpmPlusPlus2M,

    /// <summary>Linear multistep on DDIM's formula ("PLMS"; Liu et al. 2022, arXiv:2202.09778), Stable Diffusion 1.x's own.</summary>
    Pndm,

    /// <summary>Heun's second-order method, which asks the model twice a step (Karras et al. 2022, arXiv:2206.00364, algorithm 1).</summary>
    Heun,

    /// <summary>Fourth-order linear multistep over noise levels ("LMS", k-diffusion).</summary>
    Lms,

    /// <summary>DPM-Solver++ 2M on the SDE: fresh noise at every step ("DPM++ 2M SDE").</summary>
    DpmPlusPlus2MSde,

    /// <summary>Third-order DPM-Solver++ on the SDE ("DPM++ 3M SDE").</summary>
    DpmPlusPlus3MSde,

    /// <summary>Predictor and corrector in one evaluation ("UniPC"; Zhao et al. 2023, arXiv:2302.04867).</summary>
    UniPc,

    /// <summary>Second-order single steps on the SDE, the model asked twice a step ("DPM++ SDE", k-diffusion).</summary>
    DpmPlusPlusSde,

    /// <summary>Second-order single steps with fresh noise after each, the model asked twice a step ("DPM++ 2S a", k-diffusion).</summary>
    DpmPlusPlus2SAncestral,

    /// <summary>DPM-Solver-2, the model asked twice a step ("DPM2", k-diffusion).</summary>
    Dpm2,

    /// <summary>DPM-Solver-2 with fresh noise after each step ("DPM2 a", k-diffusion).</summary>
    Dpm2Ancestral,
}

/// <summary>
/// Walks from noise to a clean sample in n steps. A sampler serves one run: make a new one for the next, and give the steps in order.
/// </summary>
public abstract class Sampler : IDisposable
{
    private static readonly Dictionary<string, SamplerKind> Kinds = new()
    {
        ["DDIMScheduler"] = SamplerKind.Ddim,
        ["DDPMScheduler"] = SamplerKind.Ddpm,
        ["EulerDiscreteScheduler"] = SamplerKind.Euler,
        ["EulerAncestralDiscreteScheduler"] = SamplerKind.EulerAncestral,
        ["DPMSolverMultistepScheduler"] = SamplerKind.DpmPlusPlus2M,
        ["PNDMScheduler"] = SamplerKind.Pndm,
        ["HeunDiscreteScheduler"] = SamplerKind.Heun,
        ["LMSDiscreteScheduler"] = SamplerKind.Lms,
        ["UniPCMultistepScheduler"] = SamplerKind.UniPc,
    };

    /// <summary>Shares what all samplers need.</summary>
    private protected Sampler(SchedulerConfig config)
    {
        Schedule = new NoiseSchedule(config);
        Config = config;
    }

    /// <summary>The timestep that the model is given at each step, noisiest first.</summary>
    public IReadOnlyList<double> Timesteps { get; private protected init; } = [];

    /// <summary>The noise level at each step and after the last; empty for samplers that work with ᾱ.</summary>
    public virtual IReadOnlyList<double> Sigmas => [];

    /// <summary>The standard deviation of the initial noise.</summary>
    public virtual double InitialNoiseSigma => 1;

    /// <summary>Whether a step asks for fresh noise.</summary>
    public virtual bool AddsNoise => false;

    private protected SchedulerConfig Config { get; }

    private protected NoiseSchedule Schedule { get; }

    /// <summary>Makes a sampler.</summary>
    /// <param name="config">Schedule and settings.</param>
    /// <param name="steps">n, 1 to the number of training timesteps.</param>
    /// <param name="kind">Which; default the one that the configuration's class names, with all of the configuration's settings.</param>
    /// <param name="eta">η of DDIM: 0 (default) is deterministic, 1 is as noisy as DDPM.</param>
    /// <exception cref="ArgumentException">The settings have faults, or the configuration names a class or a setting that there is no sampler for.</exception>
    public static Sampler Create(SchedulerConfig config, int steps, SamplerKind? kind = null, double eta = 0)
    {
        ArgumentNullException.ThrowIfNull(config);
        if (kind is null)
        {
            kind = KindOf(config);
            Faults.ThrowIfAny(config.UnsupportedSettings());
        }
        else
        {
            config = Named(config, kind.Value);
        }

        return kind switch
        {
            SamplerKind.Ddim => new DdimSampler(config, steps, eta),
            SamplerKind.Ddpm => new DdpmSampler(config, steps),
            SamplerKind.Euler => new EulerSampler(config, steps, ancestral: false),
            SamplerKind.EulerAncestral => new EulerSampler(config, steps, ancestral: true),
            SamplerKind.Heun => new HeunSampler(config, steps),
            SamplerKind.Lms => new LmsSampler(config, steps),
            SamplerKind.UniPc => new UniPcSampler(config, steps),
            SamplerKind.Pndm => new PndmSampler(config, steps),
            SamplerKind.DpmPlusPlusSde or SamplerKind.DpmPlusPlus2SAncestral or SamplerKind.Dpm2 or SamplerKind.Dpm2Ancestral =>
                new MidpointSampler(config, steps, kind.Value),
            _ => new DpmPlusPlusSampler(config, steps),
        };
    }

    /// <summary>The sampler that a configuration's class names.</summary>
    /// <param name="config">The configuration.</param>
    /// <exception cref="ArgumentException">There is none.</exception>
    public static SamplerKind KindOf(SchedulerConfig config)
    {
        ArgumentNullException.ThrowIfNull(config);
        if (!Kinds.TryGetValue(config.ClassName, out var kind))
        {
            throw new ArgumentException(
                $"The scheduler is a {config.ClassName}, for which there is no sampler; there are {string.Join(", ", Kinds.Keys)}. "
                + $"Name a sampler for the run, for example {nameof(SamplerKind.DpmPlusPlus2M)}: any of them can follow the model's noise schedule.");
        }

        return (kind, config.AlgorithmType, config.SolverOrder) switch
        {
            (SamplerKind.DpmPlusPlus2M, "sde-dpmsolver++", 3) => SamplerKind.DpmPlusPlus3MSde,
            (SamplerKind.DpmPlusPlus2M, "sde-dpmsolver++", _) => SamplerKind.DpmPlusPlus2MSde,
            _ => kind,
        };
    }

    /// <summary>The sampler that, named for a run, gives the numbers of the configuration's own; <see langword="null"/> where none does.</summary>
    internal static SamplerKind? NameFor(SchedulerConfig config)
    {
        var kind = KindOf(config);
        var named = Named(config, kind);
        return (named.AlgorithmType, named.SolverOrder) == (config.AlgorithmType, config.SolverOrder) ? kind : null;
    }

    /// <summary>The settings that a named sampler stands for, whatever class the model came with.</summary>
    private static SchedulerConfig Named(SchedulerConfig config, SamplerKind kind) => kind switch
    {
        SamplerKind.DpmPlusPlus2M => config with { AlgorithmType = "dpmsolver++", SolverOrder = 2 },
        SamplerKind.DpmPlusPlus2MSde => config with { AlgorithmType = "sde-dpmsolver++", SolverOrder = 2 },
        SamplerKind.DpmPlusPlus3MSde => config with { AlgorithmType = "sde-dpmsolver++", SolverOrder = 3 },
        _ => config,
    };

    /// <summary>The sample as the model wants to see it, which for σ-samplers has its variance brought back to one.</summary>
    /// <param name="sample">The current sample, [N, …].</param>
    /// <param name="step">The step's number, from 0.</param>
    /// <returns>A tensor of its own.</returns>
    public virtual Tensor ScaleModelInput(Tensor sample, int step) => sample.clone();

    /// <summary>One step towards the clean sample.</summary>
    /// <param name="modelOutput">The model's prediction at <see cref="Timesteps"/>[<paramref name="step"/>], [N, …].</param>
    /// <param name="step">The step's number, from 0; steps come in order.</param>
    /// <param name="sample">The current sample, as the last step returned it.</param>
    /// <param name="noise">Draws standard normal noise of the sample's shape; asked at most once, and only if <see cref="AddsNoise"/>.</param>
    /// <returns>The next sample, a tensor of its own.</returns>
    /// <exception cref="ArgumentException">The sampler adds noise and none is given.</exception>
    public Tensor Step(Tensor modelOutput, int step, Tensor sample, Func<Tensor>? noise = null)
    {
        if (AddsNoise && noise is null)
        {
            throw new ArgumentException($"{GetType().Name} adds noise at its steps; pass a function that draws it from the run's generator.", nameof(noise));
        }

        ArgumentOutOfRangeException.ThrowIfNegative(step);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(step, Timesteps.Count);
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        return Next(modelOutput, step, sample, () => noise!()).Tensor.MoveToOuterDisposeScope();
    }

    /// <summary>Frees what a sampler remembers of earlier steps.</summary>
    public virtual void Dispose() => GC.SuppressFinalize(this);

    private protected abstract Term Next(Term modelOutput, int step, Term sample, Func<Term> noise);

    /// <summary>x₀ from the model's answer, where x = signal·x₀ + sigma·ε.</summary>
    private protected Term Original(Term modelOutput, Term x, double signal, double sigma) => Config.PredictionType switch
    {
        PredictionType.Epsilon when signal == 0 => throw new InvalidOperationException(
            "The noise schedule has zero terminal SNR and the model predicts noise: at the last timestep, which is noise alone, that says nothing. "
            + "Set prediction_type to v_prediction or sample if the model was trained so, or turn rescale_betas_zero_snr off."),
        PredictionType.Epsilon => (x - sigma * modelOutput) / signal,
        PredictionType.VPrediction => signal * x - sigma * modelOutput,
        _ => modelOutput,
    };

    /// <summary>ε from the model's answer, where x = signal·x₀ + sigma·ε.</summary>
    private protected Term Noise(Term modelOutput, Term x, double signal, double sigma) => Config.PredictionType switch
    {
        PredictionType.Epsilon => modelOutput,
        PredictionType.VPrediction => signal * modelOutput + sigma * x,
        _ => (x - signal * modelOutput) / sigma,
    };

    /// <summary>The estimate of x₀, clamped if the configuration asks for it.</summary>
    private protected Term Clip(Term original) => Config.ClipSample ? original.Tensor.Within(-Config.ClipSampleRange, Config.ClipSampleRange) : original;
}
