using System.Text.Json.Nodes;
using Plotly.NET;

namespace LoraNotebooks.Interactive;

/// <summary>Plotly.NET charts as the JSON that notebook pages draw.</summary>
internal static class PlotlyJson
{
    /// <summary>The figure with <c>data</c>, <c>layout</c> and <c>config</c>.</summary>
    public static JsonNode Of(GenericChart chart)
    {
        var figure = JsonNode.Parse(GenericChart.toFigureJson(chart))!.AsObject();
        var result = new JsonObject
        {
            ["data"] = figure["data"]?.DeepClone() ?? new JsonArray(),
            ["layout"] = figure["layout"]?.DeepClone() ?? new JsonObject(),
            ["config"] = new JsonObject { ["responsive"] = true, ["displaylogo"] = false },
        };
        return result;
    }

    /// <summary>Plotly reads a little HTML in titles and labels; text that is only text is escaped.</summary>
    public static string Escape(string text) => text.Replace("&", "&amp;").Replace("<", "&lt;").Replace(">", "&gt;");
}
