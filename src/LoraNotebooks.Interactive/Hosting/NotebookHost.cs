namespace LoraNotebooks.Interactive;

/// <summary>The host that displays of the running cell go to.</summary>
/// <remarks>
/// The host flows with the asynchronous context, so two sessions in one process do not see each other's displays,
/// and a background task that a cell started still reports to its own notebook. A program that has one host for all of its threads
/// names it with <see cref="UseForProcess(Func{INotebookHost})"/>, and it counts wherever no other was set.
/// </remarks>
public static class NotebookHost
{
    private static readonly AsyncLocal<INotebookHost?> Ambient = new();
    private static volatile Func<INotebookHost>? s_ofProcess;

    /// <summary>The host of this asynchronous context, else that of the process; the console where none was set.</summary>
    public static INotebookHost Current => Ambient.Value ?? s_ofProcess?.Invoke() ?? ConsoleHost.Instance;

    /// <summary>Makes <paramref name="host"/> the current one until the returned object is disposed.</summary>
    /// <example><code>using (NotebookHost.Use(host)) { await session.RunAsync(cell); }</code></example>
    public static IDisposable Use(INotebookHost host)
    {
        ArgumentNullException.ThrowIfNull(host);
        var previous = Ambient.Value;
        Ambient.Value = host;
        return new Restore(previous);
    }

    /// <summary>Makes <paramref name="host"/> the one that counts wherever <see cref="Use"/> named none.</summary>
    public static void UseForProcess(INotebookHost host)
    {
        ArgumentNullException.ThrowIfNull(host);
        s_ofProcess = () => host;
    }

    /// <summary>Asks <paramref name="host"/> at every use of <see cref="Current"/>, so that it can answer with the host of the cell that is running.</summary>
    /// <remarks>For notebook programs that know the running cell themselves; the last call of either overload counts.</remarks>
    public static void UseForProcess(Func<INotebookHost> host)
    {
        ArgumentNullException.ThrowIfNull(host);
        s_ofProcess = host;
    }

    /// <summary>Undoes <see cref="UseForProcess(INotebookHost)"/>.</summary>
    internal static void UseNoneForProcess() => s_ofProcess = null;

    private sealed class Restore(INotebookHost? previous) : IDisposable
    {
        private bool _disposed;

        public void Dispose()
        {
            if (!_disposed)
            {
                _disposed = true;
                Ambient.Value = previous;
            }
        }
    }
}
