using LoraNotebooks.Kernel.Notebooks;

namespace LoraNotebooks.Kernel.Running;

/// <summary>
/// Runs the code cells of a notebook in order, without Jupyter, and writes the executed notebook and one self-contained page,
/// also when a cell fails or the time is up.
/// </summary>
/// <remarks>
/// A cell tagged <c>raises-exception</c> may fail and the run goes on; a cell tagged <c>skip</c> or <c>skip-execution</c> is not run and
/// keeps its stored outputs. Of the notebook only outputs, execution counts and <c>lora_notebooks</c> in its metadata
/// change: the mark of <see cref="NotebookDrift"/>, and what the outputs were computed on.
/// </remarks>
public sealed class NotebookRunner(IRunProgress progress)
{
    /// <summary>The clock of the limits and of what is said of the time; default the system's.</summary>
    internal TimeProvider Time { get; init; } = TimeProvider.System;

    /// <summary>Runs a notebook.</summary>
    /// <param name="path">The notebook; relative paths in its cells start from its folder, which is the current directory meanwhile.</param>
    /// <param name="options">What is written and where, parameters, time limits.</param>
    /// <param name="cancellation">Stops the running cell; what was made until then is written.</param>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="InvalidDataException">The file is not a C# notebook.</exception>
    /// <exception cref="RunParameterException">The parameters do not fit; nothing ran.</exception>
    public async Task<RunOutcome> RunAsync(string path, RunOptions options, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(options);
        var notebook = Prepare(path, options);
        path = Path.GetFullPath(path);
        var folder = Path.GetDirectoryName(path)!;
        var run = new NotebookRun(notebook, folder, Target(path, options), options, progress, Time);

        var before = Environment.CurrentDirectory;
        var started = Time.GetTimestamp();
        progress.NotebookStarted(path, run.CellCount);
        Environment.CurrentDirectory = folder;
        try
        {
            var outcome = await run.ExecuteAsync(cancellation).ConfigureAwait(false);
            progress.NotebookEnded(outcome, Time.GetElapsedTime(started));
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
        var notebook = Load(path);
        // A notebook that holds such a cell is the result of a run already, and is replaced as a whole.
        var isInPlace = options.Formats.HasFlag(RunFormats.Notebook) && Path.GetFullPath(path) == Target(path, options) + ".ipynb";
        if (isInPlace && options.Parameters.Count > 0 && !notebook.Cells.Any(cell => cell.IsInjected()))
        {
            throw new RunParameterException(
                "With -p the run would put a cell of parameters into the notebook itself. Choose another folder with --output, or --format html.");
        }

        RunParameters.Inject(notebook, Path.GetDirectoryName(Path.GetFullPath(path))!, options.Parameters);
        notebook.Normalize();
        return notebook;
    }

    /// <summary>Reads a notebook whose cells can be run.</summary>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="InvalidDataException">The file is not a C# notebook, or cells of it are in languages that cannot be run.</exception>
    internal static Notebook Load(string path)
    {
        var notebook = Notebook.Load(path);
        if (!notebook.IsCSharp)
        {
            throw new InvalidDataException(
                $"{path} is a notebook in {notebook.Language}; only C# notebooks can be run. "
                    + "If its cells are C#, set the language of its kernelspec metadata to C#.");
        }

        return CellCode.Refusal(notebook) is { } refusal ? throw new InvalidDataException($"{path}: {refusal}") : notebook;
    }

    /// <summary>Where the results go, without the extension.</summary>
    private static string Target(string path, RunOptions options) =>
        Path.Combine(Path.GetFullPath(options.OutputFolder), Path.GetFileNameWithoutExtension(path));
}
