using LoraNotebooks.Interactive;

namespace LoraNotebooks.Kernel.Sessions;

/// <summary>The names that every cell can use without a qualifier.</summary>
public sealed class CellGlobals
{
    /// <summary>Cancelled when the notebook is stopped or its time is up; hand it to whatever runs for long.</summary>
    public CancellationToken Cancellation { get; internal set; }

    /// <summary>Shows a value now, in the middle of a cell.</summary>
    /// <returns>A handle whose <see cref="IDisplayHandle.Update"/> replaces what was shown.</returns>
    public IDisplayHandle display(object? value) => NotebookHost.Current.Display(DisplayFormatter.Format(value));
}
