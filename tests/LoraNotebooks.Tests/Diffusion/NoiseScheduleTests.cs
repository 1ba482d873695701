using System.Text.Json;
using LoraNotebooks.Diffusion;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Diffusion;

public sealed class NoiseScheduleTests(ParityTable table) : IClassFixture<ParityTable>
{
    private static readonly SchedulerConfig Small = new() { NumTrainTimesteps = 10, BetaStart = 0.01, BetaEnd = 0.3 };

    private static double Limit => Fixtures.Json("noise-schedulers", "case.json").GetProperty("tolerance").GetDouble();

    [Fact]
    [Trait("Category", "Parity")]
    public void Betas_Cases_EqualUpstream()
    {
        foreach (var entry in Fixtures.Json("noise-schedulers", "noise-schedulers.json").GetProperty("betas").EnumerateObject())
        {
            var config = SchedulerTestConfig.FromJson(entry.Value.GetProperty("config"));
            var kohya = entry.Name.StartsWith("kohya_fix_noise_scheduler", StringComparison.Ordinal);
            var schedule = new NoiseSchedule(kohya ? config with { RescaleBetasZeroSnr = true } : config);
            Close($"{entry.Name} betas", Numbers(entry.Value.GetProperty("betas")), schedule.Betas, Limit);
            Close($"{entry.Name} alphas_cumprod", Numbers(entry.Value.GetProperty("alphas_cumprod")), schedule.AlphasCumprod, Limit);
        }
    }

    [Fact]
    [Trait("Category", "Parity")]
    public void AddNoiseAndVelocity_Case_EqualUpstream()
    {
        using var scope = NewDisposeScope();
        var inputs = Fixtures.Tensors("noise-schedulers", "inputs.safetensors");
        var expected = Fixtures.Tensors("noise-schedulers", "expected.safetensors");
        var schedule = ScaledLinear();
        var noisy = schedule.AddNoise(inputs["x0"], inputs["noise"], inputs["timesteps"]);
        var velocity = schedule.Velocity(inputs["x0"], inputs["noise"], inputs["timesteps"]);
        table.Check("noise-schedulers", "add_noise, relative", Fixtures.RelativeDifference(expected["add_noise"], noisy), Limit);
        table.Check("noise-schedulers", "get_velocity, relative", Fixtures.RelativeDifference(expected["get_velocity"], velocity), Limit);
    }

    [Fact]
    [Trait("Category", "Parity")]
    public void Snr_Case_EqualsUpstream()
    {
        using var scope = NewDisposeScope();
        var expected = Numbers(Fixtures.Json("noise-schedulers", "noise-schedulers.json").GetProperty("train_weights").GetProperty("snr"));
        var schedule = ScaledLinear();
        var actual = schedule.Snr(arange(schedule.NumTrainTimesteps, ScalarType.Int64)).data<float>().ToArray();

        table.Check("noise-schedulers", "snr, relative", expected.Zip(actual, (e, a) => Math.Abs(e - a) / e).Max(), Limit);
    }

    [Fact]
    public void RescaleBetasZeroSnr_LastTimestep_HoldsNoSignalAndFirstIsKept()
    {
        var plain = new NoiseSchedule(Small);
        var rescaled = new NoiseSchedule(Small with { RescaleBetasZeroSnr = true });
        Assert.Equal(0, rescaled.AlphasCumprod[^1]);
        Assert.Equal(0, rescaled.Snr(9));
        Assert.Equal(plain.AlphasCumprod[0], rescaled.AlphasCumprod[0], 1e-6);
    }

    [Theory]
    [InlineData(BetaSchedule.Linear)]
    [InlineData(BetaSchedule.ScaledLinear)]
    [InlineData(BetaSchedule.SquaredCosCapV2)]
    public void Betas_OfEveryShapeAndLength_AreTheFormula(BetaSchedule shape)
    {
        foreach (var n in (int[])[1, 2, 3, 7, 10])
        {
            var schedule = new NoiseSchedule(Small with { NumTrainTimesteps = n, BetaSchedule = shape });
            var product = 1.0;
            Assert.Equal(n, schedule.NumTrainTimesteps);
            for (var t = 0; t < n; t++)
            {
                var part = n == 1 ? 0 : t / (n - 1.0);
                var expected = shape switch
                {
                    BetaSchedule.Linear => 0.01 + part * (0.3 - 0.01),
                    BetaSchedule.ScaledLinear => Math.Pow(Math.Sqrt(0.01) + part * (Math.Sqrt(0.3) - Math.Sqrt(0.01)), 2),
                    _ => Math.Min(1 - Cosine((t + 1.0) / n) / Cosine((double)t / n), 0.999),
                };
                Assert.Equal(expected, schedule.Betas[t], 1e-6);
                Assert.Equal(product *= 1 - expected, schedule.AlphasCumprod[t], 1e-6);
            }
        }

        static double Cosine(double time) => Math.Pow(Math.Cos((time + 0.008) / 1.008 * Math.PI / 2), 2);
    }

    [Fact]
    public void Betas_Given_AreTakenAsTheyAre()
    {
        var schedule = new NoiseSchedule(Small with { NumTrainTimesteps = 3, TrainedBetas = [0.25, 0.5, 1] });
        Assert.Equal([0.25f, 0.5f, 1], schedule.Betas);
        Assert.Equal([0.75f, 0.375f, 0], schedule.AlphasCumprod);
    }

    /// <summary>Lin et al. 2024, algorithm 1: √ᾱ shifted to end at 0 and scaled to begin where it did.</summary>
    [Fact]
    public void RescaleBetasZeroSnr_EveryTimestep_IsTheFormula()
    {
        var (plain, rescaled) = (new NoiseSchedule(Small), new NoiseSchedule(Small with { RescaleBetasZeroSnr = true }));
        double first = Math.Sqrt(plain.AlphasCumprod[0]), last = Math.Sqrt(plain.AlphasCumprod[^1]), before = 1;
        for (var t = 0; t < 10; t++)
        {
            var signal = Math.Pow((Math.Sqrt(plain.AlphasCumprod[t]) - last) * first / (first - last), 2);
            Assert.Equal(signal, rescaled.AlphasCumprod[t], 1e-6);
            Assert.Equal(1 - signal / before, rescaled.Betas[t], 1e-5);
            before = signal;
        }
    }

    /// <summary>Each sample of a batch by its own timestep, the first and the last among them.</summary>
    [Fact]
    public void AddNoiseVelocityTargetAndSnr_OfABatch_AreTheFormulas()
    {
        using var scope = NewDisposeScope();
        double[] x0 = [0.5, -2, 3, 0.25, -1, 4], noise = [1, 0.5, -0.75, 2, 0.125, -3];
        long[] timesteps = [9, 0, 4];
        var (x, e, t) = (tensor(x0).reshape(3, 2), tensor(noise).reshape(3, 2), tensor(timesteps));
        foreach (var prediction in Enum.GetValues<PredictionType>())
        {
            var schedule = new NoiseSchedule(Small with { PredictionType = prediction });
            Assert.Equal(prediction, schedule.PredictionType);
            var (noisy, velocity, target, snr) = (schedule.AddNoise(x, e, t), schedule.Velocity(x, e, t), schedule.Target(x, e, t), schedule.Snr(t));
            Assert.Equal([3L, 2], noisy.shape);
            for (var i = 0; i < 6; i++)
            {
                double a = schedule.AlphasCumprod[(int)timesteps[i / 2]], v = Math.Sqrt(a) * noise[i] - Math.Sqrt(1 - a) * x0[i];
                Assert.Equal(Math.Sqrt(a) * x0[i] + Math.Sqrt(1 - a) * noise[i], noisy[i / 2, i % 2].item<double>(), 1e-6);
                Assert.Equal(v, velocity[i / 2, i % 2].item<double>(), 1e-6);
                Assert.Equal(
                    prediction switch { PredictionType.Epsilon => noise[i], PredictionType.VPrediction => v, _ => x0[i] },
                    target[i / 2, i % 2].item<double>(),
                    1e-6);
                Assert.Equal(a / (1 - a), snr[i / 2].item<float>(), a / (1 - a) * 1e-5);
                Assert.Equal(a / (1 - a), schedule.Snr((int)timesteps[i / 2]), 1e-12);
            }

            target.fill_(99);
            Assert.Equal((x0[0], noise[0]), (x[0, 0].item<double>(), e[0, 0].item<double>()));
        }
    }

    [Theory]
    [InlineData(PredictionType.Epsilon)]
    [InlineData(PredictionType.VPrediction)]
    [InlineData(PredictionType.Sample)]
    public void Target_EachPrediction_GivesBackTheOriginal(PredictionType prediction)
    {
        using var scope = NewDisposeScope();
        using var generator = new Generator(1);
        var schedule = new NoiseSchedule(Small with { PredictionType = prediction });
        var (x0, noise) = (randn(2, 3, generator: generator), randn(2, 3, generator: generator));
        var t = tensor(new long[] { 7, 7 });
        var noisy = schedule.AddNoise(x0, noise, t);
        var target = schedule.Target(x0, noise, t);
        double a = Math.Sqrt(schedule.AlphasCumprod[7]), s = Math.Sqrt(1 - schedule.AlphasCumprod[7]);
        var recovered = prediction switch
        {
            PredictionType.Epsilon => (noisy - s * target) / a,
            PredictionType.VPrediction => a * noisy - s * target,
            _ => target,
        };
        Assert.InRange(Fixtures.MaxDifference(x0, recovered), 0, 1e-6);
    }

    [Fact]
    public void AddNoise_HalfPrecision_KeepsTheDtype()
    {
        using var scope = NewDisposeScope();
        var x = ones(1, 2, dtype: ScalarType.BFloat16);
        Assert.Equal(ScalarType.BFloat16, new NoiseSchedule(Small).AddNoise(x, x, tensor(new long[] { 3 })).dtype);
    }

    [Fact]
    public void AddNoise_BadInput_SaysWhatIsExpected()
    {
        using var scope = NewDisposeScope();
        var schedule = new NoiseSchedule(Small);
        var x = ones(2, 3);
        Assert.Contains("0 to 9", Assert.Throws<ArgumentException>(() => schedule.AddNoise(x, x, tensor(new long[] { 3, 10 }))).Message);
        Assert.Contains("[N]", Assert.Throws<ArgumentException>(() => schedule.AddNoise(x, ones(2, 4), tensor(new long[] { 3, 4 }))).Message);
        Assert.Contains("timestep -1", Assert.Throws<ArgumentException>(() => schedule.Velocity(x, x, tensor(new long[] { -1, 3 }))).Message);
        Assert.Throws<ArgumentException>(() => schedule.Snr(tensor(new long[] { 10 })));
        Assert.Throws<ArgumentException>(() => schedule.AddNoise(x, x, tensor(new long[] { 3 })));
        Assert.Contains("timesteps [2, 1]", Assert.Throws<ArgumentException>(() => schedule.AddNoise(x, x, zeros(2, 1, ScalarType.Int64))).Message);
    }

    [Fact]
    public void Constructor_SeveralFaults_ListsAll()
    {
        var message = Assert.Throws<ArgumentException>(() => new NoiseSchedule(Small with { BetaStart = 0, StepsOffset = -1, SolverOrder = 4 })).Message;
        Assert.All(new[] { "beta_start", "steps_offset", "solver_order" }, key => Assert.Contains(key, message));
    }

    private static NoiseSchedule ScaledLinear() => new(SchedulerTestConfig.FromJson(
        Fixtures.Json("noise-schedulers", "noise-schedulers.json").GetProperty("betas").GetProperty("scaled_linear").GetProperty("config")));

    private static double[] Numbers(JsonElement list) => [.. list.EnumerateArray().Select(number => number.GetDouble())];

    private static void Close(string name, double[] expected, IReadOnlyList<float> actual, double limit)
    {
        Assert.Equal(expected.Length, actual.Count);
        var worst = expected.Zip(actual, (e, a) => Math.Abs(e - a)).Max();
        Assert.True(worst <= limit, $"{name}: difference {worst:e2}, limit {limit:e2}");
    }
}
