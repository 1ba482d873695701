namespace LoraNotebooks.Interactive;

/// <summary><c>x.Display()</c> for any value.</summary>
public static class DisplayExtensions
{
    /// <summary>Shows a value now, in the middle of a cell, on the current host.</summary>
    /// <returns>A handle whose <see cref="IDisplayHandle.Update"/> replaces what was shown.</returns>
    public static IDisplayHandle Display<T>(this T value) => NotebookHost.Current.Display(DisplayFormatter.Format(value));

    /// <summary>Replaces what a display shows by another value.</summary>
    public static void Update<T>(this IDisplayHandle handle, T value)
    {
        ArgumentNullException.ThrowIfNull(handle);
        handle.Update(DisplayFormatter.Format(value));
    }
}
