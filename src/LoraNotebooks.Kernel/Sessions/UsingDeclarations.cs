using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Syntax;

namespace LoraNotebooks.Kernel.Sessions;

/// <summary><c>using var x = …;</c> at the top of a cell, which the compiler's script dialect does not have.</summary>
/// <remarks>
/// The words <c>using</c> and <c>await using</c> become blanks, so that a variable of the session is left and every character keeps
/// its place. The session disposes of it when another cell declares the name anew, and of all when it ends. A variable that is
/// called <c>_</c> cannot be named later: it gets a hidden name, and lives as long as its cell.
/// </remarks>
internal static class UsingDeclarations
{
    // As long as "using _", so that nothing behind it moves.
    private const string Hidden = "__use";
    private const int HiddenLength = 7;
    private const int MostHidden = 99;

    private static readonly CSharpParseOptions Regular = CellCompiler.ParseOptions.WithKind(SourceCodeKind.Regular);

    /// <summary>Whether a variable stands for one that was called <c>_</c>.</summary>
    public static bool IsHidden(string name) => name.Length == HiddenLength && name.StartsWith(Hidden, StringComparison.Ordinal);

    /// <summary>Takes the words out of the C# of a cell.</summary>
    /// <returns>The script, as long as before, and the variables that are to be disposed of, in the order of declaration.</returns>
    public static (string Code, IReadOnlyList<string> Variables) Take(string code)
    {
        if (!code.Contains("using", StringComparison.Ordinal))
        {
            return (code, []);
        }

        // As a program the top of a cell may hold such declarations; what else a script may hold is of no interest here.
        var declarations = CSharpSyntaxTree.ParseText(code, Regular).GetCompilationUnitRoot().Members
            .OfType<GlobalStatementSyntax>()
            .Select(member => member.Statement)
            .OfType<LocalDeclarationStatementSyntax>()
            .Where(statement => statement.UsingKeyword.IsKind(SyntaxKind.UsingKeyword)
                && statement.Declaration.Variables.All(variable => !variable.Identifier.IsMissing))
            .ToArray();
        if (declarations.Length == 0)
        {
            return (code, []);
        }

        var letters = code.ToCharArray();
        var names = new List<string>();
        foreach (var declaration in declarations)
        {
            Blank(declaration.AwaitKeyword);
            Blank(declaration.UsingKeyword);
            foreach (var variable in declaration.Declaration.Variables)
            {
                var name = variable.Identifier.ValueText;
                var isAlone = declaration.Declaration.Variables.Count == 1 && names.Count(IsHidden) < MostHidden;
                names.Add(name == "_" && isAlone ? Hide(declaration, variable.Identifier, names.Count(IsHidden)) : name);
            }
        }

        return (new string(letters), names);

        void Blank(SyntaxToken token) => letters.AsSpan(token.SpanStart, token.Span.Length).Fill(' ');

        // The type moves to where "using" stood, which makes room for a longer name.
        string Hide(LocalDeclarationStatementSyntax declaration, SyntaxToken underscore, int number)
        {
            var name = $"{Hidden}{number:00}";
            var start = declaration.UsingKeyword.SpanStart;
            var end = underscore.Span.End;
            var type = code[declaration.Declaration.Type.SpanStart..declaration.Declaration.Type.Span.End];
            var text = $"{type} {name}";
            if (text.Length > end - start || code.AsSpan(start..end).Contains('\n'))
            {
                return "_";
            }

            letters.AsSpan(start, end - start).Fill(' ');
            text.CopyTo(0, letters, end - text.Length, text.Length);
            return name;
        }
    }
}
