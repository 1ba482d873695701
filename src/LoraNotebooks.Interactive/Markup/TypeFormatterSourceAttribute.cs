namespace LoraNotebooks.Interactive;

/// <summary>Tells a notebook program how to show a type, by convention: only the name of this class and its two properties matter.</summary>
/// <remarks>.NET Interactive's convention-based formatting; it needs no reference to that project's packages.</remarks>
[AttributeUsage(AttributeTargets.Class)]
internal sealed class TypeFormatterSourceAttribute(Type formatterSourceType) : Attribute
{
    /// <summary>A type with a parameterless constructor and a method <c>CreateTypeFormatters()</c>.</summary>
    public Type FormatterSourceType { get; } = formatterSourceType;

    /// <summary>The MIME types that the host should ask for when the user asked for none.</summary>
    public string[] PreferredMimeTypes { get; set; } = [MimeTypes.Html];
}

/// <summary>The source that <see cref="RichDisplay"/> names.</summary>
internal sealed class RichDisplayFormatterSource
{
    /// <summary>One formatter for each MIME type that any display may have; each answers <see langword="false"/> where a display lacks its type.</summary>
    public IEnumerable<object> CreateTypeFormatters() =>
        new[] { MimeTypes.Html, MimeTypes.PlainText, MimeTypes.Plotly, MimeTypes.Png }.Select(type => new RichDisplayFormatter(type));
}

/// <summary>Writes one form of a display.</summary>
internal sealed class RichDisplayFormatter(string mimeType)
{
    /// <summary>The form that this formatter writes.</summary>
    public string MimeType { get; } = mimeType;

    /// <summary>Writes the form, if the object is a display that has it.</summary>
    public bool Format(object instance, TextWriter writer)
    {
        if (instance is not IRichDisplay display || display.ToMimeBundle() is not { } bundle || bundle.Node(MimeType) is not { } content)
        {
            return false;
        }

        writer.Write(bundle.Text(MimeType) ?? content.ToJsonString());
        return true;
    }
}
