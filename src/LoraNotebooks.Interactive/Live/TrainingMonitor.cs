using LoraNotebooks.Data;

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
/// var result = trainer.Train(config, pipeline, dataset, monitor);
/// </code></example>
public sealed class TrainingMonitor : RichDisplay, IDisposable
{
    private const int SpeedWindow = 50;

    private readonly Lock _gate = new();
    private readonly TimeProvider _time;
    private readonly LiveDisplay _figures;
    private readonly LiveDisplay _chart;
    private readonly LiveDisplay _strip;
    private readonly string _title;
    private readonly double _smoothing;
    private readonly List<double> _steps = [];
    private readonly List<double> _losses = [];
    private readonly List<double> _rates = [];
    private readonly List<double> _epochEnds = [];
    private readonly List<(int Epoch, string Prompt, RgbImage Image)> _samples = [];
    private readonly Queue<(int Step, long At)> _recent = [];
    private (int Step, int Steps, int Epoch, int Epochs) _at;
    private long _started;
    private long _latest;
    private TrainingState _state;
    private string? _fault;
    private bool _isComplete;

    /// <summary>A monitor on the current host; its outputs appear with the first report.</summary>
    /// <param name="title">Stands over the figures.</param>
    /// <param name="smoothing">β of the loss's exponential moving average.</param>
    /// <param name="time">The clock; default the system's.</param>
    public TrainingMonitor(string title = "Training", double smoothing = LossChart.DefaultSmoothing, TimeProvider? time = null)
    {
        var host = NotebookHost.Current;
        _title = title;
        _smoothing = smoothing;
        _time = time ?? TimeProvider.System;
        _figures = new(host, _ => Figures().ToMimeBundle(), _time);
        _chart = new(host, isFinal => isFinal ? Chart().ToMimeBundle() : Chart().Chart.ToMimeBundle(scale: 1).With(MimeTypes.PlainText, ""), _time);
        _strip = new(host, _ => Strip().ToMimeBundle(), _time);
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
    public override Html ToHtml() => Html.Concat([Figures().ToHtml(), .. Has(_steps) ? [Chart().ToHtml()] : Array.Empty<Html>(), .. Has(_samples) ? [Strip().ToHtml()] : Array.Empty<Html>()]);

    /// <inheritdoc/>
    public override string ToText() => Figures().ToText();

    internal void Add(int step, int steps, int epoch, int epochs, double loss, double learningRate)
    {
        lock (_gate)
        {
            if (_isComplete)
            {
                return;
            }

            _latest = _time.GetTimestamp();
            if (_steps.Count == 0)
            {
                _started = _latest;
            }
            else if (epoch > _at.Epoch)
            {
                _epochEnds.Add(_at.Step);
            }

            _steps.Add(step);
            _losses.Add(loss);
            _rates.Add(learningRate);
            _at = (step, steps, epoch, epochs);
            _recent.Enqueue((step, _latest));
            if (_recent.Count > SpeedWindow)
            {
                _recent.Dequeue();
            }
        }

        _figures.Invalidate();
        _chart.Invalidate();
    }

    internal void Add(int epoch, string prompt, RgbImage image)
    {
        lock (_gate)
        {
            if (_isComplete)
            {
                return;
            }

            _samples.Add((epoch, prompt, image));
        }

        _strip.Invalidate();
    }

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
            _state = fault is not null ? TrainingState.Failed : _at.Steps > 0 && _at.Step >= _at.Steps ? TrainingState.Finished : TrainingState.Stopped;
            if (_at.Step == _at.Steps && _steps.Count > 0)
            {
                _epochEnds.Add(_at.Step);
            }
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
            var smoothed = Series.Smooth(_losses, _smoothing);
            var seconds = _recent.Count > 1 ? _time.GetElapsedTime(_recent.Peek().At, _latest).TotalSeconds : 0;
            return new()
            {
                Title = _title,
                State = _state,
                Fault = _fault,
                Step = _at.Step,
                Steps = _at.Steps,
                Epoch = _at.Epoch,
                Epochs = _at.Epochs,
                Loss = smoothed.Length > 0 ? smoothed[^1] : double.NaN,
                LearningRate = _rates.Count > 0 ? _rates[^1] : double.NaN,
                Speed = seconds > 0 ? (_at.Step - _recent.Peek().Step) / seconds : 0,
                Elapsed = _steps.Count > 0 ? _time.GetElapsedTime(_started, _latest) : TimeSpan.Zero,
            };
        }
    }

    private LossChart Chart()
    {
        lock (_gate)
        {
            return new([.. _steps], [.. _losses], [.. _rates], [.. _epochEnds], _smoothing);
        }
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
