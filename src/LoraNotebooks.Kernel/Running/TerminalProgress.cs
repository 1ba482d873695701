using System.Text;
using Spectre.Console;

namespace LoraNotebooks.Kernel.Running;

/// <summary>Shows a run in the terminal: a live line while a cell works, one line for each cell that is done.</summary>
/// <remarks>Where the output is a file or a pipe there is no live line, and news of a long cell comes every 15 seconds.</remarks>
internal sealed class TerminalProgress : IRunProgress
{
    private static readonly TimeSpan NewsInterval = TimeSpan.FromSeconds(15);
    private const int MaximumStatus = 100;

    private readonly IAnsiConsole _console;
    private readonly bool _live;
    private readonly Lock _gate = new();
    private readonly StringBuilder _partialLine = new();
    private StatusContext? _status;
    private string _cell = "";
    private string _news = "";
    private long _lastNews;

    /// <summary>Shows progress on the console as it is now: cells write to it through their own sinks.</summary>
    public TerminalProgress()
        : this(AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(Console.Out) }))
    {
    }

    /// <summary>Shows progress on <paramref name="console"/>.</summary>
    public TerminalProgress(IAnsiConsole console)
    {
        _console = console;
        _live = console.Profile.Capabilities.Interactive && console.Profile.Capabilities.Ansi && console.Profile.Out.IsTerminal;
        if (!console.Profile.Out.IsTerminal)
        {
            // Nothing is wrapped in a log file.
            console.Profile.Width = 4096;
        }
    }

    /// <summary>Runs <paramref name="work"/> with the live line, if there can be one.</summary>
    public Task<T> RunAsync<T>(Func<Task<T>> work) => !_live ? work() : _console.Status().Spinner(Spinner.Known.Dots).StartAsync("Starting C# …", async status =>
    {
        _status = status;
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
    public void NotebookStarted(string path, int cells) => Line($"[bold]{Escape(Path.GetFileName(path))}[/]  [grey]{cells} {(cells == 1 ? "cell" : "cells")}[/]");

    /// <inheritdoc/>
    public void CellStarted(int number, int cells, string title)
    {
        lock (_gate)
        {
            _cell = Name(number, cells, title);
            _news = "";
            _lastNews = Environment.TickCount64;
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
            _partialLine.Append(text);
            var whole = _partialLine.ToString();
            var end = whole.LastIndexOf('\n');
            if (end < 0)
            {
                return;
            }

            _partialLine.Clear().Append(whole.AsSpan(end + 1));
            foreach (var line in whole[..end].Split('\n'))
            {
                OutputLine(line, isError);
            }
        }
    }

    /// <inheritdoc/>
    public void Status(string text)
    {
        var line = text.AsSpan().Trim();
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
            if (!_live && Environment.TickCount64 - _lastNews >= NewsInterval.TotalMilliseconds)
            {
                _lastNews = Environment.TickCount64;
                Line($"  [grey]…  {Escape(where + _news)}[/]");
            }
        }
    }

    /// <inheritdoc/>
    public void CellEnded(bool succeeded, TimeSpan elapsed)
    {
        lock (_gate)
        {
            if (_partialLine.Length > 0)
            {
                OutputLine(_partialLine.ToString(), isError: false);
                _partialLine.Clear();
            }

            Line($"  {(succeeded ? "[green]✓[/]" : "[red]✗[/]")}  {Escape(_cell)}  [grey]{Durations.Format(elapsed)}[/]");
        }
    }

    /// <inheritdoc/>
    public void NotebookEnded(RunOutcome outcome, TimeSpan elapsed)
    {
        if (outcome.FailedCell is { } failed)
        {
            Line("");
            Line($"[red]Cell {failed.Number} ({Escape(failed.Title)}) {(outcome.Exit switch { RunExit.TimedOut => "ran out of time", RunExit.Canceled => "was stopped", _ => "failed" })}:[/]");
            foreach (var line in outcome.Error!.Traceback)
            {
                Line($"  {Escape(line)}");
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

    private void OutputLine(string line, bool isError)
    {
        // A progress bar overwrites its line; only the last state of it is news.
        var shown = line.TrimEnd('\r');
        shown = shown[(shown.LastIndexOf('\r') + 1)..];
        Line($"  [grey]│[/] {(isError ? "[yellow]" : "[dim]")}{Escape(shown)}[/]");
    }

    private void ShowStatus(string text) => _status?.Status(Escape(text));

    private void Line(string markup)
    {
        lock (_gate)
        {
            _console.MarkupLine(markup);
        }
    }

    // Markup brackets are doubled; control characters could move the cursor or change the terminal's state.
    private static string Escape(string text) => Markup.Escape(string.Concat(text.Where(letter => letter == '\t' || !char.IsControl(letter))));
}
