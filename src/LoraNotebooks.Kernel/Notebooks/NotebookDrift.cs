using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Nodes;

namespace LoraNotebooks.Kernel.Notebooks;

/// <summary>Finds where the code of a notebook and its stored outputs have drifted apart. Every fault is one line of text; no fault, no line.</summary>
/// <remarks>
/// A run leaves the hash of the code in the notebook's metadata: <c>"lora_notebooks": { "executed": "…" }</c>.
/// Two executions are compared by the structure of their outputs, since times and last digits differ from machine to machine.
/// </remarks>
internal static class NotebookDrift
{
    /// <summary>SHA-256 in hex over the sources of the cells that hold code, without parameters that a run put in.</summary>
    public static string HashOf(Notebook notebook)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (var cell in CodeCells(notebook))
        {
            hash.AppendData(Encoding.UTF8.GetBytes(cell.Source));
            hash.AppendData([0]);
        }

        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    /// <summary>Whether the stored outputs are those of the code beside them.</summary>
    public static IReadOnlyList<string> FaultsOf(Notebook stored)
    {
        var cells = CodeCells(stored);
        if (cells.Length == 0)
        {
            return [];
        }

        var faults = new List<string>();
        if (cells.All(cell => cell.Outputs.Count == 0))
        {
            faults.Add("It has no stored outputs.");
        }
        else if (stored.ExecutedCode is not { } executed)
        {
            faults.Add("Its outputs are not those of a complete run.");
        }
        else if (executed != HashOf(stored))
        {
            faults.Add("Its code has changed since the outputs were made.");
        }

        faults.AddRange(cells.Index()
            .Where(cell => !cell.Item.MayFail() && cell.Item.Outputs.Any(output => Text(output, "output_type") == "error"))
            .Select(cell => $"Cell {cell.Index + 1} has an error among its outputs."));
        return faults;
    }

    /// <summary>Where the outputs of a fresh execution are built differently from the stored ones.</summary>
    /// <param name="stored">The notebook as it is kept.</param>
    /// <param name="fresh">The same notebook executed anew, perhaps with other parameters.</param>
    public static IReadOnlyList<string> Compare(Notebook stored, Notebook fresh)
    {
        var (before, now) = (CodeCells(stored), CodeCells(fresh));
        if (before.Length != now.Length)
        {
            return [$"The stored notebook has {before.Length} cells of code, the fresh one {now.Length}."];
        }

        return [.. before.Zip(now, (one, other) => (Stored: Structure(one), Fresh: Structure(other))).Index()
            .Where(cell => cell.Item.Stored != cell.Item.Fresh)
            .Select(cell => $"Cell {cell.Index + 1}: stored are [{cell.Item.Stored}], a fresh run gives [{cell.Item.Fresh}].")];
    }

    /// <summary>
    /// The outputs of a cell in short: kind, stream or MIME types of each; text of one stream in a row counts once. The error stream is left out:
    /// what stands there is about the machine, such as kernels that are wrong on it.
    /// </summary>
    private static string Structure(NotebookCell cell)
    {
        var outputs = new List<string>();
        foreach (var output in cell.Outputs.Where(static output => Text(output, "name") != "stderr"))
        {
            var type = Text(output, "output_type");
            var shape = type switch
            {
                "stream" => Text(output, "name"),
                "display_data" or "execute_result" =>
                    $"{type} of {string.Join(" + ", (output!["data"] as JsonObject ?? []).Select(form => form.Key).Order(StringComparer.Ordinal))}",
                _ => type,
            };
            if (type != "stream" || outputs.LastOrDefault() != shape)
            {
                outputs.Add(shape);
            }
        }

        return string.Join(", ", outputs);
    }

    private static NotebookCell[] CodeCells(Notebook notebook) => [.. notebook.Cells.Where(cell => cell.HasCode() && !cell.IsInjected())];

    private static string Text(JsonNode? output, string member) => output is JsonObject json ? Notebook.JoinText(json[member]) : "";
}
