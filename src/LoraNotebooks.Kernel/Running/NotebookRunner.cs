using System.Diagnostics;
using LoraNotebooks.Formats;
using LoraNotebooks.Interactive;
using LoraNotebooks.Kernel.Html;
using LoraNotebooks.Kernel.Notebooks;
using LoraNotebooks.Kernel.Sessions;

namespace LoraNotebooks.Kernel.Running;

/// <summary>
/// Runs the code cells of a notebook in order, without Jupyter, and writes the executed notebook and one self-contained page,
/// also when a cell fails or the time is up.
/// </summary>
public sealed class NotebookRunner(IRunProgress progress)
{
    /// <summary>Runs a notebook.</summary>
    /// <param name="path">The notebook; relative paths in its cells start from its folder, which is the current directory meanwhile.</param>
    /// <param name="options">Output folder, parameters, time limit.</param>
    /// <param name="cancellation">Stops the running cell; what was made until then is written.</param>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="InvalidDataException">The file is not a C# notebook.</exception>
    /// <exception cref="RunParameterException">The parameters do not fit; nothing ran.</exception>
    public async Task<RunOutcome> RunAsync(string path, RunOptions options, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(options);
        var notebook = Prepare(path, options);
        path = Path.GetFullPath(path);
        var output = Path.GetFullPath(options.OutputFolder);
        Directory.CreateDirectory(output);
        var run = new Run(notebook, Path.GetDirectoryName(path)!, Path.Combine(output, Path.GetFileNameWithoutExtension(path)), progress);

        var before = Environment.CurrentDirectory;
        var clock = Stopwatch.StartNew();
        progress.NotebookStarted(path, run.CellCount);
        Environment.CurrentDirectory = run.Folder;
        try
        {
            var outcome = await run.ExecuteAsync(options.Timeout, cancellation).ConfigureAwait(false);
            progress.NotebookEnded(outcome, clock.Elapsed);
            return outcome;
        }
        finally
        {
            Environment.CurrentDirectory = before;
        }
    }

    /// <summary>Reads a notebook and puts the parameters in: everything that can be refused before anything runs.</summary>
    /// <inheritdoc cref="RunAsync"/>
    internal static Notebook Prepare(string path, RunOptions options)
    {
        var notebook = Notebook.Load(path);
        if (!notebook.IsCSharp)
        {
            throw new InvalidDataException($"{path} is a notebook in {notebook.Language}; only C# notebooks can be run. If its cells are C#, set the language of its kernelspec metadata to C#.");
        }

        RunParameters.Inject(notebook, options.Parameters);
        notebook.Normalize();
        return notebook;
    }

    /// <summary>One notebook on its way through.</summary>
    private sealed class Run(Notebook notebook, string folder, string target, IRunProgress progress)
    {
        private readonly IReadOnlyList<(NotebookCell Cell, string Title)> _cells = CellTitles.Of(notebook);
        private readonly Dictionary<NotebookCell, CellOutputs> _outputs = [];
        private readonly Dictionary<string, TimeSpan> _durations = new(StringComparer.Ordinal);

        public string Folder => folder;

        public int CellCount => _cells.Count;

        public async Task<RunOutcome> ExecuteAsync(TimeSpan? timeout, CancellationToken cancellation)
        {
            var clock = Stopwatch.StartNew();
            using var session = new CSharpSession(new CSharpSessionOptions
            {
                BaseFolder = folder,
                StandardOutput = text => (NotebookHost.Current as CellOutputs)?.Write(text, isError: false),
                StandardError = text => (NotebookHost.Current as CellOutputs)?.Write(text, isError: true),
                Report = progress.Status,
            });
            foreach (var (cell, _) in _cells)
            {
                cell.SetOutputs([]);
                cell.ExecutionCount = null;
            }

            var outcome = new RunOutcome(RunExit.Ok, target + ".ipynb", target + ".html", null, null, StillRunning: false);
            for (var i = 0; i < _cells.Count && outcome.Exit == RunExit.Ok; i++)
            {
                var (cell, title) = _cells[i];
                progress.CellStarted(i + 1, _cells.Count, title);
                var result = await ExecuteAsync(session, cell, i + 1, timeout - clock.Elapsed, cancellation).ConfigureAwait(false);
                if (result.Status == CellStatus.TimedOut)
                {
                    progress.Output($"The time limit of {Durations.Format(timeout!.Value)} for the whole notebook was reached.\n", isError: true);
                }

                progress.CellEnded(result.Error is null, result.Elapsed);
                if (result.Error is not null)
                {
                    outcome = outcome with { Exit = Exit(result.Status), FailedCell = (i + 1, title), Error = result.Error, StillRunning = result.StillRunning };
                }

                Save();
            }

            Save();
            AtomicFile.WriteAllText(target + ".html", HtmlExport.Export(notebook, new HtmlExportOptions
            {
                Title = CellTitles.Heading(notebook) ?? Path.GetFileName(target),
                BaseFolder = folder,
                Durations = _durations,
                Footer = Footer(clock.Elapsed),
            }));
            return outcome;
        }

        private async Task<CellResult> ExecuteAsync(CSharpSession session, NotebookCell cell, int number, TimeSpan? limit, CancellationToken cancellation)
        {
            var outputs = _outputs[cell] = new CellOutputs(progress.Output, progress.Status);
            using var host = NotebookHost.Use(outputs);
            cell.ExecutionCount = number;
            var result = await session.RunAsync(cell.Source, $"cell {number}", limit, cancellation).ConfigureAwait(false);
            if (result.Value is not null)
            {
                try
                {
                    outputs.AddResult(DisplayFormatter.Format(result.Value), number);
                }
                catch (Exception error) when (result.Error is null)
                {
                    var message = $"The value of cell {number}, a {result.Value.GetType()}, could not be shown: {error.Message}";
                    result = result with { Status = CellStatus.Failed, Error = new CellError(error.GetType().ToString(), message, [message]) };
                }
            }

            if (result.Error is not null)
            {
                outputs.AddError(result.Error);
            }

            _durations[cell.Id!] = result.Elapsed;
            return result;
        }

        /// <summary>Writes the notebook as it is now: a crash later in the run does not take this with it.</summary>
        private void Save()
        {
            foreach (var (cell, outputs) in _outputs)
            {
                cell.SetOutputs(outputs.Snapshot());
            }

            notebook.Save(target + ".ipynb");
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
}
