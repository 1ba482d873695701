using System.ComponentModel;
using LoraNotebooks.Interactive;

namespace LoraNotebooks.Kernel.Sessions;

/// <summary>The names that every cell can use without a qualifier.</summary>
public sealed class CellGlobals
{
    private CancellationToken _cancellation;

    /// <summary>Cancelled when the cell is stopped or its time is up; hand it to whatever runs for long.</summary>
    /// <remarks>A cell that asks for it is given time to end by itself after a stop; any other is ended at once.</remarks>
    public CancellationToken Cancellation
    {
        get
        {
            CancellationWasTaken = true;
            return _cancellation;
        }
    }

    /// <summary>Whether the running cell, or what it called, asked for the token.</summary>
    internal bool CancellationWasTaken { get; private set; }

    /// <summary>The values of the last cells that ended in an expression, by the number of the cell: <c>Out[3]</c>.</summary>
    public CellValues Out { get; } = new();

    /// <summary>The value of the last cell that ended in an expression; also <c>_</c>. Null before the first.</summary>
    public dynamic? Last => Out.FromEnd(0);

    /// <summary>The value before <see cref="Last"/>.</summary>
    [EditorBrowsable(EditorBrowsableState.Never)]
    public dynamic? __ => Out.FromEnd(1);

    /// <summary>The value before <see cref="__"/>.</summary>
    [EditorBrowsable(EditorBrowsableState.Never)]
    public dynamic? ___ => Out.FromEnd(2);

    /// <summary>Shows a value now, in the middle of a cell.</summary>
    /// <param name="value">What to show.</param>
    /// <param name="mimeTypes">The forms to show; by default all that the value has.</param>
    /// <returns>A handle whose <see cref="IDisplayHandle.Update"/> replaces what was shown.</returns>
    public IDisplayHandle display(object? value, params string[] mimeTypes) => value.DisplayAs(mimeTypes);

    /// <summary>Text that is HTML already, to be shown as it is: <c>HTML("&lt;b&gt;bold&lt;/b&gt;")</c>.</summary>
    public RawMarkup HTML(string markup) => new(MimeTypes.Html, markup);

    /// <summary>Text that is Markdown, to be shown as such.</summary>
    public RawMarkup Markdown(string markdown) => new(MimeTypes.Markdown, markdown);

    /// <summary>Removes what the cell has shown so far.</summary>
    /// <param name="wait">Whether to wait for the next output, so that nothing flickers. Default false.</param>
    public void ClearOutput(bool wait = false) => NotebookHost.Current.Clear(wait);

    internal void Begin(CancellationToken cancellation) => (_cancellation, CancellationWasTaken) = (cancellation, false);
}

/// <summary>Markup that the writer of a cell vouches for: it reaches the page unescaped.</summary>
/// <param name="mimeType">What kind of markup.</param>
/// <param name="markup">The markup.</param>
public sealed class RawMarkup(string mimeType, string markup) : IRichDisplay
{
    /// <inheritdoc/>
    public MimeBundle ToMimeBundle() => MimeBundle.FromText(markup).With(mimeType, markup);

    /// <inheritdoc/>
    public override string ToString() => markup;
}
