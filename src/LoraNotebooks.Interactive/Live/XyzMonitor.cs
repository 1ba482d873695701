using LoraNotebooks.Comparison;
using LoraNotebooks.Data;

namespace LoraNotebooks.Interactive;

/// <summary>
/// Follows a comparison live: the grid fills in place as its cells are painted, and is at the end the finished
/// <see cref="XyzGridDisplay"/>, or what was painted until a stop.
/// </summary>
/// <remarks>While it fills, large pictures are shown as small copies, each encoded once.</remarks>
/// <example><code>
/// var result = new XyzMonitor(grid, "Mika by LoRA weight").Follow(monitor => grid.Run(pipeline, lora, monitor, monitor.Cancellation));
/// </code></example>
public sealed class XyzMonitor : LiveMonitor, IProgress<XyzProgress>
{
    private readonly LiveDisplay _output;
    private readonly XyzGrid _grid;
    private readonly List<XyzCell> _cells = [];
    private readonly List<XyzFailure> _failures = [];
    private readonly BriefImages _brief = new();

    /// <summary>A monitor on the current host; the grid appears with the work that it follows, at the latest with the first report.</summary>
    /// <param name="grid">The grid that will be run.</param>
    /// <param name="title">Stands over it.</param>
    /// <param name="time">The clock; default the system's.</param>
    public XyzMonitor(XyzGrid grid, string title = "Comparison", TimeProvider? time = null)
        : base(title, time)
    {
        ArgumentNullException.ThrowIfNull(grid);
        _grid = grid;
        _output = AddOutput(isFinal => isFinal ? Final() : MimeBundle.FromText(ToText()).With(MimeTypes.Html, Growing().ToString()));
    }

    /// <inheritdoc/>
    private protected override bool IsWhole => _cells.Count + _failures.Count == _grid.Count;

    /// <summary>Takes in a cell. With the last one the display is final.</summary>
    public void Report(XyzProgress value)
    {
        ArgumentNullException.ThrowIfNull(value);
        bool isLast;
        lock (Gate)
        {
            if (!IsOpen)
            {
                return;
            }

            _cells.AddRange(value.Cell is { } cell ? [cell] : []);
            _failures.AddRange(value.Failure is { } failure ? [failure] : []);
            isLast = IsWhole;
        }

        if (isLast)
        {
            Complete();
        }
        else
        {
            _output.Invalidate();
        }
    }

    /// <inheritdoc/>
    protected internal override Html Draw() => Html.Concat([Panel(Cells().Count + Failures().Count), Display().Draw()]);

    /// <inheritdoc/>
    /// <remarks>While cells are coming the text changes at every tenth only, so that a terminal is not flooded.</remarks>
    public override string ToText()
    {
        var done = Cells().Count + Failures().Count;
        return State switch
        {
            RunState.Running or RunState.Stopping => $"{Title}: {10 * (10 * done / _grid.Count)} % of {Numbers.Of(_grid.Count, "image")}",
            RunState.Failed => $"{Title}: failed after {done} of {Numbers.Of(_grid.Count, "image")}: {Fault}",
            _ => Display().ToText(),
        };
    }

    /// <inheritdoc/>
    private protected override void ShowEnd() => _output.Complete();

    private MimeBundle Final() => State == RunState.Failed
        ? MimeBundle.FromText(ToText()).With(MimeTypes.Html, ToHtml())
        : Display().ToMimeBundle();

    private XyzGridDisplay Display() => new(new XyzResult(_grid, Cells()) { Failures = Failures() }) { Title = Title };

    private Html Growing()
    {
        var cells = Cells();
        var images = cells.ToDictionary(cell => (cell.X, cell.Y, cell.Z), cell => cell.Image);
        var failures = Failures().ToDictionary(failure => (failure.X, failure.Y, failure.Z));
        var longest = XyzGridDisplay.Longest(_grid);
        _brief.Begin();
        return Html.Concat(
        [
            Panel(cells.Count + failures.Count),
            XyzGridDisplay.Grids(_grid, (x, y, z) => images.TryGetValue((x, y, z), out var image)
                ? _brief.Of(image, XyzGridDisplay.Describe(_grid, x, y, z), longest)
                : failures.TryGetValue((x, y, z), out var failure) ? XyzGridDisplay.Failed(failure, longest)
                : Vacant(_grid.At(x, y, z), cells.FirstOrDefault()?.Image, longest)),
        ]);
    }

    // Of the size that the picture will have, so that the table does not jump.
    private static Html Vacant(XyzSettings settings, RgbImage? other, int longest) =>
        ImageTag.Vacant(settings.Width ?? other?.Width ?? longest, settings.Height ?? other?.Height ?? longest, longest);

    private Html Panel(int done)
    {
        TimeSpan elapsed;
        lock (Gate)
        {
            elapsed = Elapsed;
        }

        (string, string)[] figures =
        [
            ("images", $"{Numbers.Count(done)} of {Numbers.Count(_grid.Count)}"),
            ("elapsed", Numbers.Time(elapsed)),
            ("left", Numbers.Time(SecondsLeft(elapsed, done, _grid.Count))),
        ];
        return ProgressPanel.Of(Title, State, (double)done / _grid.Count, ProgressPanel.IsGoingOn(State) ? figures : figures[..2], Fault);
    }

    private IReadOnlyList<XyzFailure> Failures()
    {
        lock (Gate)
        {
            return [.. _failures];
        }
    }

    private IReadOnlyList<XyzCell> Cells()
    {
        lock (Gate)
        {
            return [.. _cells];
        }
    }
}
