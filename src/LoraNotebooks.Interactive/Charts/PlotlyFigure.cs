using System.Reflection;
using System.Text.Json;
using System.Text.Json.Nodes;
using Plotly.NET;

namespace LoraNotebooks.Interactive;

/// <summary>
/// A Plotly figure of any kind: one's own Plotly.NET chart, or a figure's JSON from elsewhere. Pages that run scripts draw it, the exported page too;
/// elsewhere lines and points are a picture, and other kinds are named.
/// </summary>
/// <example><code>new PlotlyFigure("""{ "data": [{ "type": "bar", "x": ["a", "b"], "y": [1, 2] }] }""")</code></example>
public sealed class PlotlyFigure : RichDisplay
{
    private readonly JsonObject _figure;

    /// <summary>The figure of a JSON text with <c>data</c>, and <c>layout</c> and <c>config</c> if there are any.</summary>
    /// <exception cref="ArgumentException">The text is no JSON or has no list of traces in <c>data</c>.</exception>
    public PlotlyFigure(string json)
        : this(Parse(json))
    {
    }

    /// <summary>The figure of a JSON object with <c>data</c>, and <c>layout</c> and <c>config</c> if there are any; it is copied.</summary>
    /// <exception cref="ArgumentException">It has no list of traces in <c>data</c>.</exception>
    public PlotlyFigure(JsonNode figure)
    {
        ArgumentNullException.ThrowIfNull(figure);
        if (figure is not JsonObject parts || parts["data"] is not JsonArray traces || traces.Any(trace => trace is not JsonObject))
        {
            throw new ArgumentException(
                $"Got {Start(figure.ToJsonString())}; a Plotly figure is an object whose 'data' is a list of traces, such as "
                    + "{ \"data\": [{ \"type\": \"bar\", \"y\": [1, 2] }], \"layout\": {} }.",
                nameof(figure));
        }

        _figure = (JsonObject)parts.DeepClone();
        _figure["layout"] ??= new JsonObject();
        _figure["config"] ??= new JsonObject { ["responsive"] = true, ["displaylogo"] = false };
    }

    /// <summary>The figure of a Plotly.NET chart.</summary>
    public PlotlyFigure(GenericChart chart)
        : this(PlotlyJson.Of(chart ?? throw new ArgumentNullException(nameof(chart))))
    {
    }

    private IEnumerable<JsonObject> Traces => _figure["data"]!.AsArray().Select(trace => (JsonObject)trace!);

    private string? Title => TextOf(_figure["layout"] is JsonObject layout ? layout["title"] : null);

    /// <summary>Whether a JSON object is a figure: traces that have a kind or values, and a layout.</summary>
    internal static bool IsFigure(JsonObject json) => json["layout"] is JsonObject && json["data"] is JsonArray { Count: > 0 } traces
        && traces.All(trace => trace is JsonObject parts && (parts.ContainsKey("type") || parts.ContainsKey("y") || parts.ContainsKey("z")));

    /// <summary>The figure of a chart of another copy of Plotly.NET, such as one that a package brought along; null for any other value.</summary>
    internal static PlotlyFigure? OfForeign(object value)
    {
        for (var type = value.GetType(); type is not null; type = type.BaseType)
        {
            if (type.FullName?.StartsWith("Plotly.NET.GenericChart", StringComparison.Ordinal) != true)
            {
                continue;
            }

            // In older versions the functions stand in a module of their own.
            var writer = ((string[])["Plotly.NET.GenericChart", "Plotly.NET.GenericChartModule"])
                .Select(name => type.Assembly.GetType(name)?.GetMethod("toFigureJson", BindingFlags.Public | BindingFlags.Static, [type]))
                .FirstOrDefault(method => method is not null);
            return writer?.Invoke(null, [value]) is string json ? new(json) : null;
        }

        return null;
    }

    /// <inheritdoc/>
    protected internal override Html Draw()
    {
        var text = ToText();
        return ToPicture() is { } png
            ? LineChart.Draw(Convert.ToBase64String(png), text)
            : Look.Page(Title, null, Look.Quiet($"{text}. A page that runs scripts draws it."));
    }

    /// <inheritdoc/>
    public override string ToText() => $"chart{(Title is { } title ? $" '{title}'" : "")}: {string.Join(", ", Traces.Select(Describe))}";

    /// <inheritdoc/>
    public override MimeBundle ToMimeBundle()
    {
        var bundle = base.ToMimeBundle().With(MimeTypes.Plotly, _figure);
        return ToPicture() is { } png ? bundle.With(MimeTypes.Png, png) : bundle;
    }

    private static JsonNode Parse(string json)
    {
        ArgumentNullException.ThrowIfNull(json);
        try
        {
            return JsonNode.Parse(json) ?? throw new ArgumentException("Got null; a Plotly figure is an object with a list 'data'.", nameof(json));
        }
        catch (JsonException error)
        {
            throw new ArgumentException($"Got {Start(json)}, which is no JSON: {error.Message}", nameof(json));
        }
    }

    private static string Start(string json) => json.Length <= 60 ? json : json[..60] + "…";

    // A title is a text, or an object that has one.
    private static string? TextOf(JsonNode? title) => title switch
    {
        JsonObject parts => TextOf(parts["text"]),
        JsonValue value when value.TryGetValue(out string? text) && text.Length > 0 => text,
        _ => null,
    };

    private static string Kind(JsonObject trace) => TextOf(trace["type"]) ?? "scatter";

    private static string Describe(JsonObject trace)
    {
        var count = (trace["y"] as JsonArray ?? trace["x"] as JsonArray ?? trace["values"] as JsonArray ?? trace["z"] as JsonArray)?.Count;
        return $"{Kind(trace)}{(TextOf(trace["name"]) is { } name ? $" '{name}'" : "")}{(count is { } n ? $" of {Numbers.Count(n)}" : "")}";
    }

    /// <summary>The picture of lines and points over numbers; null for what only Plotly can draw.</summary>
    private byte[]? ToPicture()
    {
        ChartSeries?[] series = [.. Traces.Select((trace, i) => Line(trace, i))];
        if (series.Length == 0 || series.Any(line => line is null))
        {
            return null;
        }

        var layout = (JsonObject)_figure["layout"]!;
        return new LineChart(series.Select(line => line!))
        {
            Title = Title,
            XTitle = TextOf(layout["xaxis"]?["title"]),
            YTitle = TextOf(layout["yaxis"]?["title"]),
            LogY = TextOf(layout["yaxis"]?["type"]) == "log",
        }.ToPng();
    }

    private static ChartSeries? Line(JsonObject trace, int index)
    {
        if (Kind(trace) is not ("scatter" or "scattergl") || Values(trace["y"]) is not { Length: > 0 } y || TextOf(trace["fill"]) is not (null or "none"))
        {
            return null;
        }

        var x = trace["x"] is null ? [.. Enumerable.Range(0, y.Length).Select(i => (double)i)] : Values(trace["x"]);
        // The painter needs positions that ascend; and of points without lines it would draw the lines.
        return x?.Length != y.Length || x.Zip(x.Skip(1)).Any(pair => !(pair.First <= pair.Second)) || TextOf(trace["mode"]) is "markers" or "text"
            ? null
            : new(TextOf(trace["name"]) ?? $"trace {index}", x, y)
            {
                HasMarkers = TextOf(trace["mode"])?.Contains("markers", StringComparison.Ordinal) == true,
            };
    }

    private static double[]? Values(JsonNode? values) =>
        values is JsonArray list && list.All(value => value is null || value.GetValueKind() == JsonValueKind.Number)
            ? [.. list.Select(value => value?.GetValue<double>() ?? double.NaN)]
            : null;
}
