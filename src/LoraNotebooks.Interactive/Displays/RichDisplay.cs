namespace LoraNotebooks.Interactive;

/// <summary>The base of all displays: HTML for notebooks, text for terminals, more where a display has it.</summary>
[TypeFormatterSource(typeof(RichDisplayFormatterSource))]
public abstract class RichDisplay : IRichDisplay
{
    /// <summary>The display as HTML that needs nothing from outside: tables, and images as data.</summary>
    /// <remarks>Text, because Verso looks for a method of this name and casts what it returns to a string.</remarks>
    public string ToHtml() => Draw().ToString();

    /// <summary>The display in a few lines of text.</summary>
    public abstract string ToText();

    /// <summary>The display as a piece of HTML that can stand in a larger one.</summary>
    protected internal abstract Html Draw();

    /// <inheritdoc/>
    public virtual MimeBundle ToMimeBundle() => MimeBundle.Empty
        .With(MimeTypes.Html, ToHtml())
        .With(MimeTypes.PlainText, ToText());

    /// <inheritdoc/>
    public sealed override string ToString() => ToText();
}
