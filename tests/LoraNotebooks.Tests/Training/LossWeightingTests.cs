using System.Globalization;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Training;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Training;

public sealed class LossWeightingTests
{
    [Fact]
    [Trait("Category", "Parity")]
    public void MinSnr_OfEveryTimestep_IsUpstreams()
    {
        const string prefix = "min_snr_gamma_";
        const string suffix = "_v_prediction";
        var tolerance = Fixtures.Json("noise-schedulers", "case.json").GetProperty("tolerance").GetDouble();
        var cases = Fixtures.Json("noise-schedulers", "noise-schedulers.json").GetProperty("train_weights").EnumerateObject().Where(item => item.Name.StartsWith(prefix, StringComparison.Ordinal)).ToList();
        Assert.NotEmpty(cases);
        foreach (var item in cases)
        {
            var velocity = item.Name.EndsWith(suffix, StringComparison.Ordinal);
            var gamma = double.Parse(item.Name[prefix.Length..].Replace(suffix, "", StringComparison.Ordinal), CultureInfo.InvariantCulture);
            var schedule = new NoiseSchedule(SchedulerConfig.StableDiffusion with { PredictionType = velocity ? PredictionType.VPrediction : PredictionType.Epsilon });
            float[] expected = [.. item.Value.EnumerateArray().Select(weight => weight.GetSingle())];

            using var scope = NewDisposeScope();
            var actual = LossWeighting.MinSnr(schedule, arange(expected.Length), gamma);

            Assert.InRange(Fixtures.MaxDifference(tensor(expected), actual), 0, tolerance);
        }
    }

    [Fact]
    public void MinSnr_AtZeroTerminalSnr_IsZeroForVelocity()
    {
        var schedule = new NoiseSchedule(SchedulerConfig.StableDiffusion with { PredictionType = PredictionType.VPrediction, RescaleBetasZeroSnr = true, TimestepSpacing = TimestepSpacing.Trailing });
        using var scope = NewDisposeScope();

        Assert.Equal(0, LossWeighting.MinSnr(schedule, tensor(new long[] { schedule.NumTrainTimesteps - 1 }), 5).item<float>());
    }
}
