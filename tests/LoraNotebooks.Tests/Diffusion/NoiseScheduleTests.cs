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
