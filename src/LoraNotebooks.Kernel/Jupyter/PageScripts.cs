using System.Globalization;
using System.Reflection;
using System.Security.Cryptography;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using LoraNotebooks.Interactive;
using LoraNotebooks.Kernel.Html;

namespace LoraNotebooks.Kernel.Jupyter;

/// <summary>The output that a page script belongs to.</summary>
/// <param name="DisplayId">The same for every update of one output: what the page knows its chart by.</param>
/// <param name="KernelId">The id by which the Jupyter server knows this kernel; null if unknown, and then there is no Stop button.</param>
/// <param name="RunId">The run that the output follows; null if none.</param>
/// <param name="Version">How often the output of a run was drawn.</param>
public sealed record PageContext(string DisplayId, string? KernelId, string? RunId = null, int Version = 0);

/// <summary>
/// Adds to an output what only a script can do: a Plotly chart in place of its picture, a Stop button, the state of a run that may have ended.
/// </summary>
/// <remarks>
/// The HTML is complete without the script: untrusted notebooks, GitHub and mail programs drop it, and a page that cannot load plotly.js keeps the picture.
/// Each output carries the whole script (see page.js), so that a saved notebook needs nothing else. Data reaches the script as text that it parses
/// as JSON; nothing of it is evaluated, and nothing of it can end the script element.
/// </remarks>
public static class PageScripts
{
    /// <summary>The plotly.js that comes with Plotly.NET; <see cref="PlotlyBundle"/> has the file.</summary>
    private const string Cdn = $"https://cdn.plot.ly/plotly-{PlotlyBundle.Version}.min.js";

    private static readonly Lazy<(string Name, string Text)> Script = new(ReadScript);

    /// <summary>
    /// The bundle as a page gets it: Plotly figures and stop offers become scripts in its HTML, and the offer itself goes. All else stays as it is.
    /// </summary>
    public static MimeBundle ForPage(MimeBundle bundle, PageContext context)
    {
        ArgumentNullException.ThrowIfNull(bundle);
        ArgumentNullException.ThrowIfNull(context);
        var isRunning = bundle.Types.Contains(MimeTypes.Run);
        if (isRunning)
        {
            // Without its script, and before the kernel has answered, an output says what is true in any case.
            var stop = bundle.Text(MimeTypes.Stop);
            bundle = bundle.Stored();
            bundle = stop is null ? bundle : bundle.With(MimeTypes.Stop, stop);
        }

        var html = bundle.Text(MimeTypes.Html);
        var calls = new StringBuilder();
        if (bundle.Node(MimeTypes.Plotly) is { } figure)
        {
            // A figure may come alone, from whoever makes a bundle by hand.
            html ??= Form(bundle);
            var parsed = Parsed(figure);
            var token = Token(context.DisplayId + parsed);
            html = $"<div data-lora=\"{token}\">{html}</div>";
            calls.Append($".chart(\"{token}\",{Quote(context.DisplayId)},{parsed})");
        }

        if (bundle.Text(MimeTypes.Stop) is { } offer)
        {
            bundle = bundle.Without(MimeTypes.Stop);
            if (html is not null && context.KernelId is { } kernel)
            {
                var token = Token(context.DisplayId + offer);
                html = $"{html}<div data-lora=\"{token}\"></div>";
                calls.Append($".stop(\"{token}\",{Quote(offer)},{Quote(Uri.EscapeDataString(kernel))})");
            }
        }

        if (html is not null && isRunning && context.RunId is { } run)
        {
            calls
                .Append(CultureInfo.InvariantCulture, $".run(\"{Token(context.DisplayId)}\",{context.Version},{Quote(run)}")
                .Append(CultureInfo.InvariantCulture, $",{Quote(Uri.EscapeDataString(context.KernelId ?? ""))}")
                .Append(CultureInfo.InvariantCulture, $",{DateTimeOffset.UtcNow.ToUnixTimeMilliseconds()})");
        }

        html = calls.Length == 0 ? html : $"{html}<script>(window.{Script.Value.Name}??={Script.Value.Text}){calls}</script>";
        html = html is null || context.RunId is null ? html : $"<div data-lora-output=\"{Token(context.DisplayId)}\">{html}</div>";
        return html is null || html == bundle.Text(MimeTypes.Html) ? bundle : bundle.With(MimeTypes.Html, html);
    }

    private static string Form(MimeBundle bundle) => bundle.Text(MimeTypes.Png) is { } png
        ? $"<img src=\"data:image/png;base64,{SafeHtml.Escape(png)}\" alt=\"chart\" style=\"max-width:100%\">"
        : $"<div>{SafeHtml.Escape(bundle.Text(MimeTypes.PlainText) ?? "chart")}</div>";

    /// <summary>Names the place of an output in the page. One content has one name, so that a rerun with the same numbers stores the same text.</summary>
    internal static string Token(string content) => Hash(content)[..16];

    private static string Hash(string content) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(content)));

    /// <summary>A string literal for a script inside HTML: what HTML or a script could misread is escaped.</summary>
    private static string Quote(string text) => $"\"{JavaScriptEncoder.Default.Encode(text)}\"";

    /// <summary>
    /// JSON as a script gets at it: a string literal that is parsed. Evaluated as code, a member called <c>__proto__</c> would be more than data.
    /// </summary>
    private static string Parsed(JsonNode value)
    {
        // The default encoder leaves nothing but letters, digits and a few marks: no <, >, &, ' and no line separators.
        var json = value.ToJsonString(new JsonSerializerOptions { Encoder = JavaScriptEncoder.Default });
        return $"JSON.parse('{json.Replace("\\", "\\\\", StringComparison.Ordinal)}')";
    }

    /// <summary>The script without comments and indentation, named by its content: an older notebook's script in the same page is another one.</summary>
    private static (string Name, string Text) ReadScript()
    {
        using var stream = Assembly.GetExecutingAssembly().GetManifestResourceStream("page.js")!;
        using var reader = new StreamReader(stream);
        var lines = reader.ReadToEnd().Split('\n')
            .Select(line => line.Trim())
            .Where(line => line.Length > 0 && !line.StartsWith("//", StringComparison.Ordinal));
        var text = string.Join('\n', lines)
            .Replace("{cdn}", Cdn, StringComparison.Ordinal)
            .Replace("{integrity}", PlotlyBundle.Integrity, StringComparison.Ordinal)
            .Replace("{target}", LiveRuns.CommTarget, StringComparison.Ordinal)
            .Replace("{saved}", MimeBundle.WhenSaved, StringComparison.Ordinal)
            .Replace("{local}", $"kernelspecs/{KernelSpec.DefaultName}/{PlotlyBundle.FileName}", StringComparison.Ordinal);
        return ("lora_" + Hash(text)[..8], text);
    }
}
