using System.Text.Json;
using System.Text.Json.Nodes;
using Plotly.NET;

namespace LoraNotebooks.Interactive;

/// <summary>Plotly.NET charts as the JSON that notebook pages draw.</summary>
internal static class PlotlyJson
{
    /// <summary>The figure with <c>data</c>, <c>layout</c> and <c>config</c>.</summary>
    /// <remarks>Put together as text: a tree of nodes for thousands of points would cost ten times what Plotly.NET takes to write them.</remarks>
    public static JsonNode Of(GenericChart chart)
    {
        using var figure = JsonDocument.Parse(GenericChart.toFigureJson(chart));
        var (data, layout) = (Part(figure, "data", "[]"), Part(figure, "layout", "{}"));
        return JsonNode.Parse($$$"""{"data":{{{data}}},"layout":{{{layout}}},"config":{"responsive":true,"displaylogo":false}}""")!;
    }

    /// <summary>Plotly reads a little HTML in titles and labels; text that is only text is escaped.</summary>
    public static string Escape(string text) => text.Replace("&", "&amp;").Replace("<", "&lt;").Replace(">", "&gt;");

    private static string Part(JsonDocument figure, string name, string otherwise) =>
        figure.RootElement.TryGetProperty(name, out var part) ? part.GetRawText() : otherwise;
}
