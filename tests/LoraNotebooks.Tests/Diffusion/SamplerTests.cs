using System.Text.Json;
using System.Text.Json.Nodes;
using LoraNotebooks.Diffusion;
using TorchSharp;
using Xunit.Abstractions;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Diffusion;

public sealed class SamplerTests(ITestOutputHelper output, ParityTable table) : IClassFixture<ParityTable>
{
    private static readonly SchedulerConfig Small = SchedulerConfig.StableDiffusion with { NumTrainTimesteps = 100, BetaEnd = 0.12 };

    [Fact]
    [Trait("Category", "Parity")]
    public void Timesteps_EveryCase_EqualUpstream()
    {
        var file = Fixtures.Json("noise-schedulers", "noise-schedulers.json");
        var basis = JsonObject.Create(file.GetProperty("betas").GetProperty("scaled_linear").GetProperty("config"))!;
        var limit = Fixtures.Json("noise-schedulers", "case.json").GetProperty("tolerance").GetDouble();
        var cases = file.GetProperty("timesteps").EnumerateArray().ToList();
        foreach (var entry in cases)
        {
            var json = (JsonObject)basis.DeepClone();
            foreach (var setting in entry.GetProperty("config").EnumerateObject())
            {
                json[setting.Name] = JsonNode.Parse(setting.Value.GetRawText());
            }

            json["_class_name"] = entry.GetProperty("class").GetString();
            using var sampler = Sampler.Create(SchedulerConfig.FromJson(json, "case"), entry.GetProperty("steps").GetInt32());
            Compare("timesteps", sampler.Timesteps);
            if (entry.TryGetProperty("sigmas", out _))
            {
                Compare("sigmas", sampler.Sigmas);
            }

            Compare("init_noise_sigma", [sampler.InitialNoiseSigma]);

            void Compare(string name, IReadOnlyList<double> actual)
            {
                var value = entry.GetProperty(name);
                double[] expected = value.ValueKind == JsonValueKind.Array ? [.. value.EnumerateArray().Select(number => number.GetDouble())] : [value.GetDouble()];
                var difference = expected.Length == actual.Count ? expected.Zip(actual, (e, a) => Math.Abs(e - a) / Math.Max(1, Math.Abs(e))).Max() : double.PositiveInfinity;
                table.Check($"noise-schedulers, {entry.GetProperty("class").GetString()}", name + ", relative", difference, limit, $"{json.ToJsonString()} {entry.GetProperty("steps")} steps: {string.Join(' ', actual.Take(9))}, expected {string.Join(' ', expected.Take(9))}");
            }
        }

        Assert.NotEmpty(cases);
    }

    private static readonly SchedulerConfig Gaussian = SchedulerConfig.StableDiffusion with { PredictionType = PredictionType.Sample, TimestepSpacing = TimestepSpacing.Linspace, UseKarrasSigmas = true };

    public static TheoryData<string> Kinds => [.. SamplerKind.All.Select(static kind => kind.Name)];

    [Theory]
    [MemberData(nameof(Kinds))]
    public void Step_PerfectModel_ArrivesAtTheOriginal(string name)
    {
        // A model that always answers with the x₀ it was told lets every sampler end there.
        using var scope = NewDisposeScope();
        using var generator = new Generator(3);
        var x0 = randn(2, 3, generator: generator);
        var config = Small with { PredictionType = PredictionType.Sample, SetAlphaToOne = true };
        using var sampler = Sampler.Create(config, 10, SamplerKind.Named(name));
        var sample = randn(2, 3, generator: generator) * sampler.InitialNoiseSigma;
        for (var step = 0; step < sampler.Timesteps.Count; step++)
        {
            sample = sampler.Step(x0, step, sample, () => randn(2, 3, generator: generator));
        }

        Assert.InRange(Fixtures.MaxDifference(x0, sample), 0, 0.12);
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void Step_PerfectModelOfGaussianData_EndsWithItsVariance(string name)
    {
        // Of x₀ ~ N(0, s²) the best estimate is known: E[x₀|x] = √ᾱ·s²/(ᾱ·s² + 1 − ᾱ)·x.
        const double Variance = 4;
        using var scope = NewDisposeScope();
        using var generator = new Generator(5);
        var config = SchedulerConfig.StableDiffusion with { PredictionType = PredictionType.Sample };
        using var sampler = Sampler.Create(config, 120, SamplerKind.Named(name));
        var sample = randn(20000, generator: generator) * sampler.InitialNoiseSigma;
        for (var step = 0; step < sampler.Timesteps.Count; step++)
        {
            sample = sampler.Step(Estimate(sampler, config, sample, step, Variance), step, sample, () => randn(20000, generator: generator));
        }

        Assert.InRange(sample.var().item<float>() / Variance, 0.92, 1.08);
    }

    [Theory]
    [InlineData(nameof(SamplerKind.Euler), 0.9, 1.2)]
    [InlineData(nameof(SamplerKind.Heun), 1.8, 2.3)]
    [InlineData(nameof(SamplerKind.Dpm2), 1.8, 2.5)]
    [InlineData(nameof(SamplerKind.DpmPlusPlus2M), 1.8, 2.5)]
    [InlineData(nameof(SamplerKind.Lms), 1.8, 4.5)]
    [InlineData(nameof(SamplerKind.UniPc), 2.5, 3.6)]
    public void Step_TwiceTheSteps_DividesTheErrorByTwoToTheOrder(string name, double least, double most)
    {
        var kind = SamplerKind.Named(name);
        var order = Math.Log2(Error(kind, 40) / Error(kind, 80));
        output.WriteLine($"{kind}: order {order:0.00}");
        Assert.InRange(order, least, most);
    }

    [Theory]
    [InlineData(2, 1.8)]
    [InlineData(3, 2.5)]
    public void Step_SolverOrderOfTheConfiguration_IsTheOrderOfTheError(int solverOrder, double least)
    {
        var config = Gaussian with { ClassName = "DPMSolverMultistepScheduler", SolverOrder = solverOrder, SolverType = "heun" };
        var (coarse, fine) = (Error(null, 40, config), Error(null, 80, config));
        output.WriteLine($"order {solverOrder}: {Math.Log2(coarse / fine):0.00}, error {fine:e2}");
        Assert.InRange(Math.Log2(coarse / fine), least, 3.5);
    }

    [Fact]
    public void Create_SettingsThatAreNotThere_AreRefusedUnlessASamplerIsNamed()
    {
        var config = SchedulerConfig.FromJson(JsonNode.Parse("{\"_class_name\": \"EulerDiscreteScheduler\", \"use_beta_sigmas\": true, \"thresholding\": false}")!.AsObject(), "case");
        var message = Assert.Throws<ArgumentException>(() => Sampler.Create(config, 5)).Message;
        Assert.Contains("use_beta_sigmas: got true, expected false", message);
        Assert.DoesNotContain("thresholding", message);
        Sampler.Create(config, 5, SamplerKind.Euler).Dispose();
    }

    [Fact]
    public void Step_UniPcWithoutCorrector_FollowsThePredictorAlone()
    {
        using var scope = NewDisposeScope();
        var config = SchedulerConfig.StableDiffusion with { PredictionType = PredictionType.Sample, SolverOrder = 3 };
        Assert.NotEqual(End(config), End(config with { DisableCorrector = [3] }), 1e-9);
        Assert.NotEqual(End(config), End(config with { SolverType = "bh1" }), 1e-9);

        static double End(SchedulerConfig config) => Run(config, SamplerKind.UniPc, 8, 8).item<double>();
    }

    [Fact]
    public void Step_EpsilonAtZeroTerminalSnr_IsAnErrorThatSaysWhatToDo()
    {
        using var scope = NewDisposeScope();
        var config = Small with { RescaleBetasZeroSnr = true, TimestepSpacing = TimestepSpacing.Trailing };
        using var sampler = Sampler.Create(config, 5, SamplerKind.Ddim);
        var x = ones(1, 2);
        Assert.Contains("v_prediction", Assert.Throws<InvalidOperationException>(() => sampler.Step(x, 0, x)).Message);
        using var velocity = Sampler.Create(config with { PredictionType = PredictionType.VPrediction }, 5, SamplerKind.Ddim);
        Assert.True(velocity.Step(x, 0, x).isfinite().all().item<bool>());
    }

    [Fact]
    public void Step_NoNoiseWhereItIsNeeded_IsAnError()
    {
        using var scope = NewDisposeScope();
        using var sampler = Sampler.Create(Small, 5, SamplerKind.EulerAncestral);
        var x = ones(1, 2);
        Assert.Throws<ArgumentException>(() => sampler.Step(x, 0, x));
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void Dispose_AfterSteps_LeavesNoTensorBehind(string name)
    {
        using var x = ones(1, 2);
        var before = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
        using (var sampler = Sampler.Create(Small, 8, SamplerKind.Named(name)))
        {
            for (var step = 0; step < sampler.Timesteps.Count; step++)
            {
                sampler.Step(x, step, x, () => ones(1, 2)).Dispose();
            }
        }

        Assert.Equal(before, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
    }

    [Fact]
    public void Create_UnknownClass_NamesTheChoices()
    {
        var message = Assert.Throws<ArgumentException>(() => Sampler.Create(Small with { ClassName = "EDMEulerScheduler" }, 5)).Message;
        Assert.Contains("EDMEulerScheduler", message);
        Assert.Contains("DPMSolverMultistepScheduler", message);
    }

    [Fact]
    public void Create_TooManySteps_SaysHowManyThereAre() =>
        Assert.Contains("1 to 100", Assert.Throws<ArgumentException>(() => Sampler.Create(Small, 101)).Message);

    /// <summary>The relative error at the smallest noise level on data of variance 25, for which the path is x·√(s²+σ²)/√(s²+σ₀²).</summary>
    private static double Error(SamplerKind? kind, int steps, SchedulerConfig? config = null)
    {
        using var scope = NewDisposeScope();
        config ??= Gaussian;
        using var sampler = Sampler.Create(config, steps, kind);
        var levels = sampler.Sigmas;
        var isScaled = sampler.InitialNoiseSigma == 1;
        var exact = Level(levels[^2]) / Level(levels[0]);
        return Math.Abs(Run(config, kind, steps, sampler.Timesteps.Count - 1).item<double>() / exact - 1);

        double Level(double sigma) => Math.Sqrt((25 + sigma * sigma) / (isScaled ? 1 + sigma * sigma : 1));
    }

    /// <summary>Some steps from 1 on data of variance 25, in float64.</summary>
    private static Tensor Run(SchedulerConfig config, SamplerKind? kind, int steps, int taken)
    {
        using var sampler = Sampler.Create(config, steps, kind);
        var sample = ones(1, ScalarType.Float64);
        for (var step = 0; step < taken; step++)
        {
            sample = sampler.Step(Estimate(sampler, config, sample, step, 25), step, sample);
        }

        return sample;
    }

    private static Tensor Estimate(Sampler sampler, SchedulerConfig config, Tensor sample, int step, double variance)
    {
        double a = sampler.Sigmas.Count > 0 ? 1 / (1 + sampler.Sigmas[step] * sampler.Sigmas[step]) : new NoiseSchedule(config).AlphasCumprod[(int)sampler.Timesteps[step]];
        return Math.Sqrt(a) * variance / (a * variance + 1 - a) * sampler.ScaleModelInput(sample, step);
    }
}
