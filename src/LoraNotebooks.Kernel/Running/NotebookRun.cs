using System.Diagnostics;
using LoraNotebooks.Formats;
using LoraNotebooks.Interactive;
using LoraNotebooks.Kernel.Html;
using LoraNotebooks.Kernel.Notebooks;
using LoraNotebooks.Kernel.Sessions;

namespace LoraNotebooks.Kernel.Running;

/// <summary>One notebook on its way through a session.</summary>
/// <param name="notebook">The notebook with its parameters in; it takes the outputs.</param>
/// <param name="folder">Where relative paths start.</param>
/// <param name="target">Where the results go, without the extension.</param>
/// <param name="options">What is written, and the time limits.</param>
/// <param name="progress">Told of everything that happens.</param>
internal sealed class NotebookRun(Notebook notebook, string folder, string target, RunOptions options, IRunProgress progress)
{
    private readonly IReadOnlyList<(NotebookCell Cell, string Title)> _cells = CellTitles.Of(notebook);
    private readonly Dictionary<string, TimeSpan> _durations = new(StringComparer.Ordinal);
    private readonly Stopwatch _clock = new();

    /// <summary>The number of cells that hold code.</summary>
    public int CellCount => _cells.Count;

    /// <summary>Runs the cells and writes the results.</summary>
    public async Task<RunOutcome> ExecuteAsync(CancellationToken cancellation)
    {
        _clock.Start();
        var executed = options.Formats.HasFlag(RunFormats.Notebook) ? target + ".ipynb" : null;
        var page = options.Formats.HasFlag(RunFormats.Page) ? target + ".html" : null;
        var outcome = new RunOutcome(RunExit.Ok, executed, page, null, null, StillRunning: false);
        await using (var writer = new OutputWriter(notebook, executed))
        {
            outcome = await ExecuteCellsAsync(writer, outcome, cancellation).ConfigureAwait(false);
            writer.Finish(complete: outcome.Exit == RunExit.Ok);
        }

        if (page is not null)
        {
            AtomicFile.WriteAllText(page, HtmlExport.Export(notebook, new HtmlExportOptions
            {
                Title = CellTitles.Heading(notebook) ?? Path.GetFileName(target),
                BaseFolder = folder,
                Durations = _durations,
                Footer = Footer(_clock.Elapsed),
            }));
        }

        return outcome;
    }

    private async Task<RunOutcome> ExecuteCellsAsync(OutputWriter writer, RunOutcome outcome, CancellationToken cancellation)
    {
        using var session = new CSharpSession(new CSharpSessionOptions
        {
            BaseFolder = folder,
            StandardOutput = text => (NotebookHost.Current as CellOutputs)?.Write(text, isError: false),
            StandardError = text => (NotebookHost.Current as CellOutputs)?.Write(text, isError: true),
            Report = progress.Status,
        });
        for (var i = 0; i < _cells.Count; i++)
        {
            var (cell, title) = _cells[i];
            if (cell.IsSkipped())
            {
                progress.CellSkipped(i + 1, _cells.Count, title);
                continue;
            }

            progress.CellStarted(i + 1, _cells.Count, title);
            var result = await ExecuteAsync(session, writer, cell, i + 1, cancellation).ConfigureAwait(false);
            var isExpected = cell.MayFail() && result.Status is CellStatus.CompileError or CellStatus.Failed;
            if (isExpected)
            {
                progress.Output(result.Error!.Message + "\n", isError: true);
            }

            progress.CellEnded(result.Error is null || isExpected, result.Elapsed);
            writer.Save();
            if (result.Error is not null && !isExpected)
            {
                return outcome with { Exit = Exit(result.Status), FailedCell = (i + 1, title), Error = result.Error, StillRunning = result.StillRunning };
            }
        }

        return outcome;
    }

    private async Task<CellResult> ExecuteAsync(CSharpSession session, OutputWriter writer, NotebookCell cell, int number, CancellationToken cancellation)
    {
        var left = options.Timeout - _clock.Elapsed;
        var isOwnLimit = options.CellTimeout is not null && !(left < options.CellTimeout);
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        if ((isOwnLimit ? options.CellTimeout : left) is { } limit)
        {
            stop.CancelAfter(limit > TimeSpan.Zero ? limit : TimeSpan.Zero);
        }

        var outputs = new CellOutputs(progress.Output, progress.Status, () => session.Cancellation);
        writer.Begin(cell, number, outputs);
        using var host = NotebookHost.Use(outputs);
        var result = await session.RunAsync(CellCode.Of(cell), $"cell {number}", cancellation: stop.Token).ConfigureAwait(false);
        if (result.Error is not null && stop.IsCancellationRequested)
        {
            // Whatever the cell made of the stop: it did not fail by itself.
            result = cancellation.IsCancellationRequested ? result with { Status = CellStatus.Canceled } : TimedOut(result, number, isOwnLimit);
        }

        (result, var shown) = result.Shown($"cell {number}");
        if (shown is not null)
        {
            outputs.AddResult(shown, number);
        }

        if (result.Error is not null)
        {
            outputs.AddError(result.Error);
        }

        _durations[cell.Id!] = result.Elapsed;
        return result;
    }

    /// <summary>The result of a cell that a limit ended; an exception that the cell made of the stop stays below the reason.</summary>
    private CellResult TimedOut(CellResult result, int number, bool isOwnLimit)
    {
        var message = isOwnLimit
            ? $"Cell {number} did not end within {Durations.Format(options.CellTimeout!.Value)}, the limit for each cell (--cell-timeout)."
            : $"Cell {number} was stopped: the {Durations.Format(options.Timeout!.Value)} that all cells together may take are over (--timeout).";
        if (result.StillRunning)
        {
            message += " It hangs in native code and still runs.";
        }

        IEnumerable<string> thrown = result.Status == CellStatus.Canceled ? [] : result.Error!.Traceback;
        return result with { Status = CellStatus.TimedOut, Error = new CellError("TimedOut", message, [message, .. thrown]) };
    }

    private static RunExit Exit(CellStatus status) => status switch
    {
        CellStatus.TimedOut => RunExit.TimedOut,
        CellStatus.Canceled => RunExit.Canceled,
        _ => RunExit.CellFailed,
    };

    private static string Footer(TimeSpan elapsed) =>
        $"Run in {Durations.Format(elapsed)} with LoraNotebooks {typeof(NotebookRunner).Assembly.GetName().Version?.ToString(3)}, "
        + $".NET {Environment.Version}, {Environment.ProcessorCount} processors";
}
