namespace LoraNotebooks.Interactive;

/// <summary>The host that displays of the running cell go to.</summary>
/// <remarks>
/// The host flows with the asynchronous context, so two sessions in one process do not see each other's displays,
/// and a background task that a cell started still reports to its own notebook.
/// </remarks>
public static class NotebookHost
{
    private static readonly AsyncLocal<INotebookHost?> s_current = new();

    /// <summary>The host of this asynchronous context; a console host where none was set.</summary>
    public static INotebookHost Current => s_current.Value ?? ConsoleHost.Instance;

    /// <summary>Makes <paramref name="host"/> the current one until the returned object is disposed.</summary>
    /// <example><code>using (NotebookHost.Use(host)) { await session.RunAsync(cell); }</code></example>
    public static IDisposable Use(INotebookHost host)
    {
        ArgumentNullException.ThrowIfNull(host);
        var previous = s_current.Value;
        s_current.Value = host;
        return new Restore(previous);
    }

    private sealed class Restore(INotebookHost? previous) : IDisposable
    {
        private bool _disposed;

        public void Dispose()
        {
            if (!_disposed)
            {
                _disposed = true;
                s_current.Value = previous;
            }
        }
    }
}
