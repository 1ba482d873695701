using System.Collections.Concurrent;

namespace LoraNotebooks.Kernel.Sessions;

/// <summary>The source lines of the cells that ran, so that an error can show the line it speaks of.</summary>
internal sealed class CellSources
{
    private readonly ConcurrentDictionary<string, string[]> _lines = new(StringComparer.Ordinal);

    /// <summary>Makes the compiler count lines within the cell under the cell's name.</summary>
    public static string WithLineDirective(string code, string cellName) => $"#line 1 \"{FileName(cellName)}\"\n{code}";

    /// <summary>Remembers a cell; a later run under the same name replaces it.</summary>
    public void Add(string cellName, string code) => _lines[FileName(cellName)] = code.ReplaceLineEndings("\n").Split('\n');

    /// <summary>The cell that a debug document stands for, or null if it is none.</summary>
    public string? CellOf(string? document) =>
        document is null ? null
        : _lines.ContainsKey(document) ? document
        : _lines.ContainsKey(Path.GetFileName(document)) ? Path.GetFileName(document)
        : null;

    /// <summary>A line of a cell, counted from 1, without indentation.</summary>
    public string Line(string cell, int number) =>
        _lines.TryGetValue(cell, out var lines) && number >= 1 && number <= lines.Length ? lines[number - 1].Trim() : "";

    private static string FileName(string cellName) => cellName.Replace('"', '\'').Replace('/', '-').Replace('\\', '-').ReplaceLineEndings(" ");
}
