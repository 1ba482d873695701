using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;

namespace LoraNotebooks.Kernel.Sessions;

/// <summary>A line of a cell that speaks to the notebook instead of the compiler: <c>#!time</c>, <c>#i "nuget: source"</c>.</summary>
/// <param name="Name">The name without <c>#!</c>; <c>i</c> for a package source.</param>
/// <param name="Argument">The rest of the line.</param>
/// <param name="Line">The line within the cell, from 0.</param>
internal sealed record CellMagic(string Name, string Argument, int Line);

/// <summary>The magics of a cell.</summary>
internal static class CellMagics
{
    /// <summary>What <c>#!lsmagic</c> lists: names with their meaning.</summary>
    public static IReadOnlyList<(string Name, string Meaning)> Known { get; } =
    [
        ("#!time", "measures how long the cell takes"),
        ("#!about", "says which program, .NET and libtorch run the notebook"),
        ("#!lsmagic", "lists this"),
        ("#!csharp", "says that the cell is C#, which it is anyway; also #!c# and #!cs"),
        ("#!html", "shows the rest of the cell as HTML"),
        ("#!markdown", "shows the rest of the cell as Markdown"),
        ("#i \"nuget: source\"", "adds a package source, an address or a folder, for #r"),
        ("#r \"nuget: Name, version\"", "makes a package usable"),
        ("#r \"file.dll\"", "makes an assembly usable"),
        ("#load \"file.csx\"", "runs a file of C# as part of the cell"),
    ];

    /// <summary>Takes the magics out of a cell; every other character keeps its line and column.</summary>
    /// <returns>The C# that is left, and the magics from top to bottom.</returns>
    public static (string Code, IReadOnlyList<CellMagic> Magics) Split(string code)
    {
        var first = code.AsSpan().TrimStart();
        if (!first.StartsWith("#!") && !code.Contains("\n#", StringComparison.Ordinal) && !first.StartsWith("#i"))
        {
            return (code, []);
        }

        // The lexer knows whether a line is a directive or stands in a string or a comment. What #!html starts is no C# at all.
        var root = CSharpSyntaxTree.ParseText(code, new CSharpParseOptions(LanguageVersion.Latest, kind: SourceCodeKind.Script)).GetRoot();
        var lines = root.GetText().Lines;
        var kept = code.ToCharArray();
        var magics = new List<CellMagic>();
        foreach (var trivia in root.DescendantTrivia().Where(trivia => trivia.IsKind(SyntaxKind.BadDirectiveTrivia) || trivia.IsKind(SyntaxKind.ShebangDirectiveTrivia)))
        {
            var line = lines.GetLineFromPosition(trivia.SpanStart);
            var text = code.AsSpan(line.Start, line.End - line.Start).Trim();
            if (Read(text, line.LineNumber) is not { } magic)
            {
                continue;
            }

            magics.Add(magic);
            Array.Fill(kept, ' ', line.Start, line.End - line.Start);
            if (magic.Name is "html" or "markdown")
            {
                kept.AsSpan(line.End).Fill(' ');
                break;
            }
        }

        return (new string(kept), magics);
    }

    private static CellMagic? Read(ReadOnlySpan<char> line, int number)
    {
        if (line.StartsWith("#!") && line.Length > 2)
        {
            var end = line[2..].IndexOfAny(' ', '\t');
            var name = end < 0 ? line[2..] : line[2..(2 + end)];
            return new CellMagic(name.ToString().ToLowerInvariant(), end < 0 ? "" : line[(2 + end)..].Trim().ToString(), number);
        }

        return line.StartsWith("#i ") || line.StartsWith("#i\"") ? new CellMagic("i", line[2..].Trim().ToString(), number) : null;
    }
}
