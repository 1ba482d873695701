using LoraNotebooks.Training;

namespace LoraNotebooks.Interactive;

/// <summary>How a training run stands.</summary>
internal enum RunState
{
    /// <summary>Steps are coming.</summary>
    Running,

    /// <summary>All steps were done.</summary>
    Finished,

    /// <summary>The run ended before its last step.</summary>
    Stopped,

    /// <summary>An exception ended the run.</summary>
    Failed,
}

/// <summary>The figures of a training run: bar, step, epoch, loss, learning rate, gradient norm, speed, time left.</summary>
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

    private string Word => State switch
    {
        RunState.Running => "running",
        RunState.Finished => "finished",
        RunState.Failed => "failed",
        _ => "stopped",
    };

    private string Colour => State switch
    {
        RunState.Running => Look.Accent,
        RunState.Finished => Look.Good,
        RunState.Failed => Look.Bad,
        _ => Look.Second,
    };

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
                ("learning rate", Numbers.Short(Last.UNetLearningRate)),
                ("gradient norm", Numbers.Short(Last.GradientNorm)),
                ("speed", $"{Numbers.Short(Math.Round(Last.ImagesPerSecond, 1))} images/s"),
                ("elapsed", Numbers.Time(Last.Seconds)),
                .. State == RunState.Running ? [("left", Numbers.Time(Last.SecondsLeft))] : Array.Empty<(string, string)>(),
            ];
        var cells = figures.Select(f => Look.Td(
            Html.Concat([Html.Element("div", [("style", "font-size:11px;opacity:0.68")], f.Name), Html.Element("div", [("style", "font-weight:600;font-variant-numeric:tabular-nums;white-space:nowrap")], f.Value)]),
            style: "padding:8px 26px 0 0"));
        return Look.Page(
            null,
            null,
            Html.Element("div", [("style", "margin:0 0 7px 0")],
                Html.Element("b", [("style", "font-size:14px;font-weight:600;margin-right:10px")], Title),
                " ",
                Look.Chip(Word, Colour),
                " ",
                Look.Quiet(Numbers.Percent(Math.Floor(1000 * Share) / 1000))),
            Look.Bar(Share, LineChart.Width, 8, Colour),
            Last is null ? Html.Empty : Look.Grid(Look.Tr(cells)),
            Fault is null ? Html.Empty : Html.Element("div", [("style", $"margin-top:8px;color:{Look.Bad};white-space:pre-wrap")], Fault));
    }

    /// <inheritdoc/>
    /// <remarks>While the run goes on the text changes at every tenth only, so that a terminal is not flooded.</remarks>
    public override string ToText() => (State, Last) switch
    {
        (RunState.Running, null) => $"{Title}: starting",
        (RunState.Running, { } last) => $"{Title}: {10 * (int)(10 * Share)} % of {last.TotalSteps} steps",
        (_, null) => $"{Title}: {Word} before the first step{Reason}",
        (_, { } last) => $"{Title}: {Word} at step {last.Step} of {last.TotalSteps} after {Numbers.Time(last.Seconds)}, smoothed loss {Numbers.Short(last.SmoothedLoss)}{Reason}",
    };

    private string Reason => Fault is null ? "" : $": {Fault}";
}
