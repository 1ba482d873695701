using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;

namespace LoraNotebooks.Kernel.Sessions;

/// <summary>A line of a cell that speaks to the notebook instead of the compiler.</summary>
/// <param name="Name">The name as it is written, e.g. <c>#!time</c>.</param>
/// <param name="Description">One sentence for a reader.</param>
/// <param name="IsOtherLanguage">Whether what follows is not C#, up to the next language.</param>
internal sealed record Magic(string Name, string Description, bool IsOtherLanguage = false);

/// <summary>A magic as it stands in a cell.</summary>
/// <param name="Name">The name with its <c>#!</c>, in lower case; <c>#i</c> for a package source.</param>
/// <param name="Argument">The rest of the line.</param>
/// <param name="Body">The text that follows in another language; empty where C# follows.</param>
internal sealed record CellMagic(string Name, string Argument, string Body = "");

/// <summary>The magics that there are, and those of a cell.</summary>
internal static class CellMagics
{
    private static readonly string[] CSharpNames = ["#!csharp", "#!c#", "#!cs"];

    /// <summary>Every magic, by name.</summary>
    public static IReadOnlyList<Magic> Known { get; } =
    [
        new("#!about", "Says which program, .NET and libtorch run the notebook."),
        new("#!csharp", "What follows is C#; also #!c# and #!cs."),
        new("#!html", "What follows is HTML, shown as it is.", IsOtherLanguage: true),
        new("#!lsmagic", "Lists the magics."),
        new("#!markdown", "What follows is Markdown, shown as such.", IsOtherLanguage: true),
        new("#!time", "Measures how long the cell takes."),
    ];

    /// <summary>The known magic that a line starts with, or null.</summary>
    public static Magic? OfLine(ReadOnlySpan<char> line)
    {
        var name = Read(line)?.Name;
        return name is null ? null : Known.FirstOrDefault(magic => magic.Name == name) ?? (CSharpNames.Contains(name) ? Known.First(magic => magic.Name == CSharpNames[0]) : null);
    }

    /// <summary>The C# of a cell: magics and parts in another language are blank, every other character keeps its place.</summary>
    public static string ToCSharp(string code) => Split(code).Code;

    /// <summary>Takes the magics out of a cell.</summary>
    /// <returns>The C# that is left, every character at its place, and the magics from top to bottom.</returns>
    public static (string Code, IReadOnlyList<CellMagic> Magics) Split(string code)
    {
        if (!code.Contains("#!", StringComparison.Ordinal) && !code.Contains("#i", StringComparison.Ordinal))
        {
            return (code, []);
        }

        var kept = code.ToCharArray();
        var magics = new List<CellMagic>();
        for (var start = 0; start < code.Length;)
        {
            start = TakeUntilOtherLanguage(code, start, kept, magics);
        }

        return (new string(kept), magics);
    }

    /// <summary>Takes out the magics from a place in C# up to the end of the next part in another language.</summary>
    /// <returns>Where C# begins again.</returns>
    private static int TakeUntilOtherLanguage(string code, int start, char[] kept, List<CellMagic> magics)
    {
        // The lexer knows whether a line is a directive or stands in a string or a comment.
        var root = CSharpSyntaxTree.ParseText(code[start..], CellCompiler.ParseOptions).GetRoot();
        var lines = root.GetText().Lines;
        foreach (var trivia in root.DescendantTrivia().Where(trivia => trivia.IsKind(SyntaxKind.BadDirectiveTrivia) || trivia.IsKind(SyntaxKind.ShebangDirectiveTrivia)))
        {
            var line = lines.GetLineFromPosition(trivia.SpanStart);
            var (first, end) = (start + line.Start, start + line.End);
            if (Read(code.AsSpan(first..end)) is not { } magic)
            {
                continue;
            }

            kept.AsSpan(first..end).Fill(' ');
            if (OfLine(code.AsSpan(first..end)) is not { IsOtherLanguage: true })
            {
                magics.Add(magic);
                continue;
            }

            var body = end + 1 < code.Length && code[end] == '\r' ? end + 2 : Math.Min(end + 1, code.Length);
            var next = EndOfBody(code, body);
            magics.Add(magic with { Body = code[body..next].TrimEnd('\r', '\n') });
            Blank(kept.AsSpan(body..next));
            return next;
        }

        return code.Length;
    }

    /// <summary>Where the next magic that names a language stands, or the end.</summary>
    private static int EndOfBody(string code, int start)
    {
        while (start < code.Length)
        {
            var length = code.AsSpan(start).IndexOf('\n');
            var line = length < 0 ? code.AsSpan(start) : code.AsSpan(start, length);
            if (OfLine(line) is { } magic && (magic.IsOtherLanguage || magic.Name == CSharpNames[0]))
            {
                return start;
            }

            start += line.Length + 1;
        }

        return code.Length;
    }

    private static void Blank(Span<char> text)
    {
        foreach (ref var letter in text)
        {
            letter = letter is '\r' or '\n' ? letter : ' ';
        }
    }

    private static CellMagic? Read(ReadOnlySpan<char> line)
    {
        line = line.Trim();
        if (line.StartsWith("#!") && line.Length > 2)
        {
            var end = line.IndexOfAny(' ', '\t');
            return new CellMagic((end < 0 ? line : line[..end]).ToString().ToLowerInvariant(), end < 0 ? "" : line[end..].Trim().ToString());
        }

        return line is "#i" || line.StartsWith("#i ") || line.StartsWith("#i\t") || line.StartsWith("#i\"") ? new CellMagic("#i", line[2..].Trim().ToString()) : null;
    }
}
