using LoraNotebooks.Kernel.Notebooks;
using LoraNotebooks.Kernel.Sessions;

namespace LoraNotebooks.Kernel.Running;

/// <summary>What a session is given for a cell that says in its metadata, or by a magic, that it is in another language than C#.</summary>
internal static class CellCode
{
    private const int MostNamed = 10;

    /// <summary>The text to run: of a cell in another language with the magic that names it.</summary>
    public static string Of(NotebookCell cell) => LanguageOf(cell) is not { IsCSharp: false } language ? cell.Source
        : $"{language.Magic ?? "#!" + cell.LanguageName}\n{cell.Source}";

    /// <summary>Which cells of a notebook cannot be run, in words; null if all can. Cells that are skipped or may fail do not count.</summary>
    public static string? Refusal(Notebook notebook)
    {
        var faults = CellTitles.Of(notebook).Index()
            .Where(cell => !cell.Item.Cell.IsSkipped() && !cell.Item.Cell.MayFail())
            .Select(cell => (cell.Index, Language: Refused(cell.Item.Cell)))
            .Where(cell => cell.Language is not null)
            .ToArray();
        if (faults.Length == 0)
        {
            return null;
        }

        var last = Math.Min(faults.Length, MostNamed) - 1;
        var named = faults.Take(MostNamed).Select((cell, i) =>
            $"cell {cell.Index + 1} {(i < last ? "is " + cell.Language!.Name : CellLanguages.Refusal(cell.Language!))}");
        var more = faults.Length > MostNamed ? $". So it is with {faults.Length - MostNamed} more" : "";
        return $"C{string.Join(", ", named)[1..]}{more}. Tag such cells \"skip\" to run the others.";
    }

    private static CellLanguage? LanguageOf(NotebookCell cell) => cell.LanguageName is { } name ? CellLanguages.Of(name) : null;

    private static CellLanguage? Refused(NotebookCell cell) => LanguageOf(cell) switch
    {
        { Magic: null } other => other,
        { IsCSharp: false } => null,
        _ => CellLanguages.RefusedIn(cell.Source).FirstOrDefault(),
    };
}
