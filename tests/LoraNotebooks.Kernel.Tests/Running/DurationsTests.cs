using LoraNotebooks.Kernel.Running;

namespace LoraNotebooks.Kernel.Tests.Running;

public sealed class DurationsTests
{
    [Theory]
    [InlineData("90s", 90)]
    [InlineData("8m", 480)]
    [InlineData("1h30m", 5400)]
    [InlineData("1.5m", 90)]
    [InlineData("1m 5s", 65)]
    [InlineData("45", 45)]
    [InlineData("2h", 7200)]
    [InlineData("2min", 120)]
    [InlineData("0.5s", 0.5)]
    [InlineData(" 1h 2m 3s ", 3723)]
    [InlineData("1h2m3", 3723)]
    [InlineData("1.5h0.5m0.25s", 5430.25)]
    [InlineData("2147483", 2147483)] // the longest that a timer takes
    public void TryParse_LengthOfTime_GivesSeconds(string text, double seconds)
    {
        Assert.True(Durations.TryParse(text, out var duration));
        Assert.Equal(seconds, duration.TotalSeconds);
    }

    [Theory]
    [InlineData("")]
    [InlineData("soon")]
    [InlineData("-5s")]
    [InlineData("0s")]
    [InlineData("5x")]
    [InlineData("99999999999h")]
    [InlineData("2147484")]
    [InlineData("0h0m0s")]
    [InlineData("   ")]
    [InlineData("5m5h")]
    [InlineData("1,5m")]
    [InlineData(".5s")]
    [InlineData("5 5")]
    public void TryParse_AnythingElse_IsRefused(string text) => Assert.False(Durations.TryParse(text, out _));

    [Theory]
    [InlineData(0, "0.0 s")]
    [InlineData(0.44, "0.4 s")]
    [InlineData(9.9, "9.9 s")]
    [InlineData(10, "10 s")]
    [InlineData(59.9, "59 s")]
    [InlineData(60, "1 min 00 s")]
    [InlineData(65.9, "1 min 05 s")]
    [InlineData(3599.9, "59 min 59 s")]
    [InlineData(3600, "60 min 00 s")]
    public void Format_LengthOfTime_IsReadableAtEveryLength(double seconds, string expected) =>
        Assert.Equal(expected, Durations.Format(TimeSpan.FromSeconds(seconds)));
}
