using Plotly.NET;

namespace LoraNotebooks.Interactive;

/// <summary>One line of a <see cref="LineChart"/>.</summary>
/// <param name="Name">Its name in the legend.</param>
/// <param name="X">Positions, ascending.</param>
/// <param name="Y">Values, as many as positions; what is not finite leaves a gap.</param>
public sealed record ChartSeries(string Name, IReadOnlyList<double> X, IReadOnlyList<double> Y)
{
    /// <summary>Whether the values belong to the axis on the right; default no.</summary>
    public bool OnSecondAxis { get; init; }

    /// <summary>Whether the line stays in the background, like a raw series under its average; default no.</summary>
    public bool IsFaint { get; init; }

    /// <summary>Whether each point is marked, which suits few points; default no.</summary>
    public bool HasMarkers { get; init; }

    /// <summary>A colour as <c>#rrggbb</c>; by default the next of the palette.</summary>
    public string? Colour { get; init; }

    /// <summary>A series over 0, 1, 2, ….</summary>
    public static ChartSeries Of(string name, IEnumerable<double> values)
    {
        double[] y = [.. values];
        return new(name, [.. Enumerable.Range(0, y.Length).Select(i => (double)i)], y);
    }
}

/// <summary>A vertical line with a label, such as the end of an epoch.</summary>
/// <param name="X">Where.</param>
/// <param name="Label">What.</param>
public sealed record ChartMark(double X, string Label);

/// <summary>
/// A line chart that a trusted notebook shows as a Plotly figure and every other place as the same chart in a PNG.
/// </summary>
/// <remarks>At most <see cref="MostPoints"/> points and <see cref="MostMarks"/> marks are drawn in all; extremes and ends survive the thinning.</remarks>
public sealed class LineChart : RichDisplay
{
    /// <summary>The most points of all series together: 2,000.</summary>
    public const int MostPoints = 2000;

    /// <summary>The most vertical lines: 60. Of more, every second, third, … is drawn.</summary>
    public const int MostMarks = 60;

    /// <summary>The width of the picture in CSS pixels.</summary>
    public const int Width = 760;

    /// <summary>The height of the picture in CSS pixels.</summary>
    public const int Height = 320;

    // Its labels are then 10 pixels high.
    private const int LeastWidth = 620;
    private const int MostLabels = 12;

    private static readonly string[] Palette = [Look.Accent, Look.Second, Look.Good, Look.Third, Look.Bad, "#2aa5a5"];

    /// <summary>A chart of series.</summary>
    /// <exception cref="ArgumentException">A series whose positions and values differ in number.</exception>
    public LineChart(params IEnumerable<ChartSeries> series)
    {
        Series = [.. series.Select((s, i) => s with { Colour = s.Colour ?? Palette[i % Palette.Length] })];
        foreach (var s in Series)
        {
            if (s.X.Count != s.Y.Count)
            {
                throw new ArgumentException(
                    $"Got {s.X.Count} positions and {s.Y.Count} values for the series '{s.Name}'; give one value for each position.",
                    nameof(series));
            }
        }
    }

    /// <summary>The lines, in drawing order.</summary>
    public IReadOnlyList<ChartSeries> Series { get; }

    /// <summary>The title over the chart; default none.</summary>
    public string? Title { get; init; }

    /// <summary>The name of the horizontal axis.</summary>
    public string? XTitle { get; init; }

    /// <summary>The name of the left axis.</summary>
    public string? YTitle { get; init; }

    /// <summary>The name of the right axis.</summary>
    public string? SecondTitle { get; init; }

    /// <summary>Whether the left axis is logarithmic (values that are not positive are left out); default no.</summary>
    public bool LogY { get; init; }

    /// <summary>Vertical lines; default none.</summary>
    public IReadOnlyList<ChartMark> Marks { get; init; } = [];

    /// <summary>The vertical lines that are drawn, evenly picked where there are too many.</summary>
    internal IReadOnlyList<ChartMark> DrawnMarks => EveryFew(Marks, MostMarks);

    /// <summary>The drawn vertical lines that have their labels: as many as can be read.</summary>
    internal IReadOnlyList<ChartMark> LabelledMarks => EveryFew(DrawnMarks, MostLabels);

    /// <summary>The chart as a Plotly.NET object, to be changed or combined with others.</summary>
    public GenericChart ToFigure()
    {
        var traces = Drawn().Select(ToTrace).ToArray();
        return GenericChart.setLayout(ToLayout(), GenericChart.ofTraceObjects(false, Microsoft.FSharp.Collections.ListModule.OfSeq(traces)));
    }

    /// <summary>The chart as a PNG picture on a transparent ground.</summary>
    /// <param name="scale">Picture pixels per CSS pixel; 2 is sharp on fine screens.</param>
    public byte[] ToPng(float scale = 2) => new ChartPainter(this, [.. Drawn()]).Paint(Width, Height, scale);

    /// <inheritdoc/>
    protected internal override Html Draw() => Draw(Convert.ToBase64String(ToPng()), ToText());

    /// <inheritdoc/>
    public override string ToText() => (Title ?? "chart") + ": " + string.Join("; ", Series.Select(Describe));

    /// <inheritdoc/>
    public override MimeBundle ToMimeBundle()
    {
        var (png, text) = (Convert.ToBase64String(ToPng()), ToText());
        return MimeBundle.Empty
            .With(MimeTypes.Plotly, PlotlyJson.Of(ToFigure()))
            .With(MimeTypes.Html, Draw(png, text).ToString())
            .With(MimeTypes.Png, png)
            .With(MimeTypes.PlainText, text);
    }

    /// <summary>What stands for the chart while it changes: a coarser picture, once, and no text that would flood a terminal.</summary>
    internal MimeBundle ToLiveBundle(string alternative) => MimeBundle.Empty
        .With(MimeTypes.Plotly, PlotlyJson.Of(ToFigure()))
        .With(MimeTypes.Html, Draw(Convert.ToBase64String(ToPng(1)), alternative).ToString())
        .With(MimeTypes.PlainText, "");

    internal static Html Draw(string png, string alternative) => Look.Page(null, null, ImageTag.OfPng(png, alternative, Width, Height, LeastWidth));

    // Each series gets its share of the points.
    private IEnumerable<ChartSeries> Drawn()
    {
        var share = Math.Max(4, MostPoints / Math.Max(1, Series.Count));
        foreach (var s in Series)
        {
            var kept = Interactive.Series.Thin(s.Y, share);
            yield return s with { X = [.. kept.Select(i => s.X[i])], Y = [.. kept.Select(i => LogY && !s.OnSecondAxis && s.Y[i] <= 0 ? double.NaN : s.Y[i])] };
        }
    }

    private static IReadOnlyList<ChartMark> EveryFew(IReadOnlyList<ChartMark> marks, int most)
    {
        var every = (marks.Count + most - 1) / most;
        return every <= 1 ? marks : [.. marks.Where((_, i) => (i + 1) % every == 0)];
    }

    private static string Describe(ChartSeries s)
    {
        double[] finite = [.. s.Y.Where(double.IsFinite)];
        return finite.Length == 0
            ? $"{s.Name} has no values"
            : $"{s.Name} {Numbers.Short(finite[0])} → {Numbers.Short(finite[^1])} "
                + $"(lowest {Numbers.Short(finite.Min())}, highest {Numbers.Short(finite.Max())}, {s.Y.Count} points)";
    }

    private static Trace ToTrace(ChartSeries s)
    {
        var trace = new Trace("scatter");
        trace.SetProperty("name", PlotlyJson.Escape(s.Name));
        trace.SetProperty("mode", s.HasMarkers ? "lines+markers" : "lines");
        trace.SetProperty("x", s.X.Select(Numbers.SixDigits).ToArray());
        trace.SetProperty("y", s.Y.Select(Numbers.SixDigits).ToArray());
        trace.SetProperty("line", Object(("color", s.Colour!), ("width", s.IsFaint ? 1.0 : s.OnSecondAxis ? 1.5 : 2.0)));
        trace.SetProperty("opacity", s.IsFaint ? 0.4 : 1.0);
        trace.SetProperty("hovertemplate", "%{y:.4g}");
        if (s.OnSecondAxis)
        {
            trace.SetProperty("yaxis", "y2");
        }

        return trace;
    }

    private Layout ToLayout()
    {
        var layout = new Layout();
        layout.SetProperty("height", Height);
        layout.SetProperty("margin", Object(("l", 64), ("r", Series.Any(s => s.OnSecondAxis) ? 72 : 24), ("t", Title is null ? 44 : 72), ("b", 48)));
        if (Title is not null)
        {
            layout.SetProperty("title", Object(("text", $"<b>{PlotlyJson.Escape(Title)}</b>"), ("x", 0.01), ("font", Object(("size", 14)))));
        }

        layout.SetProperty("paper_bgcolor", "rgba(0,0,0,0)");
        layout.SetProperty("plot_bgcolor", "rgba(0,0,0,0)");
        layout.SetProperty("font", Object(("color", ChartPainter.Ink), ("size", 12)));
        layout.SetProperty("hovermode", "x unified");
        layout.SetProperty("hoverlabel", Object(("bgcolor", "#ffffff"), ("font", Object(("color", "#222222")))));
        layout.SetProperty("legend", Object(("orientation", "h"), ("x", 0), ("y", 1.16)));
        layout.SetProperty("xaxis", Axis(XTitle));
        var y = Axis(YTitle);
        if (LogY)
        {
            y["type"] = "log";
        }

        layout.SetProperty("yaxis", y);
        if (Series.Any(s => s.OnSecondAxis))
        {
            var second = Axis(SecondTitle);
            second["overlaying"] = "y";
            second["side"] = "right";
            second["showgrid"] = false;
            second["exponentformat"] = "e";
            second["rangemode"] = "tozero";
            layout.SetProperty("yaxis2", second);
        }

        layout.SetProperty("shapes", DrawnMarks.Select(mark => Object(
            ("type", "line"), ("xref", "x"), ("yref", "paper"), ("x0", mark.X), ("x1", mark.X), ("y0", 0), ("y1", 1),
            ("line", Object(("color", Look.Line), ("width", 1), ("dash", "dot"))))).ToArray());
        layout.SetProperty("annotations", LabelledMarks.Select(mark => Object(
            ("text", PlotlyJson.Escape(mark.Label)), ("x", mark.X), ("y", 1), ("yref", "paper"), ("xanchor", "right"), ("yanchor", "top"), ("showarrow", false),
            ("font", Object(("size", 10))))).ToArray());
        return layout;
    }

    private static Dictionary<string, object> Axis(string? title) => Object(
        ("title", Object(("text", PlotlyJson.Escape(title ?? "")))), ("gridcolor", Look.Line), ("zeroline", false), ("automargin", true));

    // Plain maps: a dynamic object takes a hundred times as long to write as JSON, and marks are many.
    private static Dictionary<string, object> Object(params ReadOnlySpan<(string Name, object Value)> properties)
    {
        var result = new Dictionary<string, object>();
        foreach (var (name, value) in properties)
        {
            result[name] = value;
        }

        return result;
    }
}
