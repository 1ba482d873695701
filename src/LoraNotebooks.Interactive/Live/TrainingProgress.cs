namespace LoraNotebooks.Interactive;

/// <summary>How a training run stands.</summary>
internal enum TrainingState
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

/// <summary>The figures over a running training: bar, step, epoch, loss, learning rate, speed, time left.</summary>
internal sealed class TrainingProgress : RichDisplay
{
    /// <summary>The title.</summary>
    public required string Title { get; init; }

    /// <summary>How the run stands.</summary>
    public TrainingState State { get; init; }

    /// <summary>Why the run failed, if it did.</summary>
    public string? Fault { get; init; }

    /// <summary>Steps done.</summary>
    public int Step { get; init; }

    /// <summary>All steps.</summary>
    public int Steps { get; init; }

    /// <summary>The running epoch, from 1.</summary>
    public int Epoch { get; init; }

    /// <summary>All epochs.</summary>
    public int Epochs { get; init; }

    /// <summary>The smoothed loss.</summary>
    public double Loss { get; init; }

    /// <summary>The learning rate.</summary>
    public double LearningRate { get; init; }

    /// <summary>Steps per second; 0 while unknown.</summary>
    public double Speed { get; init; }

    /// <summary>Time since the run began.</summary>
    public TimeSpan Elapsed { get; init; }

    private double Share => Steps > 0 ? (double)Step / Steps : 0;

    private string Word => State switch
    {
        TrainingState.Running => "running",
        TrainingState.Finished => "finished",
        TrainingState.Failed => "failed",
        _ => "stopped",
    };

    private string Colour => State switch
    {
        TrainingState.Running => Look.Accent,
        TrainingState.Finished => Look.Good,
        TrainingState.Failed => Look.Bad,
        _ => Look.Second,
    };

    /// <inheritdoc/>
    public override Html ToHtml()
    {
        (string Name, string Value)[] figures =
        [
            ("step", $"{Numbers.Count(Step)} of {Numbers.Count(Steps)}"),
            ("epoch", $"{Epoch} of {Epochs}"),
            ("loss, smoothed", Numbers.Short(Loss)),
            ("learning rate", Numbers.Short(LearningRate)),
            ("speed", Speed > 0 ? $"{Numbers.Short(Math.Round(Speed, 2))} steps/s" : "–"),
            ("elapsed", Numbers.Time(Elapsed)),
            .. State == TrainingState.Running ? [("left", Left)] : Array.Empty<(string, string)>(),
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
            Look.Grid(Look.Tr(cells)),
            Fault is null ? Html.Empty : Html.Element("div", [("style", $"margin-top:8px;color:{Look.Bad};white-space:pre-wrap")], Fault));
    }

    /// <inheritdoc/>
    /// <remarks>While the run goes on the text changes at every tenth only, so that a terminal is not flooded.</remarks>
    public override string ToText() => State == TrainingState.Running
        ? $"{Title}: {10 * (int)(10 * Share)} % of {Steps} steps"
        : $"{Title}: {Word} at step {Step} of {Steps} after {Numbers.Time(Elapsed)}, smoothed loss {Numbers.Short(Loss)}{(Fault is null ? "" : $": {Fault}")}";

    private string Left => Speed > 0 ? Numbers.Time(TimeSpan.FromSeconds((Steps - Step) / Speed)) : "–";
}
