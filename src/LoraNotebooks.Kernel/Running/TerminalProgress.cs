using LoraNotebooks.Kernel.Notebooks;
using Spectre.Console;
using Spectre.Console.Rendering;

namespace LoraNotebooks.Kernel.Running;

/// <summary>Shows a run in the terminal: a live line while a cell works, one line for each cell that is done.</summary>
/// <remarks>Where the output is a file or a pipe there is no live line, and news of a long cell comes every 15 seconds.</remarks>
internal sealed class TerminalProgress : IRunProgress
{
    private static readonly TimeSpan NewsInterval = TimeSpan.FromSeconds(15);
    private const int MaximumStatus = 100;

    /// <summary>A line that has no end yet is shown in pieces of this length, so that none is kept without a limit.</summary>
    private const int LongestLine = 1 << 16;

    /// <summary>The least time between two looks at a line that is being overwritten, such as a progress bar: no eye follows more.</summary>
    private static readonly TimeSpan GlanceInterval = TimeSpan.FromMilliseconds(100);

    private readonly IAnsiConsole _console;
    private readonly TimeProvider _time;
    private readonly bool _live;
    private readonly Lock _gate = new();
    private TerminalText _lines = new();
    private bool _lineIsError;
    private StatusContext? _status;
    private string _cell = "";
    private string _news = "";
    private long _lastNews;
    private long _lastGlance;

    /// <summary>Shows progress on the console as it is now: cells write to it through their own sinks.</summary>
    public TerminalProgress()
        : this(AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(Console.Out) }))
    {
    }

    /// <summary>Shows progress on <paramref name="console"/>.</summary>
    /// <param name="console">The console.</param>
    /// <param name="time">The clock; default the system's.</param>
    public TerminalProgress(IAnsiConsole console, TimeProvider? time = null)
    {
        (_console, _time) = (console, time ?? TimeProvider.System);
        _live = console.Profile.Capabilities.Interactive && console.Profile.Capabilities.Ansi && console.Profile.Out.IsTerminal;
        if (!console.Profile.Out.IsTerminal)
        {
            // Nothing is wrapped in a log file.
            console.Profile.Width = 4096;
        }
    }

    /// <summary>Runs <paramref name="work"/> with the live line, if there can be one.</summary>
    public Task<T> RunAsync<T>(Func<Task<T>> work) => !_live
        ? work()
        : _console.Status().Spinner(Spinner.Known.Dots).StartAsync("Starting C# …", async status =>
        {
            _status = status;
            AppDomain.CurrentDomain.ProcessExit += (_, _) => _console.Cursor.Show();
            try
            {
                return await work().ConfigureAwait(false);
            }
            finally
            {
                _status = null;
            }
        });

    /// <inheritdoc/>
    public void NotebookStarted(string path, int cells) =>
        Line($"[bold]{Escape(Path.GetFileName(path))}[/]  [grey]{cells} {(cells == 1 ? "cell" : "cells")}[/]");

    /// <inheritdoc/>
    public void CellStarted(int number, int cells, string title)
    {
        lock (_gate)
        {
            _cell = Name(number, cells, title);
            _news = "";
            _lastNews = _time.GetTimestamp();
            ShowStatus(_cell);
        }
    }

    /// <inheritdoc/>
    public void CellSkipped(int number, int cells, string title) => Line($"  [grey]–  {Escape(Name(number, cells, title))}  skipped[/]");

    /// <inheritdoc/>
    public void Output(string text, bool isError)
    {
        lock (_gate)
        {
            _lineIsError = isError;
            _lines.Append(text);
            if (_lines.FinishedLines.Length > 0)
            {
                foreach (var line in _lines.FinishedLines[..^1].EnumerateLines())
                {
                    OutputLine(line.ToString(), isError);
                }

                _lines.DropFinishedLines();
            }

            if (_lines.UnfinishedLine.Length >= LongestLine)
            {
                EndLine();
            }
            else if (_time.GetElapsedTime(_lastGlance) >= GlanceInterval)
            {
                _lastGlance = _time.GetTimestamp();
                Status(_lines.UnfinishedLine.ToString());
            }
        }
    }

    /// <inheritdoc/>
    public void Status(string text)
    {
        var line = AnsiText.Plain(text).AsSpan().Trim();
        line = line.IndexOf('\n') is > 0 and var end ? line[..end].Trim() : line;
        if (line.Length == 0)
        {
            return;
        }

        lock (_gate)
        {
            _news = line.Length <= MaximumStatus ? line.ToString() : line[..MaximumStatus].ToString() + "…";
            var where = _cell.Length > 0 ? _cell + " · " : "";
            ShowStatus(where + _news);
            if (!_live && _time.GetElapsedTime(_lastNews) >= NewsInterval)
            {
                _lastNews = _time.GetTimestamp();
                Line($"  [grey]…  {Escape(where + _news)}[/]");
            }
        }
    }

    /// <inheritdoc/>
    public void CellEnded(bool succeeded, TimeSpan elapsed)
    {
        lock (_gate)
        {
            EndLine();
            Line($"  {(succeeded ? "[green]✓[/]" : "[red]✗[/]")}  {Escape(_cell)}  [grey]{Durations.Format(elapsed)}[/]");
        }
    }

    /// <inheritdoc/>
    public void NotebookEnded(RunOutcome outcome, TimeSpan elapsed)
    {
        if (outcome.FailedCell is { } failed)
        {
            Line("");
            var ending = outcome.Exit switch
            {
                RunExit.TimedOut => "ran out of time",
                RunExit.Canceled => "was stopped",
                _ => "failed",
            };
            Line($"[red]Cell {failed.Number} ({Escape(failed.Title)}) {ending}:[/]");
            foreach (var line in outcome.Error!.Traceback)
            {
                Write(new Unwrapped([new Segment("  " + Printable(line))]));
            }

            Line("");
        }

        Line($"{(outcome.Exit == RunExit.Ok ? "[green]Done[/]" : "[red]Not finished[/]")} after {Durations.Format(elapsed)}.");
        if (outcome.Page is not null)
        {
            Line($"  page      {Escape(outcome.Page)}");
        }

        if (outcome.Executed is not null)
        {
            Line($"  notebook  {Escape(outcome.Executed)}");
        }
    }

    /// <summary>Shows what was wrong before anything ran.</summary>
    public void Refused(string message)
    {
        foreach (var line in message.ReplaceLineEndings("\n").Split('\n'))
        {
            Line($"[red]{Escape(line)}[/]");
        }
    }

    /// <summary>Shows a plain line.</summary>
    public void Say(string message) => Line(Escape(message));

    private static string Name(int number, int cells, string title) => $"cell {number} of {cells} · {title}";

    private void EndLine()
    {
        if (_lines.UnfinishedLine.Length > 0)
        {
            OutputLine(_lines.UnfinishedLine.ToString(), _lineIsError);
        }

        _lines = new TerminalText();
    }

    private void OutputLine(string line, bool isError)
    {
        var usual = isError ? new Style(Color.Yellow) : new Style(decoration: Decoration.Dim);
        Write(new Unwrapped([
            new Segment("  │ ", new Style(Color.Grey)),
            .. AnsiText.Runs(line).Select(run => new Segment(Printable(run.Text), run is { Letters: null, IsBold: false } ? usual : StyleOf(run))),
        ]));
    }

    /// <summary>The cell's own colours: a terminal's first sixteen have Spectre's numbers.</summary>
    private static Style StyleOf(AnsiRun run) =>
        new(run.Letters is { } colour ? Color.FromInt32(colour) : Color.Default, decoration: run.IsBold ? Decoration.Bold : Decoration.None);

    private void ShowStatus(string text) => _status?.Status(Escape(text));

    private void Line(string markup)
    {
        lock (_gate)
        {
            _console.MarkupLine(markup);
        }
    }

    private void Write(Unwrapped line)
    {
        lock (_gate)
        {
            _console.Write(line);
        }
    }

    private static string Escape(string text) => Markup.Escape(Printable(text));

    // Control characters could move the cursor or change the terminal's state.
    private static string Printable(string text) => string.Concat(AnsiText.Plain(text).Where(letter => letter == '\t' || !char.IsControl(letter)));

    /// <summary>A line of any length, broken by the terminal: Spectre's own way to break one takes time with the square of its words.</summary>
    private sealed class Unwrapped(IReadOnlyList<Segment> segments) : IRenderable
    {
        public Measurement Measure(RenderOptions options, int maxWidth) => new(1, maxWidth);

        public IEnumerable<Segment> Render(RenderOptions options, int maxWidth) => [.. segments, Segment.LineBreak];
    }
}
