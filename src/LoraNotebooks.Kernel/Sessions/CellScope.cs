using LoraNotebooks.Interactive;

namespace LoraNotebooks.Kernel.Sessions;

/// <summary>The cell that code belongs to, wherever it runs: what it prints, and what it throws where nobody catches, goes there.</summary>
/// <remarks>
/// The scope flows with the asynchronous context into the tasks, threads and timers that a cell starts, so that two sessions in one
/// process do not mix. Code that no context reaches (a finalizer, a callback of native code) belongs to the cell that runs, else to the last one.
/// </remarks>
internal sealed class CellScope(CSharpSessionOptions options, CellSources sources, INotebookHost host)
{
    private static readonly AsyncLocal<CellScope?> Flow = new();
    private static CellScope? s_latest;

    /// <summary>The cell whose context this code has; null where it has none.</summary>
    public static CellScope? Flowing => Flow.Value;

    /// <summary>The cell that this code belongs to; null where no session is.</summary>
    public static CellScope? Current => Flow.Value ?? Volatile.Read(ref s_latest);

    /// <summary>Whether the cell was stopped: what its work then throws because of that is no news.</summary>
    public bool WasStopped { get; set; }

    /// <summary>A cell begins: this asynchronous context is its own, and it is the latest of all.</summary>
    public void Enter()
    {
        Flow.Value = this;
        Volatile.Write(ref s_latest, this);
    }

    /// <summary>A session ends: what has no context no longer belongs to one of its cells.</summary>
    public static void Leave(CSharpSessionOptions options)
    {
        if (Volatile.Read(ref s_latest) is { } latest && latest.IsOf(options))
        {
            Interlocked.CompareExchange(ref s_latest, null, latest);
        }
    }

    /// <summary>Takes what the cell writes to its console.</summary>
    public void Write(string text, bool isError)
    {
        using var own = NotebookHost.Use(host);
        (isError ? options.StandardError : options.StandardOutput)(text);
    }

    /// <summary>Gives a line to the cell; null at the end.</summary>
    public string? ReadLine()
    {
        using var own = NotebookHost.Use(host);
        return options.ReadLine();
    }

    /// <summary>Shows an exception that nothing caught outside of the cell's own call.</summary>
    /// <param name="error">The exception.</param>
    /// <param name="source">Where it comes from, for people.</param>
    public void Report(Exception error, string source)
    {
        if (WasStopped && CellErrors.IsStop(error))
        {
            return;
        }

        var shown = CellErrors.OfException(error, sources);
        using var own = NotebookHost.Use(host);
        options.StrayError(shown with { Traceback = [$"Thrown by {source}, where nothing caught it:", .. shown.Traceback] });
    }

    private bool IsOf(CSharpSessionOptions others) => ReferenceEquals(options, others);
}
