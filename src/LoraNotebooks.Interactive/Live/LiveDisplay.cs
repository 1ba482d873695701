namespace LoraNotebooks.Interactive;

/// <summary>
/// One output that follows changing data: at most four updates a second, the latest state always follows (trailing flush),
/// and exactly one final update.
/// </summary>
/// <remarks>
/// Drawing happens on a timer's thread, so that the work it follows does not wait, and takes at most a tenth of one core:
/// after a drawing that took long the next one waits ten times as long.
/// </remarks>
internal sealed class LiveDisplay
{
    /// <summary>The shortest time between two updates: 250 ms.</summary>
    public static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(250);

    private readonly INotebookHost _host;
    private readonly Func<bool, MimeBundle> _draw;
    private readonly TimeProvider _time;
    private readonly Lock _state = new();   // guards the fields below; held for moments only
    private readonly Lock _drawing = new(); // held while drawing, so that updates arrive in order
    private readonly ITimer _timer;
    private IDisplayHandle? _handle;
    private long _notBefore;
    private bool _isDirty;     // the state has changed since the last drawing began
    private bool _isScheduled; // a drawing is under way or the timer is set
    private bool _isComplete;

    /// <summary>An output that appears at the first change.</summary>
    /// <param name="host">Where to.</param>
    /// <param name="draw">Draws the present state; the argument says whether this is the final drawing.</param>
    /// <param name="time">The clock.</param>
    public LiveDisplay(INotebookHost host, Func<bool, MimeBundle> draw, TimeProvider time)
    {
        _host = host;
        _draw = draw;
        _time = time;
        _timer = time.CreateTimer(_ => DrawOrSkip(), null, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
    }

    /// <summary>Says that the state has changed. The first call draws at once, later ones when it is time.</summary>
    public void Invalidate()
    {
        lock (_state)
        {
            _isDirty = true;
            if (_isComplete || _isScheduled)
            {
                return;
            }

            _isScheduled = true;
            if (_handle is not null)
            {
                SetTimer();
                return;
            }
        }

        DrawOrSkip();
    }

    /// <summary>Draws the final state; later calls of any method do nothing.</summary>
    public void Complete()
    {
        lock (_state)
        {
            if (_isComplete)
            {
                return;
            }

            _isComplete = true;
        }

        _timer.Dispose();
        Draw(isFinal: true);
    }

    private void DrawOrSkip()
    {
        try
        {
            Draw(isFinal: false);
        }
        catch (Exception)
        {
            // A picture that fails must not end the work that it follows. The final drawing says what is wrong.
        }
    }

    private void Draw(bool isFinal)
    {
        lock (_drawing)
        {
            lock (_state)
            {
                if (_isComplete && !isFinal)
                {
                    return;
                }

                // Cleared before drawing: what changes from here on asks for another drawing.
                _isDirty = false;
            }

            var started = _time.GetTimestamp();
            try
            {
                Show(_draw(isFinal));
            }
            finally
            {
                var ended = _time.GetTimestamp();
                var pause = Math.Max(Interval.TotalSeconds, 10 * _time.GetElapsedTime(started, ended).TotalSeconds);
                lock (_state)
                {
                    _notBefore = ended + (long)(pause * _time.TimestampFrequency);
                    _isScheduled = _isDirty && !_isComplete;
                    if (_isScheduled)
                    {
                        SetTimer();
                    }
                }
            }
        }
    }

    private void Show(MimeBundle bundle)
    {
        if (_handle is { } handle)
        {
            handle.Update(bundle);
            return;
        }

        var shown = _host.Display(bundle);
        lock (_state)
        {
            _handle = shown;
        }
    }

    private void SetTimer()
    {
        var wait = _time.GetElapsedTime(_time.GetTimestamp(), _notBefore);
        _timer.Change(wait > TimeSpan.Zero ? wait : TimeSpan.Zero, Timeout.InfiniteTimeSpan);
    }
}
