using System.Globalization;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Training;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Training;

public sealed class LossWeightingTests(ParityTable table) : IClassFixture<ParityTable>
{
    public static TheoryData<string> Weights() => [.. Fixtures.Json("noise-schedulers", "noise-schedulers.json").GetProperty("train_weights").EnumerateObject().Select(item => item.Name)];

    [Theory]
    [Trait("Category", "Parity")]
    [MemberData(nameof(Weights))]
    public void Weights_OfEveryTimestep_AreUpstreams(string name)
    {
        var tolerance = Fixtures.Json("noise-schedulers", "case.json").GetProperty("tolerance").GetDouble();
        float[] values = [.. Fixtures.Json("noise-schedulers", "noise-schedulers.json").GetProperty("train_weights").GetProperty(name).EnumerateArray().Select(value => value.GetSingle())];

        using var scope = NewDisposeScope();
        var expected = tensor(values);
        var actual = Compute(name, arange(values.Length));

        // An SNR spans nine orders of magnitude, the weights none above 32.
        table.Check(name, "weight", name == "snr" ? Fixtures.RelativeDifference(expected, actual) : Fixtures.MaxDifference(expected, actual), tolerance);
    }

    [Fact]
    public void MinSnr_AtZeroTerminalSnr_IsZeroForVelocity()
    {
        var schedule = new NoiseSchedule(SchedulerConfig.StableDiffusion with { PredictionType = PredictionType.VPrediction, RescaleBetasZeroSnr = true, TimestepSpacing = TimestepSpacing.Trailing });
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

    [Fact]
    public void Elementwise_HuberWithoutThreshold_SaysWhatIsMissing()
    {
        using var scope = NewDisposeScope();

        Assert.Contains("needs a threshold", Assert.Throws<ArgumentException>(() => DiffusionLoss.Elementwise(ones(1), ones(1), LossType.Huber)).Message, StringComparison.Ordinal);
    }

    private static Tensor Compute(string name, Tensor t)
    {
        const string velocity = "_v_prediction";
        const string minSnr = "min_snr_gamma_";
        const string huber = "huber_c_";
        var isVelocity = name.EndsWith(velocity, StringComparison.Ordinal);
        var schedule = new NoiseSchedule(SchedulerConfig.StableDiffusion with { PredictionType = isVelocity ? PredictionType.VPrediction : PredictionType.Epsilon });
        return name.Replace(velocity, "", StringComparison.Ordinal) switch
        {
            "snr" => schedule.Snr(t),
            "debiased_estimation" => LossWeighting.DebiasedEstimation(schedule, t),
            "scale_v_pred_loss_like_noise_pred" => LossWeighting.VelocityLikeNoise(schedule, t),
            var weight when weight.StartsWith(minSnr, StringComparison.Ordinal) => LossWeighting.MinSnr(schedule, t, double.Parse(weight[minSnr.Length..], CultureInfo.InvariantCulture)),

            // c and its scale are the trainer's defaults, which are upstream's.
            var kind when kind.StartsWith(huber, StringComparison.Ordinal) => DiffusionLoss.HuberThreshold(schedule, t, Enum.Parse<HuberSchedule>(kind[huber.Length..], ignoreCase: true), new TrainingConfig().HuberC, new TrainingConfig().HuberScale),
            _ => throw new NotSupportedException($"The weight '{name}' is not covered."),
        };
    }
}
