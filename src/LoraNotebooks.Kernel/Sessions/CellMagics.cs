using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;

namespace LoraNotebooks.Kernel.Sessions;

/// <summary>A line of a cell that speaks to the notebook instead of the compiler.</summary>
/// <param name="Name">The name as it is written, e.g. <c>#!time</c>.</param>
/// <param name="Description">One sentence for a reader.</param>
/// <param name="IsOtherLanguage">Whether what follows is not C#, up to the next language.</param>
/// <param name="Shows">Whether it shows something at its place.</param>
internal sealed record Magic(string Name, string Description, bool IsOtherLanguage = false, bool Shows = false);

/// <summary>A magic as it stands in a cell.</summary>
/// <param name="Name">The name with its <c>#!</c>, in lower case; <c>#i</c> for a package source.</param>
/// <param name="Argument">The rest of the line.</param>
/// <param name="Body">The text that follows in another language; empty where C# follows.</param>
/// <param name="Start">Where it begins in the cell.</param>
internal sealed record CellMagic(string Name, string Argument, string Body = "", int Start = 0);

/// <summary>A stretch of a cell that runs at once: first its magics, then its C#.</summary>
/// <param name="Magics">The magics, from top to bottom.</param>
/// <param name="Code">The C#, every character at its place in the cell; the rest is blank.</param>
internal sealed record CellPart(IReadOnlyList<CellMagic> Magics, string Code)
{
    /// <summary>Whether there is any C#.</summary>
    public bool HasCode => Code.AsSpan().Trim().Length > 0;
}

/// <summary>The magics that there are, and those of a cell.</summary>
internal static class CellMagics
{
    private static readonly string[] CSharpNames = ["#!csharp", "#!c#", "#!cs"];

    /// <summary>Every magic, by name.</summary>
    public static IReadOnlyList<Magic> Known { get; } =
    [
        new("#!about", "Says which program, .NET and libtorch run the notebook.", Shows: true),
        new("#!csharp", "What follows is C#; also #!c# and #!cs."),
        new("#!html", "What follows is HTML, shown as it is.", IsOtherLanguage: true, Shows: true),
        new("#!lsmagic", "Lists the magics.", Shows: true),
        new("#!markdown", "What follows is Markdown, shown as such.", IsOtherLanguage: true, Shows: true),
        new("#!mermaid", "What follows is a Mermaid diagram, shown by front ends that draw them in Markdown.", IsOtherLanguage: true, Shows: true),
        new("#!time", "Measures how long the cell takes."),
        new("#!who", "Names the variables.", Shows: true),
        new("#!whos", "Lists the variables with types and values, tensors with their shapes.", Shows: true),
    ];

    /// <summary>The known magic that a line starts with, or null.</summary>
    public static Magic? OfLine(ReadOnlySpan<char> line)
    {
        var name = Read(line)?.Name;
        return name is null
            ? null
            : Known.FirstOrDefault(magic => magic.Name == name)
                ?? (CSharpNames.Contains(name) ? Known.First(magic => magic.Name == CSharpNames[0]) : null);
    }

    /// <summary>Whether what follows a magic is not C#: a language that is shown, or one that cannot be run.</summary>
    private static bool LeavesCSharp(CellMagic magic) =>
        OfLine(magic.Name) is { IsOtherLanguage: true } || CellLanguages.OfMagic(magic.Name) is { IsCSharp: false };

    /// <summary>The C# of a cell as a script: magics and parts in another language are blank, every other character keeps its place.</summary>
    public static string ToCSharp(string code) => UsingDeclarations.Take(Split(code).Code).Code;

    /// <summary>The parts of a cell in their order: what a magic shows stands between what the C# before and after it shows.</summary>
    public static IReadOnlyList<CellPart> Parts(string code)
    {
        var (kept, magics) = Split(code);
        var parts = new List<CellPart>();
        var (first, start) = (0, 0);
        for (var i = 0; i < magics.Count; i++)
        {
            var before = kept.AsSpan(start, magics[i].Start - start);
            if (OfLine(magics[i].Name) is { Shows: true } && before.Trim().Length > 0 && IsWhole(before.ToString()))
            {
                parts.Add(new CellPart(magics.Take(first..i).ToArray(), Only(kept, start, magics[i].Start)));
                (first, start) = (i, magics[i].Start);
            }
        }

        parts.Add(new CellPart(magics.Skip(first).ToArray(), Only(kept, start, kept.Length)));
        return parts;
    }

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
        foreach (var trivia in root.DescendantTrivia().Where(trivia =>
            trivia.IsKind(SyntaxKind.BadDirectiveTrivia) || trivia.IsKind(SyntaxKind.ShebangDirectiveTrivia)))
        {
            var line = lines.GetLineFromPosition(trivia.SpanStart);
            var (first, end) = (start + line.Start, start + line.End);
            if (Read(code.AsSpan(first..end)) is not { } magic)
            {
                continue;
            }

            magic = magic with { Start = first };
            kept.AsSpan(first..end).Fill(' ');
            if (!LeavesCSharp(magic))
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
            if (Read(line) is { } magic && (LeavesCSharp(magic) || CSharpNames.Contains(magic.Name)))
            {
                return start;
            }

            start += line.Length + 1;
        }

        return code.Length;
    }

    /// <summary>Whether C# ends here, and not within a block.</summary>
    private static bool IsWhole(string code) => SyntaxFactory.IsCompleteSubmission(CSharpSyntaxTree.ParseText(code, CellCompiler.ParseOptions));

    private static string Only(string text, int start, int end)
    {
        var letters = text.ToCharArray();
        Blank(letters.AsSpan(..start));
        Blank(letters.AsSpan(end..));
        return new string(letters);
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

        return line is "#i" || line.StartsWith("#i ") || line.StartsWith("#i\t") || line.StartsWith("#i\"")
            ? new CellMagic("#i", line[2..].Trim().ToString())
            : null;
    }
}
