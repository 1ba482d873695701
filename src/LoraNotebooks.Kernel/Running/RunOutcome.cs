using LoraNotebooks.Kernel.Sessions;

namespace LoraNotebooks.Kernel.Running;

/// <summary>How a run ended; the value is the program's exit code.</summary>
public enum RunExit
{
    /// <summary>Every cell ran to its end.</summary>
    Ok = 0,

    /// <summary>A cell did not compile or threw.</summary>
    CellFailed = 1,

    /// <summary>A time limit was reached, that of a cell or that of the notebook.</summary>
    TimedOut = 2,

    /// <summary>A file that was named does not exist.</summary>
    FileNotFound = 3,

    /// <summary>A file is not a C# notebook.</summary>
    NotANotebook = 4,

    /// <summary>A parameter is unknown or its value cannot be used.</summary>
    BadParameters = 5,

    /// <summary>Stopped by the user.</summary>
    Canceled = 130,
}

/// <summary>What a run writes.</summary>
[Flags]
public enum RunFormats
{
    /// <summary>The executed notebook, <c>&lt;name&gt;.ipynb</c>; written as it goes.</summary>
    Notebook = 1,

    /// <summary>One self-contained page, <c>&lt;name&gt;.html</c>; written at the end.</summary>
    Page = 2,

    /// <summary>Both.</summary>
    All = Notebook | Page,
}

/// <summary>Settings of <see cref="NotebookRunner.RunAsync"/>.</summary>
public sealed record RunOptions
{
    /// <summary>
    /// The folder for the executed notebook and the page; made if missing. It may be the notebook's own folder: its outputs are
    /// replaced then. Default: <c>artifacts</c>.
    /// </summary>
    public string OutputFolder { get; init; } = "artifacts";

    /// <summary>What is written. Default: the notebook and the page.</summary>
    public RunFormats Formats { get; init; } = RunFormats.All;

    /// <summary>Values for variables of the cell tagged <c>parameters</c>, as C# literals. Default: none.</summary>
    public IReadOnlyDictionary<string, string> Parameters { get; init; } = new Dictionary<string, string>();

    /// <summary>How long all cells together may take; no limit if null. Default: null.</summary>
    public TimeSpan? Timeout { get; init; }

    /// <summary>How long each cell may take; no limit if null. Default: null.</summary>
    public TimeSpan? CellTimeout { get; init; }
}

/// <summary>The outcome of a notebook that was run.</summary>
/// <param name="Exit">How it ended.</param>
/// <param name="Executed">The full path of the executed notebook; null if none was asked for.</param>
/// <param name="Page">The full path of the HTML page; null if none was asked for.</param>
/// <param name="FailedCell">The number among the code cells, from 1, and the title of the cell that ended the run; null if all ran.</param>
/// <param name="Error">What went wrong in it.</param>
/// <param name="StillRunning">Whether code of the cell goes on although it was asked to stop.</param>
public sealed record RunOutcome(RunExit Exit, string? Executed, string? Page, (int Number, string Title)? FailedCell, CellError? Error, bool StillRunning);
