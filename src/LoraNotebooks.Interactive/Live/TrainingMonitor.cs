using LoraNotebooks.Training;

namespace LoraNotebooks.Interactive;

/// <summary>
/// Follows a training run live: progress with the time left, the loss chart, and the samples of each epoch as they come.
/// </summary>
/// <remarks>
/// Three outputs, each updated at most four times a second: figures, chart, samples. Hand the monitor to the trainer as its progress and
/// dispose it, best with <c>using</c>: the final state, with the whole chart, is then shown exactly once, also after an exception or a stop.
/// Reports may come from any thread and never wait for a drawing, except for the first.
/// </remarks>
/// <example><code>
/// using var monitor = new TrainingMonitor("mika");
/// using var result = new LoraTrainer { Samples = monitor }.Train(config, pipeline, dataset, monitor);
/// </code></example>
public sealed class TrainingMonitor : RichDisplay, IProgress<TrainingStep>, IProgress<TrainingSample>, IDisposable
{
    private readonly Lock _gate = new();
    private readonly LiveDisplay _figures;
    private readonly LiveDisplay _chart;
    private readonly LiveDisplay _strip;
    private readonly string _title;
    private readonly List<TrainingStep> _steps = [];
    private readonly List<TrainingSample> _samples = [];
    private RunState _state;
    private string? _fault;
    private bool _isComplete;

    /// <summary>A monitor on the current host; its outputs appear with the first report.</summary>
    /// <param name="title">Stands over the figures.</param>
    /// <param name="time">The clock; default the system's.</param>
    public TrainingMonitor(string title = "Training", TimeProvider? time = null)
    {
        var host = NotebookHost.Current;
        time ??= TimeProvider.System;
        _title = title;
        _figures = new(host, _ => Figures().ToMimeBundle(), time);
        _chart = new(host, isFinal => isFinal ? Chart().ToMimeBundle() : Chart().Chart.ToMimeBundle(scale: 1).With(MimeTypes.PlainText, ""), time);
        _strip = new(host, _ => Strip().ToMimeBundle(), time);
    }

    /// <summary>Takes in a step.</summary>
    public void Report(TrainingStep value)
    {
        bool isFirst;
        lock (_gate)
        {
            if (_isComplete)
            {
                return;
            }

            isFirst = _steps.Count == 0;
            _steps.Add(value);
        }

        _figures.Invalidate();
        _chart.Invalidate();
        if (isFirst && Has(_samples))
        {
            _strip.Invalidate();
        }
    }

    /// <summary>Takes in a sample picture.</summary>
    public void Report(TrainingSample value)
    {
        lock (_gate)
        {
            if (_isComplete)
            {
                return;
            }

            _samples.Add(value);
        }

        // Samples drawn before the first step wait for it, so that they stand under the chart.
        _figures.Invalidate();
        if (Has(_steps))
        {
            _strip.Invalidate();
        }
    }

    /// <summary>Ends the run in good order: shows the final state. Reports that come later are ignored.</summary>
    public void Complete() => Complete(null);

    /// <summary>Ends the run because of a fault, whose message is shown.</summary>
    public void Fail(Exception fault)
    {
        ArgumentNullException.ThrowIfNull(fault);
        Complete(fault is OperationCanceledException ? null : fault.Message);
    }

    /// <summary>Ends the run; where steps are missing it shows that the run was stopped.</summary>
    public void Dispose() => Complete(null);

    /// <inheritdoc/>
    protected internal override Html Draw() => Html.Concat([Figures().Draw(), .. Has(_steps) ? [Chart().Draw()] : Array.Empty<Html>(), .. Has(_samples) ? [Strip().Draw()] : Array.Empty<Html>()]);

    /// <inheritdoc/>
    public override string ToText() => Figures().ToText();

    private void Complete(string? fault)
    {
        lock (_gate)
        {
            if (_isComplete)
            {
                return;
            }

            _isComplete = true;
            _fault = fault;
            _state = fault is not null ? RunState.Failed
                : _steps.Count > 0 && _steps[^1].Step >= _steps[^1].TotalSteps ? RunState.Finished
                : RunState.Stopped;
        }

        _figures.Complete();
        if (Has(_steps))
        {
            _chart.Complete();
        }

        if (Has(_samples))
        {
            _strip.Complete();
        }
    }

    private TrainingProgress Figures()
    {
        lock (_gate)
        {
            return new() { Title = _title, State = _state, Fault = _fault, Last = _steps.Count > 0 ? _steps[^1] : null };
        }
    }

    private LossChart Chart()
    {
        TrainingStep[] steps;
        lock (_gate)
        {
            steps = [.. _steps];
        }

        return new(steps);
    }

    private SampleStrip Strip()
    {
        lock (_gate)
        {
            return new([.. _samples]);
        }
    }

    private bool Has<T>(List<T> list)
    {
        lock (_gate)
        {
            return list.Count > 0;
        }
    }
}
