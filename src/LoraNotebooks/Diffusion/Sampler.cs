using LoraNotebooks.Tensors;
using static TorchSharp.torch;

namespace LoraNotebooks.Diffusion;

/// <summary>
/// Walks from noise to a clean sample in n steps. A sampler serves one run: make a new one for the next, and give the steps in order.
/// </summary>
/// <remarks>
/// One of your own derives from this class, or from <see cref="SigmaSampler"/> or <see cref="LogSnrSampler"/> if it walks along noise levels, sets
/// <see cref="Timesteps"/>, writes its formula in <see cref="Next"/>, and is made known by <see cref="SamplerKind.Register"/>.
/// </remarks>
/// <example><code>
/// using LoraNotebooks.Tensors; // Term
///
/// public sealed class LcmSampler(SchedulerConfig config, int steps) : SigmaSampler(config, steps)
/// {
///     public override bool AddsNoise => true;
///
///     protected override Term Next(Term modelOutput, int step, Term sample, Func&lt;Term&gt; noise) =>
///         OriginalAt(step, modelOutput, sample) + Sigmas[step + 1] * noise();
/// }
///
/// var lcm = SamplerKind.Register(new("Lcm", (config, steps, _) => new LcmSampler(config, steps)) { Title = "LCM" });
/// var images = pipeline.Generate(new() { Prompt = "portrait", Sampler = lcm });
/// </code></example>
public abstract class Sampler : IDisposable
{
    /// <summary>Computes the noise schedule.</summary>
    /// <param name="config">Schedule and settings.</param>
    /// <exception cref="ArgumentException">The settings have faults; all are listed.</exception>
    protected Sampler(SchedulerConfig config)
    {
        Schedule = new NoiseSchedule(config);
        Config = config;
    }

    /// <summary>The timestep that the model is given at each step, noisiest first.</summary>
    public IReadOnlyList<double> Timesteps { get; protected init; } = [];

    /// <summary>The noise level at each step and after the last; empty for samplers that work with ᾱ.</summary>
    public virtual IReadOnlyList<double> Sigmas => [];

    /// <summary>The standard deviation of the initial noise.</summary>
    public virtual double InitialNoiseSigma => 1;

    /// <summary>Whether a step asks for fresh noise.</summary>
    public virtual bool AddsNoise => false;

    /// <summary>Schedule and settings.</summary>
    protected SchedulerConfig Config { get; }

    /// <summary>β and ᾱ of every training timestep.</summary>
    protected NoiseSchedule Schedule { get; }

    /// <summary>Makes a sampler.</summary>
    /// <param name="config">Schedule and settings.</param>
    /// <param name="steps">n, 1 to the number of training timesteps.</param>
    /// <param name="kind">Which; default the one that the configuration's class names, with all of the configuration's settings.</param>
    /// <param name="eta">
    /// η of DDIM: 0 (default) is deterministic, 1 is as noisy as DDPM. Samplers that do not use it (<see cref="SamplerDeclaration.UsesEta"/>) are given 0.
    /// </param>
    /// <exception cref="ArgumentException">The settings have faults, or the configuration names a class or a setting that there is no sampler for.</exception>
    /// <exception cref="InvalidOperationException">The kind was unregistered.</exception>
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
            config = kind.Declaration.Settings(config);
        }

        var declaration = kind.Declaration;
        return declaration.Create(config, steps, declaration.UsesEta ? eta : 0);
    }

    /// <summary>The sampler that a configuration's class names.</summary>
    /// <param name="config">The configuration.</param>
    /// <exception cref="ArgumentException">There is none.</exception>
    public static SamplerKind KindOf(SchedulerConfig config)
    {
        ArgumentNullException.ThrowIfNull(config);
        if (SamplerKind.All.FirstOrDefault(kind => kind.Declaration.SchedulerClass == config.ClassName && kind.Declaration.IsMeantBy(config)) is { } meant)
        {
            return meant;
        }

        var classes = SamplerKind.All.Select(static kind => kind.Declaration.SchedulerClass).OfType<string>().Distinct();
        throw new ArgumentException($"The scheduler is a {config.ClassName}, for which there is no sampler; there are {string.Join(", ", classes)}. "
            + $"Name a sampler for the run, for example {nameof(SamplerKind.DpmPlusPlus2M)}: any of them can follow the model's noise schedule.");
    }

    /// <summary>The sampler that, named for a run, gives the numbers of the configuration's own; <see langword="null"/> where none does.</summary>
    internal static SamplerKind? NameFor(SchedulerConfig config)
    {
        var kind = KindOf(config);
        return kind.Declaration.Settings(config) == config ? kind : null;
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
        return Next(modelOutput, step, sample, () => noise!()).Tensor.MoveToOuterDisposeScope();
    }

    /// <summary>Frees what a sampler remembers of earlier steps. One that remembers tensors overrides this, frees them and calls the base.</summary>
    public virtual void Dispose() => GC.SuppressFinalize(this);

    /// <summary>The formula: one step towards the clean sample. What it makes on the way is freed after the step, and no gradient is recorded.</summary>
    /// <param name="modelOutput">
    /// The model's answer at <see cref="Timesteps"/>[<paramref name="step"/>], ε, v or x₀ as <see cref="SchedulerConfig.PredictionType"/> says, [N, …].
    /// </param>
    /// <param name="step">The step's number, from 0.</param>
    /// <param name="sample">The current sample before <see cref="ScaleModelInput"/>, [N, …].</param>
    /// <param name="noise">Draws standard normal noise of the sample's shape; to be asked at most once, and only if <see cref="AddsNoise"/>.</param>
    /// <returns>The next sample, [N, …]; another tensor than those given (a <c>clone</c> where it is the same).</returns>
    protected abstract Term Next(Term modelOutput, int step, Term sample, Func<Term> noise);

    /// <summary>The n whole timesteps that the configuration's spacing visits, noisiest first.</summary>
    /// <param name="steps">n, 1 to the number of training timesteps.</param>
    /// <exception cref="ArgumentException">The schedule does not have so many.</exception>
    protected double[] WholeTimesteps(int steps) => TimestepSequence.Whole(Config, steps);

    /// <summary>x₀ from the model's answer, where x = signal·x₀ + sigma·ε.</summary>
    /// <param name="modelOutput">The model's answer to x.</param>
    /// <param name="x">What the model was given.</param>
    /// <param name="signal">The factor on x₀, √ᾱ.</param>
    /// <param name="sigma">The factor on ε, √(1−ᾱ).</param>
    /// <exception cref="InvalidOperationException">x is noise alone and the model predicts noise, which says nothing of x₀.</exception>
    protected Term Original(Term modelOutput, Term x, double signal, double sigma) => Config.PredictionType switch
    {
        PredictionType.Epsilon when signal == 0 => throw new InvalidOperationException(
            "The noise schedule has zero terminal SNR and the model predicts noise: at the last timestep, which is noise alone, that says nothing. "
            + "Set prediction_type to v_prediction or sample if the model was trained so, or turn rescale_betas_zero_snr off."),
        PredictionType.Epsilon => (x - sigma * modelOutput) / signal,
        PredictionType.VPrediction => signal * x - sigma * modelOutput,
        _ => modelOutput,
    };

    /// <summary>ε from the model's answer, where x = signal·x₀ + sigma·ε.</summary>
    /// <inheritdoc cref="Original"/>
    protected Term Noise(Term modelOutput, Term x, double signal, double sigma) => Config.PredictionType switch
    {
        PredictionType.Epsilon => modelOutput,
        PredictionType.VPrediction => signal * modelOutput + sigma * x,
        _ => (x - signal * modelOutput) / sigma,
    };

    /// <summary>
    /// The estimate of x₀, clamped to ±<see cref="SchedulerConfig.ClipSampleRange"/> if the configuration asks for it
    /// (<see cref="SchedulerConfig.ClipSample"/>).
    /// </summary>
    /// <param name="original">The estimate.</param>
    protected Term Clip(Term original) => Config.ClipSample ? original.Tensor.Within(-Config.ClipSampleRange, Config.ClipSampleRange) : original;
}
