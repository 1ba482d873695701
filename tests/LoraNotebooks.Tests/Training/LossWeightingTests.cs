using System.Globalization;
using LoraNotebooks.Diffusion;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Training;

public sealed class LossWeightingTests(ParityTable table) : IClassFixture<ParityTable>
{
    public static TheoryData<string> Weights() =>
        [.. Fixtures.Json("noise-schedulers", "noise-schedulers.json").GetProperty("train_weights").EnumerateObject().Select(item => item.Name)];

    [Theory]
    [Trait("Category", "Parity")]
    [MemberData(nameof(Weights))]
    public void Weights_OfEveryTimestep_AreUpstreams(string name)
    {
        var tolerance = Fixtures.Json("noise-schedulers", "case.json").GetProperty("tolerance").GetDouble();
        float[] values = [.. Fixtures.Json("noise-schedulers", "noise-schedulers.json")
            .GetProperty("train_weights").GetProperty(name)
            .EnumerateArray()
            .Select(value => value.GetSingle())];

        using var scope = NewDisposeScope();
        var expected = tensor(values);
        var actual = Compute(name, arange(values.Length));

        // An SNR spans nine orders of magnitude, the weights none above 32.
        table.Check(name, "weight", name == "snr" ? Fixtures.RelativeDifference(expected, actual) : Fixtures.MaxDifference(expected, actual), tolerance);
    }

    [Fact]
    public void MinSnr_AtZeroTerminalSnr_IsZeroForVelocity()
    {
        var schedule = new NoiseSchedule(SchedulerConfig.StableDiffusion with
        {
            PredictionType = PredictionType.VPrediction,
            RescaleBetasZeroSnr = true,
            TimestepSpacing = TimestepSpacing.Trailing,
        });
        using var scope = NewDisposeScope();

        Assert.Equal(0, LossWeighting.MinSnr(schedule, tensor(new long[] { schedule.NumTrainTimesteps - 1 }), 5).item<float>());
    }

    [Fact]
    public void NoiseLikeVelocity_TimesTheLossOfNoise_AddsTheLossOfVelocity()
    {
        // v = √ᾱ·ε − √(1−ᾱ)·x₀ and x_t fixed: an error e of ε is one of e/√ᾱ of v.
        var schedule = new NoiseSchedule(SchedulerConfig.StableDiffusion);
        using var scope = NewDisposeScope();
        var t = tensor(new long[] { 300 });
        var alpha = schedule.AlphasCumprod[300];

        Assert.Equal(1 + 0.5 / alpha, LossWeighting.NoiseLikeVelocity(schedule, t, 0.5).item<float>(), 1e-5);
    }

    [Theory]
    [InlineData(LossType.L2, 4)]
    [InlineData(LossType.L1, 2)]
    [InlineData(LossType.Huber, 0.7239900)]
    [InlineData(LossType.SmoothL1, 3.6199502)]
    public void Elementwise_DifferenceOfTwo_IsTheFormulas(LossType type, double expected)
    {
        using var scope = NewDisposeScope();

        // c = 0.2: 2c·(√(4 + 0.04) − c) and 2·(√(4 + 0.04) − c), for the second image.
        var loss = DiffusionLoss.Elementwise(full([2, 1, 1, 1], 3f), ones(2, 1, 1, 1), type, tensor(new[] { 0.1f, 0.2f }));

        Assert.Equal(expected, loss[1].item<float>(), 1e-6);
        Assert.Equal([2, 1, 1, 1], loss.shape);
    }

    [Theory]
    [InlineData(LossType.L2)]
    [InlineData(LossType.L1)]
    [InlineData(LossType.Huber)]
    [InlineData(LossType.SmoothL1)]
    public void Elementwise_ManyDifferences_HaveTheFormulasValuesAndSlopes(LossType type)
    {
        using var scope = NewDisposeScope();
        float[] thresholds = [0.05f, 0.4f];
        float[] differences = [-3, -0.3f, -0.01f, 0.02f, 0.7f, 5];
        var prediction = tensor(differences).repeat(2, 1).requires_grad_(true);

        var loss = DiffusionLoss.Elementwise(prediction, zeros(2, 6), type, type is LossType.Huber or LossType.SmoothL1 ? tensor(thresholds) : null);
        loss.sum().backward();

        for (var i = 0; i < 12; i++)
        {
            var (value, slope) = PlainLoss.Of(new DiffusionTrainingConfig { LossType = type }, differences[i % 6], thresholds[i / 6]);
            Assert.Equal(value, loss[i / 6, i % 6].item<float>(), 1e-6 + (1e-5 * value));
            Assert.Equal(slope, prediction.grad![i / 6, i % 6].item<float>(), 1e-5 * Math.Max(1, Math.Abs(slope)));
        }
    }

    [Theory]
    [InlineData(HuberSchedule.Snr)]
    [InlineData(HuberSchedule.Exponential)]
    [InlineData(HuberSchedule.Constant)]
    public void HuberThreshold_AnyTimestep_IsTheFormulas(HuberSchedule kind)
    {
        using var scope = NewDisposeScope();
        var schedule = new NoiseSchedule(SchedulerConfig.StableDiffusion);
        long[] timesteps = [0, 1, 250, 999];

        var thresholds = DiffusionLoss.HuberThreshold(schedule, tensor(timesteps), kind, 0.3, 1.7);

        Assert.Equal([4], thresholds.shape);
        foreach (var (i, t) in timesteps.Index())
        {
            var expected = PlainLoss.Threshold(
                new DiffusionTrainingConfig { HuberSchedule = kind, HuberC = 0.3, HuberScale = 1.7 },
                schedule.AlphasCumprod[(int)t],
                t,
                1000);
            Assert.Equal(expected, thresholds[i].item<float>(), 1e-5 * expected);
        }
    }

    [Theory]
    [InlineData(PredictionType.Epsilon)]
    [InlineData(PredictionType.VPrediction)]
    [InlineData(PredictionType.Sample)]
    public void Weights_OfEachKindOfModel_AreTheFormulas(PredictionType prediction)
    {
        using var scope = NewDisposeScope();
        var schedule = new NoiseSchedule(SchedulerConfig.StableDiffusion with { PredictionType = prediction });

        // The SNR is 1175 at the first timestep, beyond what is reckoned with, 5.6 at 200, 0.0047 at the last.
        long[] timesteps = [0, 1, 200, 500, 999];
        var t = tensor(timesteps);
        (DiffusionTrainingConfig Config, Tensor Weights)[] cases =
        [
            (new DiffusionTrainingConfig { MinSnrGamma = 5 }, LossWeighting.MinSnr(schedule, t, 5)),
            (new DiffusionTrainingConfig { DebiasedEstimationLoss = true }, LossWeighting.DebiasedEstimation(schedule, t)),
            (new DiffusionTrainingConfig { ScaleVPredLossLikeNoisePred = true }, LossWeighting.VelocityLikeNoise(schedule, t)),
            (new DiffusionTrainingConfig { VPredLikeLoss = 0.7 }, LossWeighting.NoiseLikeVelocity(schedule, t, 0.7)),
        ];

        foreach (var (config, weights) in cases)
        {
            double[] expected = [.. timesteps.Select(time => PlainLoss.Weight(config, prediction, schedule.AlphasCumprod[(int)time]))];
            Assert.All(expected.Zip(PlainTraining.Numbers(weights)), pair => Assert.Equal(pair.First, pair.Second, 1e-5 * pair.First));
        }
    }

    [Fact]
    public void Elementwise_HuberWithoutThreshold_SaysWhatIsMissing()
    {
        using var scope = NewDisposeScope();

        Assert.Contains(
            "The loss Huber needs a threshold for each image; compute it with HuberThreshold.",
            Assert.Throws<ArgumentException>(() => DiffusionLoss.Elementwise(ones(1), ones(1), LossType.Huber)).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public void Arguments_UnknownKindsOrMissing_AreNamed()
    {
        using var scope = NewDisposeScope();
        var schedule = new NoiseSchedule(SchedulerConfig.StableDiffusion);
        Action[] missing =
        [
            () => DiffusionLoss.Elementwise(null!, ones(1), LossType.L2),
            () => DiffusionLoss.Elementwise(ones(1), null!, LossType.L2),
            () => DiffusionLoss.HuberThreshold(null!, ones(1), HuberSchedule.Constant, 0.1),
            () => DiffusionLoss.HuberThreshold(schedule, null!, HuberSchedule.Constant, 0.1),
            () => LossWeighting.MinSnr(null!, ones(1), 5),
            () => LossWeighting.MinSnr(schedule, null!, 5),
            () => LossWeighting.DebiasedEstimation(null!, ones(1)),
            () => LossWeighting.DebiasedEstimation(schedule, null!),
            () => LossWeighting.VelocityLikeNoise(null!, ones(1)),
            () => LossWeighting.VelocityLikeNoise(schedule, null!),
            () => LossWeighting.NoiseLikeVelocity(null!, ones(1), 1),
            () => LossWeighting.NoiseLikeVelocity(schedule, null!, 1),
        ];

        Assert.All(missing, static action => Assert.Throws<ArgumentNullException>(action));
        Assert.Contains(
            "Got the loss type 9, expected one of L2, L1, Huber, SmoothL1.",
            Assert.Throws<ArgumentException>(() => DiffusionLoss.Elementwise(ones(1), ones(1), (LossType)9)).Message,
            StringComparison.Ordinal);
        Assert.Contains(
            "Got the Huber schedule 9, expected one of Snr, Exponential, Constant.",
            Assert.Throws<ArgumentException>(() => DiffusionLoss.HuberThreshold(schedule, tensor(new long[] { 1 }), (HuberSchedule)9, 0.1)).Message,
            StringComparison.Ordinal);
    }

    private static Tensor Compute(string name, Tensor t)
    {
        const string velocity = "_v_prediction";
        const string minSnr = "min_snr_gamma_";
        const string huber = "huber_c_";
        var isVelocity = name.EndsWith(velocity, StringComparison.Ordinal);
        var schedule = new NoiseSchedule(SchedulerConfig.StableDiffusion with
        {
            PredictionType = isVelocity ? PredictionType.VPrediction : PredictionType.Epsilon,
        });
        return name.Replace(velocity, "", StringComparison.Ordinal) switch
        {
            "snr" => schedule.Snr(t),
            "debiased_estimation" => LossWeighting.DebiasedEstimation(schedule, t),
            "scale_v_pred_loss_like_noise_pred" => LossWeighting.VelocityLikeNoise(schedule, t),
            var weight when weight.StartsWith(minSnr, StringComparison.Ordinal) =>
                LossWeighting.MinSnr(schedule, t, double.Parse(weight[minSnr.Length..], CultureInfo.InvariantCulture)),

            // c and its scale are the trainer's defaults, which are upstream's.
            var kind when kind.StartsWith(huber, StringComparison.Ordinal) => DiffusionLoss.HuberThreshold(
                schedule,
                t,
                Enum.Parse<HuberSchedule>(kind[huber.Length..], ignoreCase: true),
                new DiffusionTrainingConfig().HuberC,
                new DiffusionTrainingConfig().HuberScale),
            _ => throw new NotSupportedException($"The weight '{name}' is not covered."),
        };
    }
}
