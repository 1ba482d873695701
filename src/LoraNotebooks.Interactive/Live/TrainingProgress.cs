using LoraNotebooks.Training;

namespace LoraNotebooks.Interactive;

/// <summary>The figures of a training run: bar, step, epoch, loss, what the task noted, learning rate, gradient norm, speed, time left.</summary>
internal sealed class TrainingProgress : RichDisplay
{
    /// <summary>The title.</summary>
    public required string Title { get; init; }

    /// <summary>How the run stands.</summary>
    public RunState State { get; init; }

    /// <summary>Why the run failed, if it did.</summary>
    public string? Fault { get; init; }

    /// <summary>The last step, if one was done.</summary>
    public TrainingStep? Last { get; init; }

    private double Share => Last is { TotalSteps: > 0 } ? (double)Last.Step / Last.TotalSteps : 0;

    /// <inheritdoc/>
    protected internal override Html Draw()
    {
        (string Name, string Value)[] figures = Last is null
            ? []
            :
            [
                ("step", $"{Numbers.Count(Last.Step)} of {Numbers.Count(Last.TotalSteps)}"),
                ("epoch", $"{Last.Epoch} of {Last.TotalEpochs}"),
                ("loss, smoothed", Numbers.Short(Last.SmoothedLoss)),
                .. Last.Metrics.Select(static metric => (metric.Key, Numbers.Short(metric.Value))),
                ("learning rate", Numbers.Short(Last.LearningRates.Values.First())),
                ("gradient norm", Numbers.Short(Last.GradientNorm)),
                ("speed", $"{Numbers.Short(Math.Round(Last.ExamplesPerSecond, 1))} {Last.Unit}s/s"),
                ("elapsed", Numbers.Time(Last.Seconds)),
                .. IsGoingOn ? [("left", Numbers.Time(Last.SecondsLeft))] : Array.Empty<(string, string)>(),
            ];
        return ProgressPanel.Of(Title, State, Share, figures, Fault);
    }

    /// <inheritdoc/>
    /// <remarks>While the run goes on the text changes at every tenth only, so that a terminal is not flooded.</remarks>
    public override string ToText() => (IsGoingOn, Last) switch
    {
        (true, null) => $"{Title}: starting",
        (true, { } last) => $"{Title}: {10 * (int)(10 * Share)} % of {last.TotalSteps} steps",
        (_, null) => $"{Title}: {Word} before the first step{Reason}",
        (_, { } last) => $"{Title}: {Word} at step {last.Step} of {last.TotalSteps} after {Numbers.Time(last.Seconds)}, "
            + $"smoothed loss {Numbers.Short(last.SmoothedLoss)}{Reason}",
    };

    private bool IsGoingOn => ProgressPanel.IsGoingOn(State);

    private string Word => ProgressPanel.Word(State);

    private string Reason => Fault is null ? "" : $": {Fault}";
}
