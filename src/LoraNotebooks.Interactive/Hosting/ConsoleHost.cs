namespace LoraNotebooks.Interactive;

/// <summary>The host of a plain console program: writes the text form of each display.</summary>
/// <remarks>An update writes only what it adds to what the display showed before, so that a training run does not flood the terminal.</remarks>
public sealed class ConsoleHost : INotebookHost
{
    private readonly TextWriter? _writer;
    private readonly Lock _gate = new();

    /// <summary>A host that writes to <paramref name="writer"/>; <see cref="Console.Out"/> as it is at the time of writing, if none is given.</summary>
    public ConsoleHost(TextWriter? writer = null) => _writer = writer;

    /// <summary>The host that <see cref="NotebookHost.Current"/> falls back to.</summary>
    public static ConsoleHost Instance { get; } = new();

    /// <inheritdoc/>
    public IDisplayHandle Display(MimeBundle bundle)
    {
        var handle = new Handle(this);
        handle.Update(bundle);
        return handle;
    }

    private sealed class Handle(ConsoleHost host) : IDisplayHandle
    {
        private string _shown = "";

        public void Update(MimeBundle bundle)
        {
            ArgumentNullException.ThrowIfNull(bundle);
            var text = bundle.Text(MimeTypes.PlainText) ?? "";
            lock (host._gate)
            {
                if (text.Length > 0 && text != _shown)
                {
                    (host._writer ?? Console.Out).WriteLine(text.StartsWith(_shown, StringComparison.Ordinal) ? text[_shown.Length..].TrimStart('\r', '\n') : text);
                    _shown = text;
                }
            }
        }
    }
}
