namespace LoraNotebooks.Interactive.Tests;

/// <summary>A clock that stands, and whose timers ring when a test says so, also after they were put away.</summary>
internal sealed class ManualTimers : TimeProvider
{
    private readonly List<Timer> _timers = [];

    /// <summary>How many timers are there.</summary>
    public int Alive => _timers.Count(timer => !timer.IsDisposed);

    public override long GetTimestamp() => 1;

    /// <summary>Rings all, as a timer does whose callback was on its way already.</summary>
    public void RingAll() => _timers.ForEach(timer => timer.Ring());

    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
    {
        var timer = new Timer(() => callback(state));
        _timers.Add(timer);
        return timer;
    }

    private sealed class Timer(Action ring) : ITimer
    {
        public bool IsDisposed { get; private set; }

        public void Ring() => ring();

        public bool Change(TimeSpan dueTime, TimeSpan period) => !IsDisposed;

        public void Dispose() => IsDisposed = true;

        public ValueTask DisposeAsync()
        {
            Dispose();
            return default;
        }
    }
}
