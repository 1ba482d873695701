namespace LoraNotebooks.Interactive;

/// <summary>The MIME types that displays write and hosts understand.</summary>
public static class MimeTypes
{
    /// <summary>HTML; the value is the markup. Displays never put a script or an inline SVG into it.</summary>
    public const string Html = "text/html";

    /// <summary>Plain text, what a terminal shows; every bundle has it.</summary>
    public const string PlainText = "text/plain";

    /// <summary>Markdown source.</summary>
    public const string Markdown = "text/markdown";

    /// <summary>A PNG image; the value is base64 text, as nbformat stores it.</summary>
    public const string Png = "image/png";

    /// <summary>A JPEG image; the value is base64 text.</summary>
    public const string Jpeg = "image/jpeg";

    /// <summary>A Plotly figure; the value is a JSON object with <c>data</c>, <c>layout</c> and <c>config</c>.</summary>
    public const string Plotly = "application/vnd.plotly.v1+json";

    /// <summary>
    /// Asks the host for a Stop button; the value is the <see cref="StopOffer.Id"/>
    /// as text. Hosts turn it into a button or drop it; it is never stored.
    /// </summary>
    public const string Stop = "application/vnd.lora-notebooks.stop+json";

    /// <summary>
    /// Says that an output belongs to work that goes on; the value is the <see cref="StopOffer.Id"/> of that work as text. The last form of an output lacks it.
    /// Hosts that can be asked by the page how the work stands use it, the others drop it; it is never stored.
    /// </summary>
    public const string Run = "application/vnd.lora-notebooks.run+json";

    /// <summary>Any JSON value.</summary>
    public const string Json = "application/json";
}
