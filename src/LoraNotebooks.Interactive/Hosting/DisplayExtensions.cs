namespace LoraNotebooks.Interactive;

/// <summary><c>x.Display()</c> for any value.</summary>
public static class DisplayExtensions
{
    /// <summary>Shows a value now, in the middle of a cell, on the current host.</summary>
    /// <returns>A handle whose <see cref="IDisplayHandle.Update"/> replaces what was shown.</returns>
    public static IDisplayHandle Display<T>(this T value) => NotebookHost.Current.Display(DisplayFormatter.Format(value));

    /// <summary>Shows a value in some of its forms only.</summary>
    /// <param name="value">What to show.</param>
    /// <param name="mimeTypes">The MIME types to show, such as <c>text/plain</c>; none means all.</param>
    /// <exception cref="ArgumentException">The value has none of these forms.</exception>
    public static IDisplayHandle DisplayAs<T>(this T value, params string[] mimeTypes)
    {
        ArgumentNullException.ThrowIfNull(mimeTypes);
        var bundle = DisplayFormatter.Format(value);
        if (mimeTypes.Length > 0)
        {
            var chosen = mimeTypes.Where(bundle.Types.Contains).Aggregate(MimeBundle.Empty, (kept, type) => kept.With(type, bundle.Node(type)!));
            bundle = chosen.Types.Count > 0
                ? chosen
                : throw new ArgumentException(
                    $"Got {string.Join(", ", mimeTypes)}; {value?.GetType().Name ?? "null"} can be shown as {string.Join(", ", bundle.Types)}.",
                    nameof(mimeTypes));
        }

        return NotebookHost.Current.Display(bundle);
    }

    /// <summary>Replaces what a display shows by another value.</summary>
    public static void Update<T>(this IDisplayHandle handle, T value)
    {
        ArgumentNullException.ThrowIfNull(handle);
        handle.Update(DisplayFormatter.Format(value));
    }
}
