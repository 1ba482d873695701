
namespace LoraNotebooks.Tests.Training;

public sealed class LossCurveTests
{
    [Fact]
    public void Add_Losses_GivesTheirAverageWithFadingWeights()
    {
        var curve = new LossCurve();
        double[] losses = [3, 1, 4, 1, 5, 9];

        for (var n = 1; n <= losses.Length; n++)
        {
            // Σ 0.98ⁿ⁻ⁱ·lossᵢ / Σ 0.98ⁿ⁻ⁱ
            var weights = Enumerable.Range(1, n).Select(i => Math.Pow(0.98, n - i)).ToList();
            Assert.Equal(weights.Zip(losses).Sum(pair => pair.First * pair.Second) / weights.Sum(), curve.Add(losses[n - 1]), 1e-12);
        }

        Assert.Equal(losses, curve.Losses);
    }

    [Fact]
    public void Stop_Steps_CountsTheLastFiftyWithoutWhatLiesBetween()
    {
        var clock = new Clock();
        var meter = new SpeedMeter(clock);

        // 10 slow steps of 7 seconds and 1 image, 50 of 2 seconds and 3 images; a minute between any two.
        for (var i = 1; i <= 60; i++)
        {
            meter.Start();
            clock.Now += TimeSpan.FromSeconds(i <= 10 ? 7 : 2);
            meter.Stop(i <= 10 ? 1 : 3);
            clock.Now += TimeSpan.FromMinutes(1);
            var (slow, fast) = (Math.Clamp(Math.Min(i, 60 - i), 0, 10), Math.Max(0, i - 10));
            Assert.Equal(((7d * slow) + (2d * fast)) / (slow + fast), meter.SecondsPerStep, 1e-9);
            Assert.Equal((slow + (3d * fast)) / ((7d * slow) + (2d * fast)), meter.ExamplesPerSecond, 1e-9);
        }
    }

    private sealed class Clock : TimeProvider
    {
        public TimeSpan Now { get; set; }

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public override long GetTimestamp() => Now.Ticks;
    }
}
