using LoraNotebooks.Training;

namespace LoraNotebooks.Interactive;

/// <summary>
/// Follows a training run live: progress with the time left, the loss chart, and the samples of each epoch as they come.
/// </summary>
/// <remarks>
/// Three outputs: figures, chart, samples. Figures and chart are final with the last step of the run, the samples at the end,
/// since those of the last epoch are drawn after its last step. A stop keeps what was learnt.
/// </remarks>
/// <example><code>
/// var result = new TrainingMonitor("mika").Follow(monitor =>
///     new LoraTrainer { Samples = monitor }.Train(config, pipeline, dataset, monitor, monitor.Cancellation));
/// </code></example>
public sealed class TrainingMonitor : LiveMonitor, IProgress<TrainingStep>, IProgress<TrainingSample>
{
    private readonly LiveDisplay _figures;
    private readonly LiveDisplay _chart;
    private readonly LiveDisplay _strip;
    private readonly List<TrainingStep> _steps = [];
    private readonly List<TrainingSample> _samples = [];
    private readonly GrowingLossChart _growing = new();
    private readonly BriefImages _brief = new();

    /// <summary>A monitor on the current host; its outputs appear with the work that it follows, at the latest with the first report.</summary>
    /// <param name="title">Stands over the figures.</param>
    /// <param name="time">The clock; default the system's.</param>
    public TrainingMonitor(string title = "Training", TimeProvider? time = null)
        : base(title, time)
    {
        _figures = AddOutput(_ => Figures().ToMimeBundle(), share: 0.1);
        _chart = AddOutput(isFinal => isFinal ? Chart().ToMimeBundle() : GrowingChart().ToLiveBundle(), share: 0.7);
        _strip = AddOutput(isFinal => Strip(isFinal ? null : _brief).ToMimeBundle(), share: 0.2);
    }

    /// <inheritdoc/>
    private protected override bool IsWhole => _steps.Count > 0 && _steps[^1].Step >= _steps[^1].TotalSteps;

    /// <summary>Takes in a step.</summary>
    public void Report(TrainingStep value)
    {
        ArgumentNullException.ThrowIfNull(value);
        bool isFirst, isLast;
        lock (Gate)
        {
            if (!IsOpen)
            {
                return;
            }

            isFirst = _steps.Count == 0;
            _steps.Add(value);
            _growing.Add(value);
            isLast = IsWhole;
        }

        if (isLast)
        {
            Settle();
            _figures.Complete();
            _chart.Complete();
        }
        else
        {
            _figures.Invalidate();
            _chart.Invalidate();
        }

        if (isFirst && Has(_samples))
        {
            _strip.Invalidate();
        }
    }

    /// <summary>Takes in a sample picture.</summary>
    public void Report(TrainingSample value)
    {
        ArgumentNullException.ThrowIfNull(value);
        lock (Gate)
        {
            if (IsOver)
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

    /// <inheritdoc/>
    protected internal override Html Draw() => Html.Concat(
    [
        Figures().Draw(),
        .. Has(_steps) ? [Chart().Draw()] : Array.Empty<Html>(),
        .. Has(_samples) ? [Strip(null).Draw()] : Array.Empty<Html>(),
    ]);

    /// <inheritdoc/>
    public override string ToText() => Figures().ToText();

    /// <inheritdoc/>
    private protected override void ShowEnd()
    {
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
        lock (Gate)
        {
            return new() { Title = Title, State = State, Fault = Fault, Last = _steps.Count > 0 ? _steps[^1] : null };
        }
    }

    private LossChart Chart()
    {
        lock (Gate)
        {
            return new([.. _steps]);
        }
    }

    private LossChart GrowingChart()
    {
        lock (Gate)
        {
            return _growing.ToChart();
        }
    }

    private SampleStrip Strip(BriefImages? brief)
    {
        lock (Gate)
        {
            return new([.. _samples], brief);
        }
    }

    private bool Has<T>(List<T> list)
    {
        lock (Gate)
        {
            return list.Count > 0;
        }
    }
}
