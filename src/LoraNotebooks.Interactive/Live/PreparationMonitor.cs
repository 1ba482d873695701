using LoraNotebooks.Data;

namespace LoraNotebooks.Interactive;

/// <summary>Follows the reading or preparing of a dataset live: a bar with count, speed and time left, the present file, and the pictures made last.</summary>
/// <example><code>
/// var dataset = new PreparationMonitor("Preparing Mika").Follow(monitor => raw.Prepare(options, monitor, monitor.Cancellation));
/// </code></example>
public sealed class PreparationMonitor : LiveMonitor, IProgress<PreparationProgress>
{
    private const int MostPictures = 8;
    private const int PictureSize = 84;

    private readonly LiveDisplay _output;
    private readonly Queue<PreparedImage> _pictures = [];
    private readonly BriefImages _brief = new();
    private PreparationProgress? _last;
    private TimeSpan _lastAt;

    /// <summary>A monitor on the current host; its output appears with the work that it follows, at the latest with the first report.</summary>
    /// <param name="title">Stands over the figures.</param>
    /// <param name="time">The clock; default the system's.</param>
    public PreparationMonitor(string title = "Preparing images", TimeProvider? time = null)
        : base(title, time) => _output = AddOutput(_ => MimeBundle.FromText(ToText()).With(MimeTypes.Html, Draw(_brief).ToString()));

    /// <inheritdoc/>
    private protected override bool IsWhole => _last is { Errors: 0 } last && last.Done == last.Total;

    /// <summary>Takes in an image. With the last one, if none had errors, the display is final.</summary>
    public void Report(PreparationProgress value)
    {
        ArgumentNullException.ThrowIfNull(value);
        bool isLast;
        lock (Gate)
        {
            if (!IsOpen)
            {
                return;
            }

            (_last, _lastAt) = (value, Elapsed);
            if (value.Image is { } picture)
            {
                _pictures.Enqueue(picture);
                if (_pictures.Count > MostPictures)
                {
                    _pictures.Dequeue();
                }
            }

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
    protected internal override Html Draw() => Draw(new BriefImages());

    /// <inheritdoc/>
    /// <remarks>While images are coming the text changes at every tenth only, so that a terminal is not flooded.</remarks>
    public override string ToText()
    {
        var (state, last, _, _) = Snapshot();
        return ProgressPanel.IsGoingOn(state)
            ? last is null ? $"{Title}: starting" : $"{Title}: {10 * (int)(10 * Share(last))} % of {Numbers.Of(last.Total, "image")}"
            : $"{Title}: {ProgressPanel.Word(state)} {(last is null ? "before the first image" : $"after {Numbers.Of(last.Done, "image")} of {last.Total}")}"
                + (Fault is null ? "" : $": {Fault}");
    }

    /// <inheritdoc/>
    private protected override void ShowEnd() => _output.Complete();

    private Html Draw(BriefImages images)
    {
        var (state, last, at, pictures) = Snapshot();
        (string, string)[] figures = last is null
            ? []
            :
            [
                ("images", $"{Numbers.Count(last.Done)} of {Numbers.Count(last.Total)}"),
                .. last.Errors > 0 ? [("errors", Numbers.Count(last.Errors))] : Array.Empty<(string, string)>(),
                ("speed", $"{Numbers.Short(Math.Round(last.Done / Math.Max(1e-3, at.TotalSeconds), 1))} images/s"),
                ("elapsed", Numbers.Time(at)),
                .. ProgressPanel.IsGoingOn(state)
                    ? [("left", Numbers.Time(SecondsLeft(at, last.Done, last.Total))), ("file", last.File)]
                    : Array.Empty<(string, string)>(),
            ];
        images.Begin();
        return Html.Concat(
        [
            ProgressPanel.Of(Title, state, Share(last), figures, Fault),
            pictures.Length == 0
                ? Html.Empty
                : Look.Flow([pictures.Select(picture => Look.Td(images.Of(picture.Image, picture.Name, PictureSize), style: Look.FlowCell("0 6px 6px 0")))]),
        ]);
    }

    private static double Share(PreparationProgress? last) => last is { Total: > 0 } ? (double)last.Done / last.Total : 0;

    private (RunState State, PreparationProgress? Last, TimeSpan At, PreparedImage[] Pictures) Snapshot()
    {
        lock (Gate)
        {
            return (State, _last, _lastAt, [.. _pictures]);
        }
    }
}
