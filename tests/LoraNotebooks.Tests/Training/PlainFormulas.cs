using LoraNotebooks.Diffusion;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Training;

/// <summary>
/// What a run's random numbers hang on: SplitMix64 of the seed, the use's number and an index. Earlier runs are resumed by these, so they may never change.
/// </summary>
internal static class PlainSeed
{
    public const int Weights = 0;
    public const int Latents = 1;
    public const int Order = 2;
    public const int Noise = 3;
    public const int Captions = 4;
    public const int Dropout = 5;
    public const int NoiseOffset = 6;
    public const int MultiresNoise = 7;
    public const int InputPerturbation = 8;

    public static long Of(long seed, int use, long index)
    {
        var state = Next(unchecked((ulong)seed));
        state = Next(state ^ (ulong)use);
        return (long)(Next(state ^ unchecked((ulong)index)) / (1UL << 33));
    }

    public static Generator Generator(long seed, int use, long index) => new((ulong)Of(seed, use, index));

    /// <summary>java.util.SplittableRandom's nextLong from a state.</summary>
    public static ulong Next(ulong state)
    {
        var z = unchecked(state + 0x9E3779B97F4A7C15UL);
        z = unchecked((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9UL);
        z = unchecked((z ^ (z >> 27)) * 0x94D049BB133111EBUL);
        return z ^ (z >> 31);
    }
}

/// <summary>The noise and timesteps of a batch, in float64.</summary>
internal sealed class PlainNoise(DiffusionTrainingConfig config)
{
    /// <summary>ε, what x_t is made with, and t.</summary>
    public (double[] Noise, double[] Input, long[] Timesteps) Draw(double[] latents, long[] shape, long number, int end)
    {
        using var scope = NewDisposeScope();
        using var generator = PlainSeed.Generator(config.Seed, PlainSeed.Noise, number);
        var noise = Normal(shape, generator);
        var timesteps = randint(config.MinTimestep, end, [shape[0]], ScalarType.Int64, generator: generator).data<long>().ToArray();
        if (config.NoiseOffset is { } offset)
        {
            using var its = PlainSeed.Generator(config.Seed, PlainSeed.NoiseOffset, number);
            var shift = Normal([shape[0], shape[1], 1, 1], its);
            Offset(noise, latents, shift, offset * (config.NoiseOffsetRandomStrength ? Uniform(its) : 1), config.AdaptiveNoiseScale);
        }

        if (config.MultiresNoiseIterations is { } iterations)
        {
            using var its = PlainSeed.Generator(config.Seed, PlainSeed.MultiresNoise, number);
            noise = MultiResolution(noise, shape, its, iterations, config.MultiresNoiseDiscount);
        }

        var input = noise;
        if (config.IpNoiseGamma is { } gamma)
        {
            using var its = PlainSeed.Generator(config.Seed, PlainSeed.InputPerturbation, number);
            var perturbation = Normal(shape, its);
            var strength = gamma * (config.IpNoiseGammaRandomStrength ? Uniform(its) : 1);
            input = [.. noise.Select((e, i) => e + (strength * perturbation[i]))];
        }

        return (noise, input, timesteps);
    }

    /// <summary>ε + o·δ, where o may grow with the channel's mean.</summary>
    public static void Offset(double[] noise, double[] latents, double[] shift, double offset, double? adaptiveScale)
    {
        var area = noise.Length / shift.Length;
        for (var channel = 0; channel < shift.Length; channel++)
        {
            var mean = latents.Skip(channel * area).Take(area).Average();
            var o = adaptiveScale is { } k ? Math.Max(0, offset + (k * Math.Abs(mean))) : offset;
            for (var i = channel * area; i < (channel + 1) * area; i++)
            {
                noise[i] += o * shift[channel];
            }
        }
    }

    /// <summary>Ever coarser noise, enlarged between its pixels' centres and ever weaker, is added; the sum gets deviation 1.</summary>
    public static double[] MultiResolution(double[] noise, long[] shape, Generator generator, int iterations, double discount)
    {
        var (h, w) = ((int)shape[2], (int)shape[3]);
        double[] sum = [.. noise];
        for (var level = 0; level < iterations; level++)
        {
            var factor = Math.Pow(2 + (2 * Uniform(generator)), level);
            var (height, width) = (Math.Max(1, (int)(h / factor)), Math.Max(1, (int)(w / factor)));
            var coarse = Normal([shape[0], shape[1], height, width], generator);
            for (var i = 0; i < sum.Length; i++)
            {
                var (channel, y, x) = (i / (h * w), i / w % h, i % w);
                sum[i] += Math.Pow(discount, level) * Between(coarse, channel, height, width, (y + 0.5) * height / h - 0.5, (x + 0.5) * width / w - 0.5);
            }

            if (height == 1 || width == 1)
            {
                break;
            }
        }

        var mean = sum.Average();
        var deviation = Math.Sqrt(sum.Sum(value => (value - mean) * (value - mean)) / (sum.Length - 1));
        return [.. sum.Select(value => value / deviation)];
    }

    public static double[] Normal(long[] shape, Generator generator)
    {
        using var scope = NewDisposeScope();
        return PlainTraining.Numbers(randn(shape, generator: generator));
    }

    public static double Uniform(Generator generator)
    {
        using var scope = NewDisposeScope();
        return rand([1], ScalarType.Float64, generator: generator).item<double>();
    }

    /// <summary>The value at a place between pixels; beyond the outermost centres it stays theirs.</summary>
    private static double Between(double[] image, int channel, int height, int width, double y, double x)
    {
        (y, x) = (Math.Clamp(y, 0, height - 1), Math.Clamp(x, 0, width - 1));
        var (top, left) = ((int)y, (int)x);
        var (bottom, right) = (Math.Min(top + 1, height - 1), Math.Min(left + 1, width - 1));
        var (down, across) = (y - top, x - left);
        return (
            (1 - down) * (((1 - across) * At(top, left)) + (across * At(top, right)))) + (
                down * (((1 - across) * At(bottom, left)) + (across * At(bottom, right))));

        double At(int row, int column) => image[(((channel * height) + row) * width) + column];
    }
}

/// <summary>Losses and their weights, in float64.</summary>
internal static class PlainLoss
{
    /// <summary>ℓ(d) and its derivative.</summary>
    public static (double Value, double Slope) Of(DiffusionTrainingConfig config, double d, double c)
    {
        var root = Math.Sqrt((d * d) + (c * c));
        return config.LossType switch
        {
            LossType.L2 => (d * d, 2 * d),
            LossType.L1 => (Math.Abs(d), Math.Sign(d)),
            LossType.Huber => (2 * c * (root - c), 2 * c * d / root),
            LossType.SmoothL1 => (2 * (root - c), 2 * d / root),
            _ => throw new NotSupportedException(),
        };
    }

    /// <summary>c of a timestep.</summary>
    public static double Threshold(DiffusionTrainingConfig config, double alpha, double t, int timesteps) => config.HuberSchedule switch
    {
        HuberSchedule.Snr => ((1 - config.HuberC) / Math.Pow(1 + Math.Sqrt((1 - alpha) / alpha), 2)) + config.HuberC,
        HuberSchedule.Exponential => config.HuberScale * Math.Pow(config.HuberC, t / timesteps),
        HuberSchedule.Constant => config.HuberScale * config.HuberC,
        _ => throw new NotSupportedException(),
    };

    /// <summary>How much a timestep counts by all weights that are asked for.</summary>
    public static double Weight(DiffusionTrainingConfig config, PredictionType prediction, double alpha)
    {
        var snr = alpha / (1 - alpha);
        var limited = Math.Min(snr, 1000);
        var weight = 1d;
        if (config.MinSnrGamma is { } gamma)
        {
            weight *= Math.Min(snr, gamma) / (prediction switch { PredictionType.Epsilon => snr, PredictionType.VPrediction => snr + 1, _ => 1 });
        }

        if (config.DebiasedEstimationLoss)
        {
            weight *= prediction switch
            {
                PredictionType.Epsilon => 1 / Math.Sqrt(limited),
                PredictionType.VPrediction => 1 / (limited + 1),
                _ => Math.Sqrt(limited),
            };
        }

        if (config.ScaleVPredLossLikeNoisePred)
        {
            weight *= limited / (limited + 1);
        }

        if (config.VPredLikeLoss is { } lambda)
        {
            weight *= 1 + (lambda * (limited + 1) / limited);
        }

        return weight;
    }
}
