namespace LoraNotebooks.Interactive;

/// <summary>The head of every monitor: title, how the work stands, a bar, figures, and the fault if there was one.</summary>
internal static class ProgressPanel
{
    private static readonly (string Live, string Stored)[] Chips = [.. new[] { RunState.Running, RunState.Stopping }
        .Select(state => (Chip(state, Word(state)).ToString(), Chip(state, MimeBundle.WhenSaved).ToString()))];

    /// <summary>The panel.</summary>
    /// <param name="title">What is going on.</param>
    /// <param name="state">How it stands.</param>
    /// <param name="share">The part that is done, from 0 to 1.</param>
    /// <param name="figures">Names and values under the bar; may be empty.</param>
    /// <param name="fault">Why it failed, if it did.</param>
    public static Html Of(string title, RunState state, double share, IReadOnlyList<(string Name, string Value)> figures, string? fault)
    {
        var cells = figures.Select(f => Look.Td(
            Html.Concat(
            [
                Html.Element("div", [("style", "font-size:11px;opacity:0.68")], f.Name),
                Html.Element("div", [("style", "font-weight:600;font-variant-numeric:tabular-nums;white-space:nowrap")], f.Value),
            ]),
            style: Look.FlowCell("8px 26px 0 0")));
        return Look.Page(
            null,
            null,
            Html.Element("div", [("style", "margin:0 0 7px 0")],
                Html.Element("b", [("style", "font-size:14px;font-weight:600;margin-right:10px")], title),
                " ",
                IsGoingOn(state) ? Chip(state, Word(state)) : Look.Chip(Word(state), Colour(state)),
                " ",
                // Rounded down: 100 % is said when all is done, never before.
                Look.Quiet(Numbers.Percent(Math.Floor(1000 * share) / 1000))),
            Look.Bar(share, LineChart.Width, 8, Colour(state)),
            figures.Count == 0 ? Html.Empty : Look.Flow([cells]),
            fault is null ? Html.Empty : Html.Element("div", [("style", $"margin-top:8px;color:{Look.Bad};white-space:pre-wrap")], fault));
    }

    /// <summary>A panel's markup with <see cref="MimeBundle.WhenSaved"/> in the place of a state that does not last.</summary>
    /// <remarks>Text of a title or a caption is escaped and cannot be taken for the state.</remarks>
    public static string Stored(string html) => Chips.Aggregate(html, (kept, chip) => kept.Replace(chip.Live, chip.Stored, StringComparison.Ordinal));

    /// <summary>Whether the work has not ended.</summary>
    public static bool IsGoingOn(RunState state) => state is RunState.Running or RunState.Stopping;

    /// <summary>The state in a word.</summary>
    public static string Word(RunState state) => state switch
    {
        RunState.Running => "running",
        RunState.Stopping => "stopping",
        RunState.Finished => "finished",
        RunState.Failed => "failed",
        _ => "stopped",
    };

    // The page's script finds it by its attribute, and says what the kernel says.
    private static Html Chip(RunState state, string text) =>
        Html.Element("span", [("role", "status"), ("data-lora-state", Word(state))], Look.Chip(text, Colour(state)));

    private static string Colour(RunState state) => state switch
    {
        RunState.Running => Look.Accent,
        RunState.Finished => Look.Good,
        RunState.Failed => Look.Bad,
        _ => Look.Second,
    };
}
