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
    private bool _isScheduled;
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
        _timer = time.CreateTimer(_ => OnTimer(), null, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
    }

    /// <summary>Says that the state has changed. The first call draws at once, later ones when it is time.</summary>
    public void Invalidate()
    {
        TimeSpan wait;
        lock (_state)
        {
            if (_isComplete || _isScheduled)
            {
                return;
            }

            _isScheduled = true;
            wait = _handle is null ? TimeSpan.Zero : _time.GetElapsedTime(_time.GetTimestamp(), _notBefore);
        }

        if (_handle is null)
        {
            Draw(isFinal: false);
        }
        else
        {
            _timer.Change(wait > TimeSpan.Zero ? wait : TimeSpan.Zero, Timeout.InfiniteTimeSpan);
        }
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

    private void OnTimer()
    {
        try
        {
            Draw(isFinal: false);
        }
        catch (Exception)
        {
            // Nothing above a timer's thread could take it. The final drawing runs on the caller's thread and says what is wrong.
        }
    }

    private void Draw(bool isFinal)
    {
        lock (_drawing)
        {
            lock (_state)
            {
                // Reset before drawing: what changes from here on asks for another drawing.
                _isScheduled = false;
                if (_isComplete && !isFinal)
                {
                    return;
                }
            }

            var started = _time.GetTimestamp();
            var bundle = _draw(isFinal);
            if (_handle is null)
            {
                _handle = _host.Display(bundle);
            }
            else
            {
                _handle.Update(bundle);
            }

            var ended = _time.GetTimestamp();
            var pause = Math.Max(Interval.TotalSeconds, 10 * _time.GetElapsedTime(started, ended).TotalSeconds);
            lock (_state)
            {
                _notBefore = ended + (long)(pause * _time.TimestampFrequency);
            }
        }
    }
}
