using LoraNotebooks.Kernel.Sessions;

namespace LoraNotebooks.Kernel.Running;

/// <summary>How a run ended; the value is the program's exit code.</summary>
public enum RunExit
{
    /// <summary>Every cell ran to its end.</summary>
    Ok = 0,

    /// <summary>A cell did not compile or threw.</summary>
    CellFailed = 1,

    /// <summary>The time limit was reached.</summary>
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

/// <summary>Settings of <see cref="NotebookRunner.RunAsync"/>.</summary>
public sealed record RunOptions
{
    /// <summary>The folder for the executed notebook and the page; made if missing. Default: <c>artifacts</c>.</summary>
    public string OutputFolder { get; init; } = "artifacts";

    /// <summary>Values for variables of the cell tagged <c>parameters</c>, as C# literals. Default: none.</summary>
    public IReadOnlyDictionary<string, string> Parameters { get; init; } = new Dictionary<string, string>();

    /// <summary>How long all cells together may take; no limit if null. Default: null.</summary>
    public TimeSpan? Timeout { get; init; }
}

/// <summary>The outcome of a notebook that was run.</summary>
/// <param name="Exit">How it ended.</param>
/// <param name="Executed">The full path of the executed notebook.</param>
/// <param name="Page">The full path of the HTML page.</param>
/// <param name="FailedCell">The number among the code cells, from 1, and the title of the cell that ended the run; null if all ran.</param>
/// <param name="Error">What went wrong in it.</param>
/// <param name="StillRunning">Whether code of the cell goes on although it was asked to stop.</param>
public sealed record RunOutcome(RunExit Exit, string Executed, string Page, (int Number, string Title)? FailedCell, CellError? Error, bool StillRunning);
