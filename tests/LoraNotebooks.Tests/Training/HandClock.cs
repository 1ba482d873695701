namespace LoraNotebooks.Tests.Training;

/// <summary>A clock that moves when it is told to.</summary>
internal sealed class HandClock : TimeProvider
{
    private TimeSpan _passed;

    public static DateTimeOffset Start { get; } = new(2026, 1, 2, 3, 4, 5, TimeSpan.Zero);

    public override long TimestampFrequency => TimeSpan.TicksPerSecond;

    public override long GetTimestamp() => _passed.Ticks;

    public override DateTimeOffset GetUtcNow() => Start + _passed;

    public void Pass(double seconds) => _passed += TimeSpan.FromSeconds(seconds);
}
