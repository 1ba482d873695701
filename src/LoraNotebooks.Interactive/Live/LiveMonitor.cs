namespace LoraNotebooks.Interactive;

/// <summary>
/// Follows work while it goes on and shows how it stands in the output of the cell that made the monitor; the base of
/// <see cref="TrainingMonitor"/>, <see cref="XyzMonitor"/> and <see cref="PreparationMonitor"/>.
/// </summary>
/// <remarks>
/// Reports may come from any thread and never wait for a drawing, except for the first. Drawing takes at most a hundredth of one core,
/// at most four times a second. The end is shown exactly once, also after an exception or a stop:
/// <see cref="LiveMonitorExtensions.Follow"/> sees to it, or <see cref="Dispose"/>.
/// </remarks>
public abstract class LiveMonitor : RichDisplay, IDisposable
{
    private readonly INotebookHost _host = NotebookHost.Current;
    private readonly TimeProvider _time;
    private readonly long _started;
    private readonly CancellationTokenSource _stop = new();
    private readonly CancellationTokenRegistration _cellStops;
    private readonly CancellationTokenRegistration _redraw;
    private readonly StopOffer? _offer;
    private readonly List<LiveDisplay> _outputs = [];
    private RunState _state;
    private string? _fault;
    private long? _settled;
    private bool _isOver;

    private protected LiveMonitor(string title, TimeProvider? time)
    {
        ArgumentNullException.ThrowIfNull(title);
        Title = title;
        _time = time ?? TimeProvider.System;
        _started = _time.GetTimestamp();
        _cellStops = _host.Cancellation.UnsafeRegister(static source => ((CancellationTokenSource)source!).Cancel(), _stop);
        _redraw = _stop.Token.UnsafeRegister(static monitor => ((LiveMonitor)monitor!).ShowStopping(), this);
        _offer = _host.OfferStop(_stop.Cancel);
    }

    /// <summary>Stands over the figures.</summary>
    public string Title { get; }

    /// <summary>
    /// Hand it to the work: it is cancelled when the cell is asked to stop, or when the reader presses the Stop button
    /// that the page shows where the host has a way back from it.
    /// </summary>
    public CancellationToken Cancellation => _stop.Token;

    /// <summary>The time that drawing has taken so far, the final drawings apart.</summary>
    internal TimeSpan DrawingTime => _outputs.Aggregate(TimeSpan.Zero, (sum, output) => sum + output.DrawingTime);

    /// <summary>Guards what reports change.</summary>
    private protected Lock Gate { get; } = new();

    /// <summary>How the work stands.</summary>
    private protected RunState State => _state == RunState.Running && _stop.IsCancellationRequested ? RunState.Stopping : _state;

    /// <summary>Why the work failed, if it did.</summary>
    private protected string? Fault => _fault;

    /// <summary>Whether reports still count. Asked under the gate.</summary>
    private protected bool IsOpen => !_isOver && _state == RunState.Running;

    /// <summary>Whether the end was shown. Asked under the gate.</summary>
    private protected bool IsOver => _isOver;

    /// <summary>The time since the monitor was made, until the work ended. Asked under the gate.</summary>
    private protected TimeSpan Elapsed => _time.GetElapsedTime(_started, _settled ?? _time.GetTimestamp());

    /// <summary>Whether all of the work has been reported. Asked under the gate.</summary>
    private protected abstract bool IsWhole { get; }

    /// <summary>Ends in good order: shows the final state. Reports that come later are ignored.</summary>
    public void Complete() => End(null);

    /// <summary>Ends because of a fault, whose message is shown unless all of the work was done before; after a cancellation the work was stopped.</summary>
    public void Fail(Exception fault)
    {
        ArgumentNullException.ThrowIfNull(fault);
        End(fault is OperationCanceledException ? null : fault.Message);
    }

    /// <summary>Ends; where reports are missing it shows that the work was stopped.</summary>
    public void Dispose()
    {
        Complete();
        GC.SuppressFinalize(this);
    }

    /// <summary>Shows the first output, before any report.</summary>
    internal void Begin()
    {
        if (!_outputs[0].IsShown)
        {
            _outputs[0].Invalidate();
        }
    }

    /// <summary>Adds an output; the first one carries the Stop button.</summary>
    /// <param name="draw">Draws it; the argument says whether this is the final drawing.</param>
    /// <param name="share">Its part of the time that the monitor's outputs may take together.</param>
    private protected LiveDisplay AddOutput(Func<bool, MimeBundle> draw, double share = 1)
    {
        var isFirst = _outputs.Count == 0;
        var output = new LiveDisplay(_host, isFinal => isFinal ? draw(true) : Marked(draw(false), isFirst), _time, share * LiveDisplay.WholeShare);
        _outputs.Add(output);
        return output;
    }

    /// <summary>Seconds that the rest will take if it goes on as it went so far.</summary>
    private protected static double SecondsLeft(TimeSpan elapsed, int done, int total) => elapsed.TotalSeconds / done * (total - done);

    /// <summary>Settles how the work ended, and takes the Stop button away; the outputs may go on.</summary>
    private protected void Settle(string? fault = null)
    {
        lock (Gate)
        {
            if (_state != RunState.Running)
            {
                return;
            }

            _settled = _time.GetTimestamp();
            _fault = fault;
            _state = fault is not null ? RunState.Failed : IsWhole ? RunState.Finished : RunState.Stopped;
        }

        _offer?.Dispose();
    }

    /// <summary>Draws the final state of every output that belongs to it.</summary>
    private protected abstract void ShowEnd();

    private void End(string? fault)
    {
        lock (Gate)
        {
            if (_isOver)
            {
                return;
            }

            _isOver = true;
        }

        Settle(fault);
        _cellStops.Unregister();
        _redraw.Unregister();
        ShowEnd();
    }

    // The page can ask for the run that an output belongs to, and stop it while there is something to stop.
    private MimeBundle Marked(MimeBundle bundle, bool isFirst) => _offer is null ? bundle
        : isFirst && State == RunState.Running ? bundle.With(MimeTypes.Run, _offer.Id).With(MimeTypes.Stop, _offer.Id)
        : bundle.With(MimeTypes.Run, _offer.Id);

    // The reader sees at once that the button was heard; the work may need a moment to end.
    private void ShowStopping()
    {
        if (_outputs.Count > 0 && _outputs[0].IsShown)
        {
            _outputs[0].Invalidate();
        }
    }
}

/// <summary>Work and its monitor in one expression.</summary>
public static class LiveMonitorExtensions
{
    /// <summary>Does the work under the monitor's eyes and shows how it ended, also when it throws.</summary>
    /// <param name="monitor">The monitor; it can follow one work only.</param>
    /// <param name="work">The work, which reports to the monitor that it gets.</param>
    /// <returns>What the work gave.</returns>
    /// <example><code>
    /// var result = new XyzMonitor(grid).Follow(monitor => grid.Run(pipeline, lora, monitor, monitor.Cancellation));
    /// </code></example>
    public static TResult Follow<TMonitor, TResult>(this TMonitor monitor, Func<TMonitor, TResult> work)
        where TMonitor : LiveMonitor
    {
        ArgumentNullException.ThrowIfNull(monitor);
        ArgumentNullException.ThrowIfNull(work);
        monitor.Begin();
        try
        {
            var result = work(monitor);
            monitor.Complete();
            return result;
        }
        catch (Exception fault)
        {
            monitor.Fail(fault);
            throw;
        }
    }
}
