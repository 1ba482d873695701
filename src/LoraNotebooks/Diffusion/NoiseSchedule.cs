using LoraNotebooks.Tensors;
using static TorchSharp.torch;

namespace LoraNotebooks.Diffusion;

/// <summary>
/// The forward diffusion q(x<sub>t</sub> | x₀) = N(√ᾱ<sub>t</sub>·x₀, (1−ᾱ<sub>t</sub>)·I): how much signal and noise each
/// timestep holds (Ho et al. 2020, arXiv:2006.11239, equation 4).
/// </summary>
/// <remarks>Holds numbers, no tensors: it needs no disposal and serves any device. Values are float32 as upstream's.</remarks>
public sealed class NoiseSchedule
{
    private readonly float[] _betas;
    private readonly float[] _alphasCumprod;

    /// <summary>Computes β and ᾱ for every timestep.</summary>
    /// <param name="config">Ends, shape and rescaling of β.</param>
    /// <exception cref="ArgumentException">The configuration has faults; all are listed.</exception>
    public NoiseSchedule(SchedulerConfig config)
    {
        ArgumentNullException.ThrowIfNull(config);
        config.ThrowIfInvalid();
        PredictionType = config.PredictionType;
        _betas = BetasOf(config);
        if (config.RescaleBetasZeroSnr)
        {
            _betas = RescaleZeroTerminalSnr(_betas);
        }

        _alphasCumprod = CumulativeSignal(_betas);
    }

    /// <summary>T, the number of timesteps.</summary>
    public int NumTrainTimesteps => _betas.Length;

    /// <summary>What the model predicts; chooses <see cref="Target"/>.</summary>
    public PredictionType PredictionType { get; }

    /// <summary>β<sub>t</sub>: the variance added at step t.</summary>
    public IReadOnlyList<float> Betas => _betas;

    /// <summary>ᾱ<sub>t</sub> = ∏(1−β<sub>s</sub>), s ≤ t: the part of the variance that is still signal.</summary>
    public IReadOnlyList<float> AlphasCumprod => _alphasCumprod;

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
    /// <returns>
    /// [N], float32, on the device of <paramref name="timesteps"/>; rounded as upstream rounds it, as the square of √ᾱ<sub>t</sub>/√(1−ᾱ<sub>t</sub>).
    /// </returns>
    public Tensor Snr(Tensor timesteps)
    {
        float[] roots = [.. Indices(timesteps).Select(t => MathF.Sqrt(_alphasCumprod[t]) / MathF.Sqrt(1 - _alphasCumprod[t]))];
        return tensor(roots.Select(root => root * root).ToArray(), device: timesteps.device);
    }

    /// <summary>The signal-to-noise ratio ᾱ<sub>t</sub>/(1−ᾱ<sub>t</sub>) of one timestep.</summary>
    /// <param name="timestep">From 0 to T−1.</param>
    public double Snr(int timestep) => _alphasCumprod[timestep] / (1d - _alphasCumprod[timestep]);

    private Tensor Mix(Tensor original, Tensor noise, Tensor timesteps, Func<float, float, (float Original, float Noise)> weights)
    {
        if (!original.shape.SequenceEqual(noise.shape) || timesteps.dim() != 1 || timesteps.size(0) != original.size(0))
        {
            throw new ArgumentException(
                $"Got samples {Shapes.Text(original.shape)}, noise {Shapes.Text(noise.shape)} and timesteps {Shapes.Text(timesteps.shape)}; "
                + "expected samples and noise of one shape [N, …] and timesteps [N].");
        }

        using var scope = NewDisposeScope();
        var pairs = Indices(timesteps).Select(t => weights(MathF.Sqrt(_alphasCumprod[t]), MathF.Sqrt(1 - _alphasCumprod[t]))).ToArray();
        long[] perSample = [original.size(0), .. Enumerable.Repeat(1L, (int)original.dim() - 1)];
        var a = tensor(pairs.Select(pair => pair.Original).ToArray(), device: original.device).reshape(perSample);
        var b = tensor(pairs.Select(pair => pair.Noise).ToArray(), device: original.device).reshape(perSample);
        return (a * original).Plus(b * noise).to(original.dtype).MoveToOuterDisposeScope();
    }

    private int[] Indices(Tensor timesteps)
    {
        using var scope = NewDisposeScope();
        int[] indices = [.. timesteps.to(ScalarType.Int64).cpu().data<long>().Select(t => t >= 0 && t < _betas.Length
            ? (int)t
            : throw new ArgumentException($"Got timestep {t}, expected 0 to {_betas.Length - 1}: the schedule has {_betas.Length} timesteps."))];
        return indices;
    }

    private static float[] BetasOf(SchedulerConfig config)
    {
        var T = config.NumTrainTimesteps;
        if (config.TrainedBetas is { } trained)
        {
            return [.. trained.Select(beta => (float)beta)];
        }

        return config.BetaSchedule switch
        {
            BetaSchedule.Linear => Linspace(config.BetaStart, config.BetaEnd, T),
            BetaSchedule.ScaledLinear => [.. Linspace(Math.Sqrt(config.BetaStart), Math.Sqrt(config.BetaEnd), T).Select(root => root * root)],
            _ => [.. Enumerable.Range(0, T).Select(t => (float)Math.Min(1 - CosineSignal((t + 1d) / T) / CosineSignal((double)t / T), 0.999))],
        };
    }

    /// <summary>ᾱ of the cosine schedule at t/T, up to a constant: cos²((t/T + 0.008) / 1.008 · π/2).</summary>
    private static double CosineSignal(double time) => Math.Pow(Math.Cos((time + 0.008) / 1.008 * Math.PI / 2), 2);

    /// <summary>
    /// n float32 values from first to last, rounded as PyTorch's <c>linspace</c> rounds them: each half from its own end, with one rounding each.
    /// Rescaling to zero terminal SNR magnifies a last digit thirtyfold, so it matters.
    /// </summary>
    private static float[] Linspace(double first, double last, int n)
    {
        var (start, end) = ((float)first, (float)last);
        var step = n == 1 ? 0 : (end - start) / (n - 1);
        return [.. Enumerable.Range(0, n).Select(i => i < n / 2 || n == 1
            ? MathF.FusedMultiplyAdd(step, i, start)
            : MathF.FusedMultiplyAdd(-step, n - 1 - i, end))];
    }

    /// <summary>ᾱ from β: the running product of 1−β, kept in float64 and rounded at each entry.</summary>
    private static float[] CumulativeSignal(float[] betas)
    {
        var product = 1d;
        return [.. betas.Select(beta => (float)(product *= 1 - beta))];
    }

    /// <summary>
    /// Shifts and scales √ᾱ so that the last timestep holds no signal and the first stays as it was (Lin et al. 2024,
    /// arXiv:2305.08891, algorithm 1).
    /// </summary>
    private static float[] RescaleZeroTerminalSnr(float[] betas)
    {
        float[] signal = [.. CumulativeSignal(betas).Select(MathF.Sqrt)];
        var (first, last) = (signal[0], signal[^1]);
        float[] rescaled = [.. signal.Select(root => (root - last) * (first / (first - last))).Select(root => root * root)];
        return [.. rescaled.Select((current, t) => t == 0 ? 1 - current : 1 - current / rescaled[t - 1])];
    }
}
