namespace LoraNotebooks.Interactive;

/// <summary>The loss of a training run: raw and smoothed, the learning rate on the right axis, dotted lines where epochs end.</summary>
public sealed class LossChart : RichDisplay
{
    /// <summary>The smoothing of <see cref="Smoothing"/> where none is given: 0.95, an average over about the last 20 steps.</summary>
    public const double DefaultSmoothing = 0.95;

    private readonly LineChart _chart;

    /// <summary>A chart of series of equal length.</summary>
    /// <param name="steps">Step numbers, ascending.</param>
    /// <param name="losses">The loss of each step.</param>
    /// <param name="learningRates">The learning rate of each step; none leaves the right axis out.</param>
    /// <param name="epochEnds">The last step of each epoch; default none.</param>
    /// <param name="smoothing">β of the exponential moving average, in [0, 1).</param>
    public LossChart(
        IReadOnlyList<double> steps,
        IReadOnlyList<double> losses,
        IReadOnlyList<double>? learningRates = null,
        IReadOnlyList<double>? epochEnds = null,
        double smoothing = DefaultSmoothing)
    {
        if (smoothing is not (>= 0 and < 1))
        {
            throw new ArgumentOutOfRangeException(nameof(smoothing), smoothing, "The smoothing is a share of the past: give a number from 0 (none) to below 1, such as 0.95.");
        }

        Smoothing = smoothing;
        Smoothed = Series.Smooth(losses, smoothing);
        List<ChartSeries> series =
        [
            new("loss", steps, losses) { IsFaint = true, Colour = Look.Accent },
            new("loss, smoothed", steps, Smoothed) { Colour = Look.Accent },
        ];
        if (learningRates is { Count: > 0 })
        {
            series.Insert(0, new("learning rate", steps, learningRates) { OnSecondAxis = true, Colour = Look.Second });
        }

        _chart = new LineChart(series)
        {
            XTitle = "step",
            YTitle = "loss",
            SecondTitle = "learning rate",
            Marks = [.. (epochEnds ?? []).Select((step, i) => new ChartMark(step, $"epoch {i + 1}"))],
        };
    }

    /// <summary>A chart of losses at steps 1, 2, 3, ….</summary>
    public LossChart(IReadOnlyList<double> losses, double smoothing = DefaultSmoothing)
        : this([.. Enumerable.Range(1, losses.Count).Select(i => (double)i)], losses, smoothing: smoothing)
    {
    }

    /// <summary>β of the exponential moving average.</summary>
    public double Smoothing { get; }

    /// <summary>The smoothed loss of each step.</summary>
    public IReadOnlyList<double> Smoothed { get; }

    /// <summary>The chart that is drawn.</summary>
    public LineChart Chart => _chart;

    /// <inheritdoc/>
    public override Html ToHtml() => _chart.ToHtml();

    /// <inheritdoc/>
    public override string ToText() => _chart.ToText();

    /// <inheritdoc/>
    public override MimeBundle ToMimeBundle() => _chart.ToMimeBundle();
}
