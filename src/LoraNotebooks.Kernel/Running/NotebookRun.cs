using LoraNotebooks.Foundation;
using LoraNotebooks.Interactive;
using LoraNotebooks.Kernel.Html;
using LoraNotebooks.Kernel.Notebooks;
using LoraNotebooks.Kernel.Sessions;
using LoraNotebooks.Tensors;

namespace LoraNotebooks.Kernel.Running;

/// <summary>One notebook on its way through a session.</summary>
/// <param name="notebook">The notebook with its parameters in; it takes the outputs.</param>
/// <param name="folder">Where relative paths start.</param>
/// <param name="target">Where the results go, without the extension.</param>
/// <param name="options">What is written, and the time limits.</param>
/// <param name="progress">Told of everything that happens.</param>
/// <param name="time">The clock of the limits and of what is said of the time.</param>
internal sealed class NotebookRun(Notebook notebook, string folder, string target, RunOptions options, IRunProgress progress, TimeProvider time)
{
    private static readonly TimeSpan FinalizerLimit = TimeSpan.FromSeconds(5);

    private readonly IReadOnlyList<(NotebookCell Cell, string Title)> _cells = CellTitles.Of(notebook);
    private readonly Dictionary<string, TimeSpan> _durations = new(StringComparer.Ordinal);
    private readonly long _started = time.GetTimestamp();
    private readonly RunOutcome _planned = new(
        RunExit.Ok,
        options.Formats.HasFlag(RunFormats.Notebook) ? target + ".ipynb" : null,
        options.Formats.HasFlag(RunFormats.Page) ? target + ".html" : null,
        null,
        null,
        StillRunning: false);

    private readonly Lock _gate = new();
    private CellOutputs? _running;
    private CellOutputs? _last;
    private long _cellStart;
    private RunOutcome? _strayed;
    private bool _isWritten;

    private TimeSpan Elapsed => time.GetElapsedTime(_started);

    private string Title => CellTitles.Heading(notebook) ?? Path.GetFileName(target);

    /// <summary>The notebook as it goes: the result itself, else, where somebody could finish the run after a crash, a file for that.</summary>
    private string? Written => _planned.Executed ?? (RunRecord.File is { } record ? record + ".ipynb" : null);

    /// <summary>The number of cells that hold code.</summary>
    public int CellCount => _cells.Count;

    /// <summary>Runs the cells and writes the results.</summary>
    /// <exception cref="IOException">A result cannot be written; the other one was, if it could be.</exception>
    public async Task<RunOutcome> ExecuteAsync(CancellationToken cancellation)
    {
        var writer = new OutputWriter(notebook, Written, time);
        void FinishHere(object? sender, EventArgs e) => EndWithProcess(writer, cancellation);
        AppDomain.CurrentDomain.ProcessExit += FinishHere;
        try
        {
            writer.Save();
            var outcome = await ExecuteCellsAsync(writer, cancellation).ConfigureAwait(false);
            await writer.DisposeAsync().ConfigureAwait(false);
            WriteResults(writer, outcome);
            return outcome;
        }
        finally
        {
            AppDomain.CurrentDomain.ProcessExit -= FinishHere;
        }
    }

    private async Task<RunOutcome> ExecuteCellsAsync(OutputWriter writer, CancellationToken cancellation)
    {
        using var session = new CSharpSession(new CSharpSessionOptions
        {
            BaseFolder = folder,
            StandardOutput = text => (NotebookHost.Current as CellOutputs)?.Write(text, isError: false),
            StandardError = text => (NotebookHost.Current as CellOutputs)?.Write(text, isError: true),
            StrayError = Take,
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

            var strayed = Volatile.Read(ref _strayed);
            progress.CellEnded((result.Error is null || isExpected) && strayed?.FailedCell?.Number != i + 1, result.Elapsed);
            writer.Save();
            if (result.Error is not null && !isExpected)
            {
                return _planned with { Exit = Exit(result.Status), FailedCell = (i + 1, title), Error = result.Error, StillRunning = result.StillRunning };
            }

            if (strayed is not null)
            {
                return strayed;
            }
        }

        // A task that failed and that nobody awaited is noticed when it is collected.
        await Task.Run(static () =>
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
        }).WaitAsync(FinalizerLimit).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        return Volatile.Read(ref _strayed) ?? _planned;
    }

    /// <summary>Takes an exception that came out of something that a cell had started: the cell has failed, and no further one begins.</summary>
    private void Take(CellError error)
    {
        if (NotebookHost.Current is not CellOutputs outputs)
        {
            return;
        }

        outputs.AddError(error);
        var (cell, title) = _cells[outputs.Number - 1];
        progress.Output($"{(outputs == Volatile.Read(ref _running) ? "" : $"Cell {outputs.Number}: ")}{error.Name}: {error.Message}\n", isError: true);
        if (!cell.MayFail())
        {
            Interlocked.CompareExchange(ref _strayed, _planned with { Exit = RunExit.CellFailed, FailedCell = (outputs.Number, title), Error = error }, null);
        }
    }

    /// <summary>The process ends in the middle of the run, because a cell ended it: what there is, is written, and the exit code says that it failed.</summary>
    private void EndWithProcess(OutputWriter writer, CancellationToken cancellation)
    {
        // With the results being written the run is as good as over.
        lock (_gate)
        {
            if (_isWritten)
            {
                return;
            }
        }

        var (running, last) = (Volatile.Read(ref _running), Volatile.Read(ref _last));
        var isCanceled = cancellation.IsCancellationRequested;
        var place = running is not null ? $"while cell {running.Number} ran" : last is not null ? $"after cell {last.Number}" : "before the first cell";
        var message = isCanceled
            ? $"The process was ended {place}."
            : $"The process was ended {place}, with exit code {Environment.ExitCode} (Environment.Exit). No later cell ran.";
        var error = new CellError("ProcessEnded", message, [message]);
        last?.AddError(error);
        if (running is not null)
        {
            progress.CellEnded(succeeded: false, time.GetElapsedTime(_cellStart));
        }

        var outcome = _planned with
        {
            Exit = isCanceled ? RunExit.Canceled : RunExit.CellFailed,
            FailedCell = last is null ? null : (last.Number, _cells[last.Number - 1].Title),
            Error = error,
        };
        try
        {
            WriteResults(writer, outcome);
        }
        finally
        {
            progress.NotebookEnded(outcome, Elapsed);
            Environment.ExitCode = (int)outcome.Exit;
        }
    }

    /// <summary>Writes both results, the second also when the first cannot be written.</summary>
    private void WriteResults(OutputWriter writer, RunOutcome outcome)
    {
        // Only now: cells choose threads, and a notebook that does not compute never loads libtorch.
        var machine = Machine.Here(loadLibTorch: false);
        lock (_gate)
        {
            _isWritten = true;
            try
            {
                writer.Finish(complete: outcome.Exit == RunExit.Ok, machine);
            }
            finally
            {
                if (outcome.Page is { } page)
                {
                    AtomicFile.WriteAllText(page, HtmlExport.Export(notebook, new HtmlExportOptions
                    {
                        Title = Title,
                        BaseFolder = folder,
                        Durations = _durations,
                        Footer = Footer(Elapsed, machine),
                    }));
                }
            }
        }
    }

    private async Task<CellResult> ExecuteAsync(CSharpSession session, OutputWriter writer, NotebookCell cell, int number, CancellationToken cancellation)
    {
        var left = options.Timeout - Elapsed;
        var isOwnLimit = options.CellTimeout is not null && !(left < options.CellTimeout);
        using var limit = (isOwnLimit ? options.CellTimeout : left) is { } most
            ? new CancellationTokenSource(most > TimeSpan.Zero ? most : TimeSpan.Zero, time)
            : new CancellationTokenSource();
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellation, limit.Token);

        var outputs = new CellOutputs(number, progress.Output, progress.Status, () => session.Cancellation);
        _cellStart = time.GetTimestamp();
        Volatile.Write(ref _last, outputs);
        Volatile.Write(ref _running, outputs);
        writer.Begin(cell, number, outputs);
        if (RunRecord.File is not null)
        {
            new RunRecord(Written!, _planned, Title, folder, number, _cells[number - 1].Title, cell.Id!).Write();
        }

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

        Volatile.Write(ref _running, null);
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

    private static string Footer(TimeSpan elapsed, Machine machine) =>
        $"Executed in {Durations.Format(elapsed)} on {machine}, with LoraNotebooks {typeof(NotebookRunner).Assembly.GetName().Version?.ToString(3)}, "
        + $".NET {Environment.Version}, {Environment.ProcessorCount} processors";
}
