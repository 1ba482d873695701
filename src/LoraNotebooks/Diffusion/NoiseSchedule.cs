using static TorchSharp.torch;

namespace LoraNotebooks.Diffusion;

/// <summary>
/// The forward diffusion q(x<sub>t</sub> | x₀) = N(√ᾱ<sub>t</sub>·x₀, (1−ᾱ<sub>t</sub>)·I): how much signal and noise each
/// timestep holds (Ho et al. 2020, arXiv:2006.11239, equation 4).
/// </summary>
/// <remarks>Holds numbers, no tensors: it needs no disposal and serves any device. Values are float32 as upstream's.</remarks>
public sealed class NoiseSchedule
{
    private readonly float[] betas;
    private readonly float[] alphasCumprod;

    /// <summary>Computes β and ᾱ for every timestep.</summary>
    /// <param name="config">Ends, shape and rescaling of β.</param>
    /// <exception cref="ArgumentException">The configuration has faults; all are listed.</exception>
    public NoiseSchedule(SchedulerConfig config)
    {
        ArgumentNullException.ThrowIfNull(config);
        config.ThrowIfInvalid();
        PredictionType = config.PredictionType;
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var beta = BetasOf(config);
        if (config.RescaleBetasZeroSnr)
        {
            beta = RescaleZeroTerminalSnr(beta);
        }

        betas = beta.data<float>().ToArray();
        alphasCumprod = (1 - beta).cumprod(0).data<float>().ToArray();
    }

    /// <summary>T, the number of timesteps.</summary>
    public int NumTrainTimesteps => betas.Length;

    /// <summary>What the model predicts; chooses <see cref="Target"/>.</summary>
    public PredictionType PredictionType { get; }

    /// <summary>β<sub>t</sub>: the variance added at step t.</summary>
    public IReadOnlyList<float> Betas => betas;

    /// <summary>ᾱ<sub>t</sub> = ∏(1−β<sub>s</sub>), s ≤ t: the part of the variance that is still signal.</summary>
    public IReadOnlyList<float> AlphasCumprod => alphasCumprod;

    /// <summary>x<sub>t</sub> = √ᾱ<sub>t</sub>·x₀ + √(1−ᾱ<sub>t</sub>)·ε.</summary>
    /// <param name="original">x₀, [N, …].</param>
    /// <param name="noise">ε of the same shape, standard normal.</param>
    /// <param name="timesteps">[N] whole numbers from 0 to T−1.</param>
    /// <returns>x<sub>t</sub> in the shape, dtype and device of <paramref name="original"/>.</returns>
    /// <exception cref="ArgumentException">A shape or a timestep does not fit.</exception>
    public Tensor AddNoise(Tensor original, Tensor noise, Tensor timesteps) => Mix(original, noise, timesteps, (signal, sigma) => (signal, sigma));

    /// <summary>v<sub>t</sub> = √ᾱ<sub>t</sub>·ε − √(1−ᾱ<sub>t</sub>)·x₀ (Salimans and Ho 2022, arXiv:2202.00512).</summary>
    /// <inheritdoc cref="AddNoise"/>
    /// <returns>v<sub>t</sub> in the shape, dtype and device of <paramref name="original"/>.</returns>
    public Tensor Velocity(Tensor original, Tensor noise, Tensor timesteps) => Mix(original, noise, timesteps, (signal, sigma) => (-sigma, signal));

    /// <summary>What the model should answer for x<sub>t</sub>: ε, v<sub>t</sub> or x₀, as <see cref="PredictionType"/> says.</summary>
    /// <inheritdoc cref="AddNoise"/>
    /// <returns>The target, a tensor of its own.</returns>
    public Tensor Target(Tensor original, Tensor noise, Tensor timesteps) => PredictionType switch
    {
        PredictionType.Epsilon => noise.clone(),
        PredictionType.VPrediction => Velocity(original, noise, timesteps),
        _ => original.clone(),
    };

    /// <summary>The signal-to-noise ratio ᾱ<sub>t</sub>/(1−ᾱ<sub>t</sub>) of each timestep.</summary>
    /// <param name="timesteps">[N] whole numbers from 0 to T−1.</param>
    /// <returns>[N], float32, on the device of <paramref name="timesteps"/>.</returns>
    public Tensor Snr(Tensor timesteps) => tensor(Indices(timesteps).Select(t => (float)Snr(t)).ToArray(), device: timesteps.device);

    /// <summary>The signal-to-noise ratio ᾱ<sub>t</sub>/(1−ᾱ<sub>t</sub>) of one timestep.</summary>
    /// <param name="timestep">From 0 to T−1.</param>
    public double Snr(int timestep) => alphasCumprod[timestep] / (1d - alphasCumprod[timestep]);

    private Tensor Mix(Tensor original, Tensor noise, Tensor timesteps, Func<float, float, (float Original, float Noise)> weights)
    {
        if (!original.shape.SequenceEqual(noise.shape) || timesteps.dim() != 1 || timesteps.size(0) != original.size(0))
        {
            throw new ArgumentException($"Got samples [{string.Join(", ", original.shape)}], noise [{string.Join(", ", noise.shape)}] and timesteps [{string.Join(", ", timesteps.shape)}]; expected samples and noise of one shape [N, …] and timesteps [N].");
        }

        using var scope = NewDisposeScope();
        var pairs = Indices(timesteps).Select(t => weights(MathF.Sqrt(alphasCumprod[t]), MathF.Sqrt(1 - alphasCumprod[t]))).ToArray();
        long[] perSample = [original.size(0), .. Enumerable.Repeat(1L, (int)original.dim() - 1)];
        var a = tensor(pairs.Select(pair => pair.Original).ToArray(), device: original.device).reshape(perSample);
        var b = tensor(pairs.Select(pair => pair.Noise).ToArray(), device: original.device).reshape(perSample);
        return (a * original + b * noise).to(original.dtype).MoveToOuterDisposeScope();
    }

    private int[] Indices(Tensor timesteps)
    {
        using var scope = NewDisposeScope();
        int[] indices = [.. timesteps.to(ScalarType.Int64).cpu().data<long>().Select(t => t >= 0 && t < betas.Length
            ? (int)t
            : throw new ArgumentException($"Got timestep {t}, expected 0 to {betas.Length - 1}: the schedule has {betas.Length} timesteps."))];
        return indices;
    }

    private static Tensor BetasOf(SchedulerConfig config)
    {
        var T = config.NumTrainTimesteps;
        if (config.TrainedBetas is { } trained)
        {
            return tensor(trained.Select(beta => (float)beta).ToArray());
        }

        return config.BetaSchedule switch
        {
            BetaSchedule.Linear => linspace(config.BetaStart, config.BetaEnd, T, ScalarType.Float32),
            BetaSchedule.ScaledLinear => linspace(Math.Sqrt(config.BetaStart), Math.Sqrt(config.BetaEnd), T, ScalarType.Float32).square(),
            _ => tensor(Enumerable.Range(0, T).Select(t => (float)Math.Min(1 - CosineSignal((t + 1d) / T) / CosineSignal((double)t / T), 0.999)).ToArray()),
        };
    }

    /// <summary>ᾱ of the cosine schedule at t/T, up to a constant: cos²((t/T + 0.008) / 1.008 · π/2).</summary>
    private static double CosineSignal(double time) => Math.Pow(Math.Cos((time + 0.008) / 1.008 * Math.PI / 2), 2);

    /// <summary>
    /// Shifts and scales √ᾱ so that the last timestep holds no signal and the first stays as it was (Lin et al. 2024,
    /// arXiv:2305.08891, algorithm 1).
    /// </summary>
    private static Tensor RescaleZeroTerminalSnr(Tensor betas)
    {
        var signal = (1 - betas).cumprod(0).sqrt();
        var first = signal[0].clone();
        var last = signal[-1].clone();
        signal = (signal - last) * (first / (first - last));

        var alphasCumprod = signal.square();
        var alphas = cat([alphasCumprod[..1], alphasCumprod[1..] / alphasCumprod[..^1]]);
        return 1 - alphas;
    }
}
