using LoraNotebooks.Interactive;

namespace LoraNotebooks.Kernel.Sessions;

/// <summary>How the execution of a cell ended.</summary>
public enum CellStatus
{
    /// <summary>The cell ran to its end.</summary>
    Succeeded,

    /// <summary>The cell did not compile, or a reference that it names could not be resolved; nothing of it ran.</summary>
    CompileError,

    /// <summary>The cell threw; variables that it assigned before are kept.</summary>
    Failed,

    /// <summary>The caller cancelled.</summary>
    Canceled,

    /// <summary>The cell did not end within its time limit.</summary>
    TimedOut,
}

/// <summary>What went wrong in a cell, in the three parts of a Jupyter <c>error</c> message.</summary>
/// <param name="Name">The kind of error, e.g. <c>System.InvalidOperationException</c> or <c>CompileError</c>.</param>
/// <param name="Message">One line or a few that say what is wrong.</param>
/// <param name="Traceback">The lines to show, innermost place first, without terminal colour codes.</param>
public sealed record CellError(string Name, string Message, IReadOnlyList<string> Traceback);

/// <summary>The outcome of <see cref="CSharpSession.RunAsync"/>.</summary>
/// <param name="Status">How the cell ended.</param>
/// <param name="Value">The value of the last expression; <see langword="null"/> if the cell ends in a statement.</param>
/// <param name="Error">What went wrong; <see langword="null"/> exactly when <paramref name="Status"/> is <see cref="CellStatus.Succeeded"/>.</param>
/// <param name="Elapsed">Wall-clock time, compilation included.</param>
/// <param name="StillRunning">Whether the code goes on in native code, where nothing can end it.</param>
public sealed record CellResult(CellStatus Status, object? Value, CellError? Error, TimeSpan Elapsed, bool StillRunning = false)
{
    /// <summary>The forms in which the value is shown; where the value cannot be shown, the cell has failed.</summary>
    internal (CellResult Result, MimeBundle? Shown) Shown(string cellName)
    {
        // A handle stands for what was shown already.
        if (Value is null or IDisplayHandle)
        {
            return (this, null);
        }

        try
        {
            return (this, DisplayFormatter.Format(Value));
        }
        catch (Exception error)
        {
            var message = $"The value of {cellName}, a {Value.GetType()}, could not be shown: {error.Message}";
            return (
                Error is not null ? this : this with { Status = CellStatus.Failed, Error = new CellError(error.GetType().ToString(), message, [message]) },
                null);
        }
    }
}
