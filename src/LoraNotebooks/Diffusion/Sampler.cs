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
}

/// <summary>
/// Walks from noise to a clean sample in n steps. A sampler serves one run: make a new one for the next, and give the steps in order.
/// </summary>
public abstract class Sampler : IDisposable
{
    private static readonly Dictionary<SamplerKind, string> ClassNames = new()
    {
        [SamplerKind.Ddim] = "DDIMScheduler",
        [SamplerKind.Ddpm] = "DDPMScheduler",
        [SamplerKind.Euler] = "EulerDiscreteScheduler",
        [SamplerKind.EulerAncestral] = "EulerAncestralDiscreteScheduler",
        [SamplerKind.DpmPlusPlus2M] = "DPMSolverMultistepScheduler",
        [SamplerKind.Pndm] = "PNDMScheduler",
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
    /// <param name="kind">Which; default the one that the configuration's class names.</param>
    /// <param name="eta">η of DDIM: 0 (default) is deterministic, 1 is as noisy as DDPM.</param>
    /// <exception cref="ArgumentException">The settings have faults, or the configuration names a class that there is no sampler for.</exception>
    public static Sampler Create(SchedulerConfig config, int steps, SamplerKind? kind = null, double eta = 0)
    {
        ArgumentNullException.ThrowIfNull(config);
        return (kind ?? KindOf(config)) switch
        {
            SamplerKind.Ddim => new DdimSampler(config, steps, eta),
            SamplerKind.Ddpm => new DdpmSampler(config, steps),
            SamplerKind.Euler => new EulerSampler(config, steps, ancestral: false),
            SamplerKind.EulerAncestral => new EulerSampler(config, steps, ancestral: true),
            SamplerKind.DpmPlusPlus2M => new DpmPlusPlus2MSampler(config, steps),
            _ => new PndmSampler(config, steps),
        };
    }

    /// <summary>The sampler that a configuration's class names.</summary>
    /// <param name="config">The configuration.</param>
    /// <exception cref="ArgumentException">There is none.</exception>
    public static SamplerKind KindOf(SchedulerConfig config)
    {
        ArgumentNullException.ThrowIfNull(config);
        foreach (var (kind, name) in ClassNames)
        {
            if (name == config.ClassName)
            {
                return kind;
            }
        }

        throw new ArgumentException($"The scheduler is a {config.ClassName}, for which there is no sampler; there are {string.Join(", ", ClassNames.Values)}. Name a sampler for the run, for example {nameof(SamplerKind.DpmPlusPlus2M)}: any of them can follow the model's noise schedule.");
    }

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
        return Next(modelOutput, step, sample, noise ?? (() => zeros_like(sample))).MoveToOuterDisposeScope();
    }

    /// <summary>Frees what a sampler remembers of earlier steps.</summary>
    public virtual void Dispose() => GC.SuppressFinalize(this);

    private protected abstract Tensor Next(Tensor modelOutput, int step, Tensor sample, Func<Tensor> noise);

    /// <summary>x₀ from the model's answer, where x = signal·x₀ + sigma·ε.</summary>
    private protected Tensor Original(Tensor modelOutput, Tensor x, double signal, double sigma) => Config.PredictionType switch
    {
        PredictionType.Epsilon when signal == 0 => throw new InvalidOperationException(
            "The noise schedule has zero terminal SNR and the model predicts noise: at the last timestep, which is noise alone, that says nothing. Set prediction_type to v_prediction or sample if the model was trained so, or turn rescale_betas_zero_snr off."),
        PredictionType.Epsilon => (x - sigma * modelOutput) / signal,
        PredictionType.VPrediction => signal * x - sigma * modelOutput,
        _ => modelOutput,
    };

    /// <summary>ε from the model's answer, where x = signal·x₀ + sigma·ε.</summary>
    private protected Tensor Noise(Tensor modelOutput, Tensor x, double signal, double sigma) => Config.PredictionType switch
    {
        PredictionType.Epsilon => modelOutput,
        PredictionType.VPrediction => signal * modelOutput + sigma * x,
        _ => (x - signal * modelOutput) / sigma,
    };

    /// <summary>The estimate of x₀, clamped if the configuration asks for it.</summary>
    private protected Tensor Clip(Tensor original) => Config.ClipSample ? original.clamp(-Config.ClipSampleRange, Config.ClipSampleRange) : original;
}
