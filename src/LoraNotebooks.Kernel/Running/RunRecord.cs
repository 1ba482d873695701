using System.Text.Json;
using LoraNotebooks.Foundation;
using LoraNotebooks.Kernel.Html;
using LoraNotebooks.Kernel.Notebooks;
using LoraNotebooks.Kernel.Sessions;

namespace LoraNotebooks.Kernel.Running;

/// <summary>What another process must know to finish the results of a run whose process has crashed; <see cref="RunSupervisor"/> is that process.</summary>
/// <param name="Written">The notebook as it is written while cells run.</param>
/// <param name="Planned">What the run was to give.</param>
/// <param name="Title">The title of the page.</param>
/// <param name="Folder">The notebook's folder.</param>
/// <param name="Cell">The number of the cell that began last, from 1.</param>
/// <param name="CellTitle">Its title.</param>
/// <param name="CellId">Its id in the notebook.</param>
internal sealed record RunRecord(string Written, RunOutcome Planned, string Title, string Folder, int Cell, string CellTitle, string CellId)
{
    /// <summary>The file that holds the record; null where nobody reads it.</summary>
    public static string? File { get; set; }

    /// <summary>Keeps the record.</summary>
    public void Write() => System.IO.File.WriteAllBytes(File!, JsonSerializer.SerializeToUtf8Bytes(this));

    /// <summary>Writes the results of a run that crashed, its last cell with the reason.</summary>
    /// <param name="file">The file that holds the record.</param>
    /// <param name="reason">What became of the process.</param>
    /// <returns>The outcome; null if no cell had begun.</returns>
    public static RunOutcome? Finish(string file, string reason)
    {
        if (!System.IO.File.Exists(file) || JsonSerializer.Deserialize<RunRecord>(System.IO.File.ReadAllBytes(file)) is not { } record)
        {
            return null;
        }

        var message = $"{reason} while cell {record.Cell} ran. What it showed in its last moments may be missing.";
        var error = new CellError("ProcessEnded", message, [message]);
        var output = ErrorOutput.Content(error);
        output["output_type"] = "error";
        var notebook = Notebook.Load(record.Written);
        var cell = notebook.Cells.First(cell => cell.Id == record.CellId);
        cell.ExecutionCount = record.Cell;
        cell.SetOutputs([.. cell.Outputs.Select(shown => (System.Text.Json.Nodes.JsonObject)shown!.DeepClone()), output]);
        if (record.Planned.Executed is { } executed)
        {
            notebook.Save(executed);
        }

        if (record.Planned.Page is { } page)
        {
            AtomicFile.WriteAllText(page, HtmlExport.Export(notebook, new HtmlExportOptions { Title = record.Title, BaseFolder = record.Folder }));
        }

        return record.Planned with { Exit = RunExit.CellFailed, FailedCell = (record.Cell, record.CellTitle), Error = error };
    }
}
