using LoraNotebooks.Kernel.Notebooks;

namespace LoraNotebooks.Kernel.Running;

/// <summary>Short names for cells, taken from the prose around them.</summary>
internal static class CellTitles
{
    private const int MaximumLength = 60;

    /// <summary>The code cells that hold code, each with the heading before it, else its first comment, else its first line.</summary>
    public static IReadOnlyList<(NotebookCell Cell, string Title)> Of(Notebook notebook)
    {
        var titles = new List<(NotebookCell, string)>();
        string? heading = null;
        foreach (var cell in notebook.Cells)
        {
            if (cell.Kind == CellKind.Markdown)
            {
                heading = FirstHeading(cell.Source) ?? heading;
            }
            else if (cell.HasCode())
            {
                titles.Add((cell, Shorten(heading ?? FirstLine(cell.Source))));
                heading = null;
            }
        }

        return titles;
    }

    /// <summary>The first heading of the notebook.</summary>
    public static string? Heading(Notebook notebook) => notebook.Cells
        .Where(cell => cell.Kind == CellKind.Markdown)
        .Select(cell => FirstHeading(cell.Source))
        .FirstOrDefault(heading => heading is not null);

    private static string? FirstHeading(string markdown)
    {
        var fenced = false;
        foreach (var line in markdown.Split('\n', StringSplitOptions.TrimEntries))
        {
            fenced ^= line.StartsWith("```", StringComparison.Ordinal);
            var level = line.AsSpan().IndexOfAnyExcept('#');
            if (!fenced && level is >= 1 and <= 6 && line[level] == ' ')
            {
                return line[level..].Trim(' ', '#').Replace("`", "", StringComparison.Ordinal).Replace("**", "", StringComparison.Ordinal);
            }
        }

        return null;
    }

    private static string FirstLine(string source)
    {
        var lines = source.Split('\n', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);
        var comment = lines.FirstOrDefault(line => line.StartsWith("//", StringComparison.Ordinal))?.Trim('/', ' ');
        return string.IsNullOrEmpty(comment) ? lines[0] : comment;
    }

    private static string Shorten(string title) => title.Length <= MaximumLength ? title : title[..(MaximumLength - 1)] + "…";
}
