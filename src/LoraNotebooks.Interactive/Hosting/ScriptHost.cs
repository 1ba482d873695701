namespace LoraNotebooks.Interactive;

/// <summary>A host made of two functions, for the start-up script of a notebook program that this library has no reference to.</summary>
/// <param name="display">Shows an output and returns what replaces its content.</param>
/// <param name="cancellation">Cancelled when the running cell is asked to stop; default never.</param>
/// <example><code>
/// NotebookHost.UseForProcess(new ScriptHost(bundle =>
/// {
///     var id = Show(bundle.Text("text/html"));
///     return changed => Replace(id, changed.Text("text/html"));
/// }));
/// </code></example>
public sealed class ScriptHost(Func<MimeBundle, Action<MimeBundle>> display, CancellationToken cancellation = default) : INotebookHost
{
    private readonly Func<MimeBundle, Action<MimeBundle>> _display = display ?? throw new ArgumentNullException(nameof(display));

    /// <inheritdoc/>
    public CancellationToken Cancellation { get; } = cancellation;

    /// <inheritdoc/>
    public IDisplayHandle Display(MimeBundle bundle)
    {
        ArgumentNullException.ThrowIfNull(bundle);
        return new Handle(_display(bundle));
    }

    private sealed class Handle(Action<MimeBundle> update) : IDisplayHandle
    {
        public void Update(MimeBundle bundle)
        {
            ArgumentNullException.ThrowIfNull(bundle);
            update(bundle);
        }
    }
}
