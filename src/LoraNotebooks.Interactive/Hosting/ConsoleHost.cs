using LoraNotebooks.Foundation;
using Spectre.Console;

namespace LoraNotebooks.Interactive;

/// <summary>The host of a plain console program: writes the text form of each display.</summary>
/// <remarks>
/// On a terminal a live display is rewritten in place, as long as nothing else is written below it. In a pipe, a file or a log an update
/// writes only what it adds to what the display showed before, so that a training run does not flood it.
/// Of a picture a line says how large it is; see <see cref="PictureFolder"/>.
/// </remarks>
public sealed class ConsoleHost : INotebookHost
{
    private readonly TextWriter? _writer;
    private readonly Lock _gate = new();
    private readonly Lazy<TerminalRegion?> _region;
    private int _displays;

    /// <summary>A host that writes to <paramref name="writer"/>; to the console, if none is given.</summary>
    public ConsoleHost(TextWriter? writer = null)
    {
        _writer = writer;
        _region = new(() => writer is null ? TerminalRegion.OfThisProcess(_gate) : null);
    }

    /// <summary>A host that writes to a console of Spectre.Console, in place if that is an interactive terminal.</summary>
    public ConsoleHost(IAnsiConsole console)
    {
        ArgumentNullException.ThrowIfNull(console);
        _writer = console.Profile.Out.Writer;
        _region = new(() => TerminalRegion.CanRewrite(console) ? new TerminalRegion(console) : null);
    }

    /// <summary>The host that <see cref="NotebookHost.Current"/> falls back to.</summary>
    public static ConsoleHost Instance { get; } = new();

    /// <summary>Where the pictures of displays are saved, as 001.png, or as 001.html where a display has several; default null: nowhere.</summary>
    /// <example><code>ConsoleHost.Instance.PictureFolder = "pictures";</code></example>
    public string? PictureFolder { get; set; }

    /// <inheritdoc/>
    public IDisplayHandle Display(MimeBundle bundle)
    {
        var handle = new Handle(this, Interlocked.Increment(ref _displays));
        handle.Update(bundle);
        return handle;
    }

    /// <summary>The line about a bundle's pictures, saved before if there is a folder; empty if there are none.</summary>
    private string PictureLine(MimeBundle bundle, int number)
    {
        if (ConsolePicture.Of(bundle) is not { } picture)
        {
            return "";
        }

        if (PictureFolder is not { Length: > 0 } folder)
        {
            return $"({picture.Description})";
        }

        var path = Path.Combine(folder, FormattableString.Invariant($"{number:000}{picture.Extension}"));
        try
        {
            Directory.CreateDirectory(folder);
            AtomicFile.WriteAllBytes(path, picture.File);
            return $"({picture.Description}: {path})";
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return $"({picture.Description}, not saved: {error.Message})";
        }
    }

    private sealed class Handle(ConsoleHost host, int number) : IDisplayHandle
    {
        private string _text = "";
        private string _picture = "";

        public void Update(MimeBundle bundle)
        {
            ArgumentNullException.ThrowIfNull(bundle);
            var text = ConsoleText.Clean(bundle.Text(MimeTypes.PlainText) ?? "");
            var picture = host.PictureLine(bundle, number);
            lock (host._gate)
            {
                if (host._region.Value is not { } region)
                {
                    WriteNews(text, picture, (host._writer ?? Console.Out).WriteLine);
                }
                else if (!region.Show(this, ConsoleText.Join(text, picture)))
                {
                    WriteNews(text, picture, region.WriteAbove);
                }

                (_text, _picture) = (text, picture);
            }
        }

        /// <summary>Writes what is new: the lines that were added, or the whole text where it is another one.</summary>
        private void WriteNews(string text, string picture, Action<string> writeLine)
        {
            if (text.Length > 0 && text != _text)
            {
                writeLine(text.StartsWith(_text, StringComparison.Ordinal) ? text[_text.Length..].TrimStart('\n') : text);
            }

            if (picture.Length > 0 && picture != _picture)
            {
                writeLine(picture);
            }
        }
    }
}
