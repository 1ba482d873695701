namespace LoraNotebooks.Data;

/// <summary>Captions as lists of tags: parts between commas, without the space around them.</summary>
internal static class CaptionTags
{
    /// <summary>How tags are compared: text encoders of the CLIP kind fold case as well.</summary>
    public static readonly StringComparer Comparer = StringComparer.OrdinalIgnoreCase;

    public static string[] Split(string caption) => caption.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);

    public static string Join(IEnumerable<string> tags) => string.Join(", ", tags);

    /// <summary>The caption with a tag at its head; where it stands elsewhere, it moves.</summary>
    public static string WithFirst(string caption, string tag)
    {
        var tags = Split(caption);
        return tags.Length > 0 && tags[0] == tag
            ? caption
            : Join([tag, .. tags.Where(other => !Comparer.Equals(other, tag))]);
    }

    /// <summary>What keeps a text from being one tag; null when nothing does.</summary>
    public static string? Fault(string? tag) => tag is not null && InvisibleText.Clean(tag).Found is { } found
        ? $"got '{tag}' with characters that cannot be seen ({found}), expected a tag without; type it anew"
        : string.IsNullOrWhiteSpace(tag) || tag.AsSpan().IndexOfAny(",\r\n") >= 0 || tag.Trim() != tag
        ? $"got '{tag}', expected one tag: not empty, without commas, line breaks and outer spaces"
        : null;

    /// <exception cref="ArgumentException">The text is not one tag.</exception>
    public static void ThrowIfNoTag(string? tag, string parameter)
    {
        if (Fault(tag) is { } fault)
        {
            throw new ArgumentException($"{parameter}: {fault}", parameter);
        }
    }
}
