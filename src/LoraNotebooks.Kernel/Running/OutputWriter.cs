using System.Text.Json.Nodes;
using LoraNotebooks.Kernel.Notebooks;
using LoraNotebooks.Tensors;

namespace LoraNotebooks.Kernel.Running;

/// <summary>
/// Moves outputs into the notebook and the notebook into its file while cells work, so that a crash of the process
/// takes at most the last moments with it.
/// </summary>
internal sealed class OutputWriter : IAsyncDisposable
{
    /// <summary>How often outputs are looked at.</summary>
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(200);

    /// <summary>What writing may take before it has to be sparing: enough for each of some dozen cells to be written when it ends.</summary>
    private static readonly TimeSpan Allowance = TimeSpan.FromSeconds(0.25);

    /// <summary>Beyond that, writing takes at most one part in so many of the time.</summary>
    /// <remarks>Every write is of the whole notebook, and there may be a thousand cells.</remarks>
    private const int Share = 50;

    private readonly Lock _gate = new();
    private readonly Notebook _notebook;
    private readonly string? _path;
    private readonly TimeProvider _time;
    private readonly Dictionary<NotebookCell, CellOutputs> _outputs = [];
    private readonly CancellationTokenSource _stop = new();
    private readonly Task _writing;
    private bool _isStale = true;
    private readonly long _begun;
    private TimeSpan _spent;

    /// <summary>Takes the outputs of an earlier run out of the notebook, except those of cells that are skipped.</summary>
    /// <param name="notebook">Takes the outputs; nobody else may change it meanwhile.</param>
    /// <param name="path">The file; null where none is wanted.</param>
    /// <param name="time">The clock; default the system's.</param>
    public OutputWriter(Notebook notebook, string? path, TimeProvider? time = null)
    {
        (_notebook, _path, _time) = (notebook, path, time ?? TimeProvider.System);
        _begun = _time.GetTimestamp();
        foreach (var cell in notebook.Cells.Where(cell => cell.Kind == CellKind.Code && !cell.IsSkipped()))
        {
            cell.SetOutputs([]);
            cell.ExecutionCount = null;
        }

        (notebook.ExecutedCode, notebook.Machine) = (null, null);
        _writing = path is null ? Task.CompletedTask : WriteRepeatedlyAsync();
    }

    /// <summary>How often the file was written.</summary>
    internal int Writes { get; private set; }

    /// <summary>A cell starts; from now on its outputs are kept.</summary>
    public void Begin(NotebookCell cell, int executionCount, CellOutputs outputs)
    {
        lock (_gate)
        {
            cell.ExecutionCount = executionCount;
            _outputs[cell] = outputs;
        }
    }

    /// <summary>Brings the notebook up to date and writes it, if anything changed and not too much time went into that yet; else a later look does.</summary>
    /// <remarks>What cannot be written now may be next time, a full disk have room again; <see cref="Finish"/> reports what does not pass.</remarks>
    public void Save()
    {
        lock (_gate)
        {
            if (_spent > Allowance + _time.GetElapsedTime(_begun) / Share)
            {
                return;
            }

            try
            {
                Write();
            }
            catch (Exception error) when (error is IOException or UnauthorizedAccessException)
            {
                _isStale = true;
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
            Write();
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
        using var timer = new PeriodicTimer(Interval, _time);
        try
        {
            while (await timer.WaitForNextTickAsync(_stop.Token).ConfigureAwait(false))
            {
                Save();
            }
        }
        catch (OperationCanceledException)
        {
            // The run is over.
        }
    }

    private void Write()
    {
        var start = _time.GetTimestamp();
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
            _spent += _time.GetElapsedTime(start);
            Writes++;
        }
    }
}
