using LoraNotebooks.Training;

namespace LoraNotebooks.Interactive;

/// <summary>
/// The loss of a training run: raw and smoothed, other losses that the task noted, the learning rates on the right axis, dotted lines where epochs end.
/// </summary>
public sealed class LossChart : RichDisplay
{
    /// <summary>β of the moving average where none is given: 0.95, an average over about the last 20 steps.</summary>
    public const double DefaultSmoothing = 0.95;

    /// <summary>The raw series' name.</summary>
    internal const string LossName = "loss";

    /// <summary>The moving average's name.</summary>
    internal const string SmoothedName = "loss, smoothed";

    /// <summary>The learning rate's name where there is one only.</summary>
    internal const string RateName = "learning rate";

    private static readonly string[] Colours = [Look.Second, Look.Third, Look.Good, Look.Bad, "#2aa5a5"];

    private readonly LineChart _chart;

    /// <summary>A chart of series of equal length.</summary>
    /// <param name="steps">Step numbers, ascending.</param>
    /// <param name="losses">The loss of each step.</param>
    /// <param name="learningRates">The learning rate of each step; none leaves the right axis out.</param>
    /// <param name="epochEnds">The last step of each epoch; default none.</param>
    /// <param name="smoothing">β of the exponential moving average, in [0, 1).</param>
    /// <exception cref="ArgumentOutOfRangeException">A smoothing outside [0, 1).</exception>
    public LossChart(
        IReadOnlyList<double> steps,
        IReadOnlyList<double> losses,
        IReadOnlyList<double>? learningRates = null,
        IReadOnlyList<double>? epochEnds = null,
        double smoothing = DefaultSmoothing)
        : this(
            new(LossName, steps, losses),
            new(SmoothedName, steps, Series.Smooth(losses, Checked(smoothing))),
            [],
            learningRates is { Count: > 0 } ? [new(RateName, steps, learningRates)] : [],
            [.. (epochEnds ?? []).Select((step, i) => new ChartMark(step, $"epoch {i + 1}"))])
    {
    }

    /// <summary>A chart of losses at steps 1, 2, 3, ….</summary>
    public LossChart(IReadOnlyList<double> losses, double smoothing = DefaultSmoothing)
        : this([.. Enumerable.Range(1, losses.Count).Select(i => (double)i)], losses, smoothing: smoothing)
    {
    }

    /// <summary>
    /// The chart of a training run, with the run's own moving average, the losses that its task noted and the learning rates of all networks.
    /// </summary>
    public LossChart(IReadOnlyList<TrainingStep> steps)
        : this([.. steps.Select(s => (double)s.Step)], steps)
    {
    }

    /// <summary>A chart of series that were made elsewhere, each with positions of its own.</summary>
    internal LossChart(
        ChartSeries losses,
        ChartSeries smoothed,
        IReadOnlyList<ChartSeries> others,
        IReadOnlyList<ChartSeries> rates,
        IReadOnlyList<ChartMark> epochs)
    {
        Smoothed = smoothed.Y;
        _chart = new LineChart(
        [
            .. rates.Select(static (rate, i) => rate with { OnSecondAxis = true, Colour = Colours[i % Colours.Length] }),
            .. others.Select((other, i) => other with { Colour = Colours[(rates.Count + i) % Colours.Length] }),
            losses with { IsFaint = true, Colour = Look.Accent },
            smoothed with { Colour = Look.Accent },
        ])
        {
            XTitle = "step",
            YTitle = "loss",
            SecondTitle = "learning rate",
            Marks = epochs,
        };
    }

    private LossChart(double[] positions, IReadOnlyList<TrainingStep> steps)
        : this(
            new(LossName, positions, [.. steps.Select(s => s.Loss)]),
            new(SmoothedName, positions, [.. steps.Select(s => s.SmoothedLoss)]),
            [.. LossNames(steps).Select(name => Noted(name, [.. steps.Where(s => s.Metrics.ContainsKey(name))]))],
            [.. RateNames(steps)
                .Select(name => new ChartSeries(
                    name.Shown,
                    positions,
                    [.. steps.Select(s => s.LearningRates.TryGetValue(name.Name, out var rate) ? rate : double.NaN)]))],
            [.. steps.Where((s, i) => i + 1 < steps.Count ? steps[i + 1].Epoch > s.Epoch : s.Step == s.TotalSteps).Select(EpochEnd)])
    {
    }

    /// <summary>The smoothed loss of each step.</summary>
    public IReadOnlyList<double> Smoothed { get; }

    /// <summary>The chart that is drawn.</summary>
    public LineChart Chart => _chart;

    /// <inheritdoc/>
    protected internal override Html Draw() => _chart.Draw();

    /// <inheritdoc/>
    public override string ToText() => _chart.ToText();

    /// <inheritdoc/>
    public override MimeBundle ToMimeBundle() => _chart.ToMimeBundle();

    /// <summary>What stands for the chart while the run goes on.</summary>
    internal MimeBundle ToLiveBundle() => _chart.ToLiveBundle("the loss so far");

    /// <summary>The mark of an epoch whose last step this is.</summary>
    internal static ChartMark EpochEnd(TrainingStep last) => new(last.Step, $"epoch {last.Epoch}");

    private static double Checked(double smoothing) => smoothing is >= 0 and < 1
        ? smoothing
        : throw new ArgumentOutOfRangeException(
            nameof(smoothing),
            smoothing,
            "The smoothing is the share of the past: give a number from 0 (none) to below 1, such as 0.95.");

    /// <summary>Whether a number that a task noted is drawn beside the loss.</summary>
    internal static bool IsLoss(string metric) => metric.EndsWith("loss", StringComparison.Ordinal);

    /// <summary>What the rates are called, and how the chart calls them: the first one says what they are, and one alone needs no name.</summary>
    internal static IReadOnlyList<(string Name, string Shown)> RateNames(IEnumerable<TrainingStep> steps)
    {
        string[] names = [.. steps.SelectMany(static step => step.LearningRates.Keys).Distinct()];
        return [.. names.Select((name, i) => (name, names.Length == 1 ? RateName : i == 0 ? $"{RateName}, {name}" : name))];
    }

    /// <summary>A number that a task noted at some steps; a line joins them over the others.</summary>
    private static ChartSeries Noted(string name, IReadOnlyList<TrainingStep> steps) =>
        new(name, [.. steps.Select(static s => (double)s.Step)], [.. steps.Select(s => s.Metrics[name])]);

    private static IEnumerable<string> LossNames(IReadOnlyList<TrainingStep> steps) =>
        steps.SelectMany(static step => step.Metrics.Keys).Distinct().Where(IsLoss);
}
