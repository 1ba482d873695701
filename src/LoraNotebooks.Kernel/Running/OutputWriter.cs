using System.Text.Json.Nodes;
using LoraNotebooks.Kernel.Notebooks;
using LoraNotebooks.Tensors;

namespace LoraNotebooks.Kernel.Running;

/// <summary>
/// Moves outputs into the notebook and the notebook into its file while cells work, so that a crash of the process
/// takes at most the last few seconds with it.
/// </summary>
internal sealed class OutputWriter : IAsyncDisposable
{
    /// <summary>The least time between two writes during a cell; a write of a notebook of 2 MB takes some hundredths of a second.</summary>
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(3);

    private readonly Lock _gate = new();
    private readonly Notebook _notebook;
    private readonly string? _path;
    private readonly Dictionary<NotebookCell, CellOutputs> _outputs = [];
    private readonly CancellationTokenSource _stop = new();
    private readonly Task _writing;
    private bool _isStale = true;

    /// <summary>Takes the outputs of an earlier run out of the notebook, except those of cells that are skipped.</summary>
    /// <param name="notebook">Takes the outputs; nobody else may change it meanwhile.</param>
    /// <param name="path">The file; null where none is wanted.</param>
    public OutputWriter(Notebook notebook, string? path)
    {
        (_notebook, _path) = (notebook, path);
        foreach (var cell in notebook.Cells.Where(cell => cell.Kind == CellKind.Code && !cell.IsSkipped()))
        {
            cell.SetOutputs([]);
            cell.ExecutionCount = null;
        }

        (notebook.ExecutedCode, notebook.Machine) = (null, null);
        _writing = path is null ? Task.CompletedTask : WriteRepeatedlyAsync();
    }

    /// <summary>A cell starts; from now on its outputs are kept.</summary>
    public void Begin(NotebookCell cell, int executionCount, CellOutputs outputs)
    {
        lock (_gate)
        {
            cell.ExecutionCount = executionCount;
            _outputs[cell] = outputs;
        }
    }

    /// <summary>Brings the notebook up to date and writes it, if anything changed.</summary>
    public void Save()
    {
        lock (_gate)
        {
            foreach (var (cell, outputs) in _outputs)
            {
                if (outputs.TakeChanges() is { } changed)
                {
                    cell.SetOutputs(changed);
                    _isStale = true;
                }
            }

            if (_isStale && _path is not null)
            {
                _notebook.Save(_path);
                _isStale = false;
            }
        }
    }

    /// <summary>Writes the final state.</summary>
    /// <param name="complete">Whether every cell ran: only then do the outputs speak for the code.</param>
    /// <param name="machine">What the outputs were computed on.</param>
    public void Finish(bool complete, Machine machine)
    {
        lock (_gate)
        {
            _notebook.Machine = Metadata(machine);
            _notebook.ExecutedCode = complete ? NotebookDrift.HashOf(_notebook) : null;
            _isStale = true;
            Save();
        }
    }

    /// <summary>Ends the writing; from here on the notebook changes no more.</summary>
    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync().ConfigureAwait(false);
        await _writing.ConfigureAwait(false);
        _stop.Dispose();
    }

    private static JsonObject Metadata(Machine machine)
    {
        var facts = new JsonObject
        {
            ["processor"] = machine.Processor.ToString(),
            ["instructions"] = new JsonArray([.. machine.Processor.Instructions.Select(static name => (JsonNode)name)]),
        };
        if (machine.LibTorch is not null)
        {
            (facts["libtorch"], facts["threads"], facts["kernels"]) = (machine.LibTorch, machine.Threads, machine.Kernels);
        }

        return facts;
    }

    private async Task WriteRepeatedlyAsync()
    {
        using var timer = new PeriodicTimer(Interval);
        try
        {
            while (await timer.WaitForNextTickAsync(_stop.Token).ConfigureAwait(false))
            {
                try
                {
                    Save();
                }
                catch (Exception error) when (error is IOException or UnauthorizedAccessException)
                {
                    // A full disk may have room again by the next time; the write after the cell reports what does not pass.
                }
            }
        }
        catch (OperationCanceledException)
        {
            // The run is over.
        }
    }
}
