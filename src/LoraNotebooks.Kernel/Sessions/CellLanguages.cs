namespace LoraNotebooks.Kernel.Sessions;

/// <summary>A language that notebooks of other hosts name for a cell.</summary>
/// <param name="Name">The name for a reader.</param>
/// <param name="Magic">The magic under which a cell of it can be run or shown here; null if it cannot.</param>
internal sealed record CellLanguage(string Name, string? Magic)
{
    /// <summary>Whether it is C#.</summary>
    public bool IsCSharp => Magic == "#!csharp";
}

/// <summary>The languages of cells: those that run or are shown, and those that are refused by name.</summary>
internal static class CellLanguages
{
    private static readonly CellLanguage CSharp = new("C#", "#!csharp");

    private static readonly Dictionary<string, CellLanguage> Known = new(StringComparer.OrdinalIgnoreCase)
    {
        ["csharp"] = CSharp,
        ["c#"] = CSharp,
        ["cs"] = CSharp,
        ["markdown"] = new("Markdown", "#!markdown"),
        ["html"] = new("HTML", "#!html"),
        ["mermaid"] = new("Mermaid", "#!mermaid"),
        ["fsharp"] = new("F#", null),
        ["f#"] = new("F#", null),
        ["fs"] = new("F#", null),
        ["javascript"] = new("JavaScript", null),
        ["js"] = new("JavaScript", null),
        ["typescript"] = new("TypeScript", null),
        ["pwsh"] = new("PowerShell", null),
        ["powershell"] = new("PowerShell", null),
        ["python"] = new("Python", null),
        ["pythonkernel"] = new("Python", null),
        ["r"] = new("R", null),
        ["sql"] = new("SQL", null),
        ["mssql"] = new("SQL", null),
        ["kql"] = new("KQL", null),
        ["http"] = new("HTTP", null),
        ["httprequest"] = new("HTTP", null),
        ["bash"] = new("Bash", null),
        ["sh"] = new("Shell", null),
        ["vb"] = new("Visual Basic", null),
        ["vbnet"] = new("Visual Basic", null),
    };

    /// <summary>The language of a name; one that nothing is known of is refused under its own name.</summary>
    public static CellLanguage Of(string name) => Known.GetValueOrDefault(name) ?? new CellLanguage(name, null);

    /// <summary>The language that a magic such as <c>#!fsharp</c> names, or null if it names none.</summary>
    public static CellLanguage? OfMagic(string magic) => Known.GetValueOrDefault(magic[2..]);

    /// <summary>What is said of a language that cannot be run.</summary>
    public static string Refusal(CellLanguage language) => $"is {language.Name}; only C# runs here, and Markdown, HTML and Mermaid are shown";

    /// <summary>The languages within a cell of C# that cannot be run.</summary>
    public static IEnumerable<CellLanguage> RefusedIn(string code) =>
        CellMagics.Split(code).Magics
            .Select(magic => magic.Name.StartsWith("#!", StringComparison.Ordinal) ? OfMagic(magic.Name) : null)
            .OfType<CellLanguage>()
            .Where(language => language.Magic is null);
}
