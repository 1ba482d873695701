namespace LoraNotebooks.Interactive;

/// <summary>The base of all displays: HTML for notebooks, text for terminals, more where a display has it.</summary>
[TypeFormatterSource(typeof(RichDisplayFormatterSource))]
public abstract class RichDisplay : IRichDisplay
{
    /// <summary>The display as HTML that needs nothing from outside: tables, and images as data.</summary>
    public abstract Html ToHtml();

    /// <summary>The display in a few lines of text.</summary>
    public abstract string ToText();

    /// <inheritdoc/>
    public virtual MimeBundle ToMimeBundle() => MimeBundle.Empty
        .With(MimeTypes.Html, ToHtml().ToString())
        .With(MimeTypes.PlainText, ToText());

    /// <inheritdoc/>
    public sealed override string ToString() => ToText();
}
