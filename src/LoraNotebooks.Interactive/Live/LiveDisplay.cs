namespace LoraNotebooks.Interactive;

/// <summary>
/// One output that follows changing data: at most four updates a second, the latest state always follows (trailing flush),
/// and exactly one final update.
/// </summary>
/// <remarks>
/// Drawing happens on a timer's thread, so that the work it follows does not wait, and takes at most a given share of one core:
/// after a drawing that took long the next one waits long.
/// </remarks>
internal sealed class LiveDisplay
{
    /// <summary>The shortest time between two updates: 250 ms.</summary>
    public static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(250);

    /// <summary>The part of one core's time that a monitor's outputs may take together: a hundredth.</summary>
    public const double WholeShare = 0.01;

    // The first drawings mostly load and compile code; their time says nothing of the next ones.
    private const int WarmUp = 3;

    private readonly INotebookHost _host;
    private readonly Func<bool, MimeBundle> _draw;
    private readonly double _share;
    private readonly TimeProvider _time;
    private readonly Lock _state = new();   // guards the fields below; held for moments only
    private readonly Lock _drawing = new(); // held while drawing, so that updates arrive in order
    private readonly ITimer _timer;
    private IDisplayHandle? _handle;
    private TimeSpan _lastDrawing;
    private long _notBefore;
    private int _drawings;
    private bool _isDirty;     // the state has changed since the last drawing began
    private bool _isScheduled; // a drawing is under way or the timer is set
    private bool _isComplete;

    /// <summary>An output that appears at the first change.</summary>
    /// <param name="host">Where to.</param>
    /// <param name="draw">Draws the present state; the argument says whether this is the final drawing.</param>
    /// <param name="time">The clock.</param>
    /// <param name="share">The part of one core's time that drawing may take, host included.</param>
    public LiveDisplay(INotebookHost host, Func<bool, MimeBundle> draw, TimeProvider time, double share = WholeShare)
    {
        _host = host;
        _draw = draw;
        _time = time;
        _share = share;
        _timer = time.CreateTimer(_ => DrawOrSkip(), null, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
    }

    /// <summary>Whether the output has appeared.</summary>
    public bool IsShown
    {
        get
        {
            lock (_state)
            {
                return _handle is not null;
            }
        }
    }

    /// <summary>The time that drawing has taken so far, the final one apart.</summary>
    public TimeSpan DrawingTime { get; private set; }

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
                Schedule(started, _time.GetTimestamp(), isFinal);
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

    private void Schedule(long started, long ended, bool isFinal)
    {
        var drawing = _time.GetElapsedTime(started, ended);
        lock (_state)
        {
            // Of two drawings the quicker counts: the other may have waited for a busy machine.
            var counted = _drawings++ < WarmUp ? TimeSpan.Zero : drawing < _lastDrawing ? drawing : _lastDrawing;
            _lastDrawing = drawing;
            DrawingTime += isFinal ? TimeSpan.Zero : drawing;
            var pause = Math.Max(Interval.TotalSeconds, counted.TotalSeconds / _share);
            _notBefore = ended + (long)(pause * _time.TimestampFrequency);
            _isScheduled = _isDirty && !_isComplete;
            if (_isScheduled)
            {
                SetTimer();
            }
        }
    }

    private void SetTimer()
    {
        var wait = _time.GetElapsedTime(_time.GetTimestamp(), _notBefore);
        _timer.Change(wait > TimeSpan.Zero ? wait : TimeSpan.Zero, Timeout.InfiniteTimeSpan);
    }
}
