using System.Security.Cryptography;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using LoraNotebooks.Kernel.Jupyter;

namespace LoraNotebooks.Kernel.Html;

/// <summary>
/// Draws the charts of a page for which no picture stands: plotly.js and the
/// figures go into the page, which allows just these scripts by their hashes.
/// </summary>
/// <remarks>A figure is a block of JSON, which no page runs; of the two scripts none is made from anything that a notebook says.</remarks>
internal sealed class ChartScripts
{
    private const string Draw = """
        for (const data of document.querySelectorAll("script[data-figure]")) {
          const place = data.previousElementSibling, stands = [...place.childNodes];
          const ink = { color: "#7d828a" }, modebar = { bgcolor: "transparent", color: "#9aa0a8", activecolor: "#3b82d6" };
          try {
            const figure = JSON.parse(data.textContent);
            place.replaceChildren();
            const font = { ...ink, ...figure.layout?.font };
            const layout = { paper_bgcolor: "transparent", plot_bgcolor: "transparent", modebar, ...figure.layout, font, autosize: true };
            exports.Plotly.newPlot(place, figure.data, layout, { ...figure.config, responsive: true })
              .catch(() => place.replaceChildren(...stands));
          } catch {
            place.replaceChildren(...stands);
          }
        }
        """;

    private static readonly Lazy<string> Script = new(() =>
        "(()=>{const exports={};((exports,module,define)=>{"
            + PlotlyBundle.ReadText().ReplaceLineEndings("\n").Replace("</script", "<\\/script", StringComparison.OrdinalIgnoreCase)
            + $"\n}})(exports);{Draw.ReplaceLineEndings("\n")}}})()");

    private bool _hasFigures;

    /// <summary>What the page's policy has to allow; empty without a chart.</summary>
    public string Policy => _hasFigures ? $"; script-src 'sha256-{Convert.ToBase64String(SHA256.HashData(Encoding.UTF8.GetBytes(Script.Value)))}'" : "";

    /// <summary>What stands at the end of the page; empty without a chart.</summary>
    public string Element => _hasFigures ? $"<script>{Script.Value}</script>\n" : "";

    /// <summary>The place of a chart.</summary>
    /// <param name="figure">A Plotly figure.</param>
    /// <param name="otherwise">The HTML that stands there until it is drawn, and where no script runs.</param>
    public string Place(JsonObject figure, string otherwise)
    {
        _hasFigures = true;

        // The default encoder leaves no < that could end the element.
        var json = figure.ToJsonString(new JsonSerializerOptions { Encoder = JavaScriptEncoder.Default });
        return $"<div class=\"chart\">{otherwise}</div><script type=\"application/json\" data-figure>{json}</script>";
    }
}
