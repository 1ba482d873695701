using System.Text;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;

namespace LoraNotebooks.Kernel.Html;

/// <summary>Colours C# source as HTML by its tokens alone, without a compilation.</summary>
/// <remarks>Type and method names are recognised by how they are written: a capital where C# style has a type, a bracket after the name.</remarks>
internal static class CSharpHighlighter
{
    private static readonly CSharpParseOptions ScriptOptions = new(LanguageVersion.Latest, kind: SourceCodeKind.Script);

    /// <summary>The source as escaped HTML with a <c>span</c> around each coloured token.</summary>
    public static string ToHtml(string source)
    {
        var html = new StringBuilder(source.Length * 2);
        SyntaxToken previous = default;
        var tokens = CSharpSyntaxTree.ParseText(source, ScriptOptions).GetRoot().DescendantTokens().ToArray();
        for (var i = 0; i < tokens.Length; i++)
        {
            var token = tokens[i];
            AppendTrivia(html, token.LeadingTrivia);
            Append(html, token.ToString(), Class(token, previous, i + 1 < tokens.Length ? tokens[i + 1] : default));
            AppendTrivia(html, token.TrailingTrivia);
            previous = token;
        }

        return html.ToString();
    }

    private static string? Class(SyntaxToken token, SyntaxToken previous, SyntaxToken next)
    {
        var kind = token.Kind();
        return kind switch
        {
            SyntaxKind.StringLiteralToken or SyntaxKind.CharacterLiteralToken
                or SyntaxKind.SingleLineRawStringLiteralToken or SyntaxKind.MultiLineRawStringLiteralToken
                or SyntaxKind.Utf8StringLiteralToken or SyntaxKind.Utf8SingleLineRawStringLiteralToken or SyntaxKind.Utf8MultiLineRawStringLiteralToken
                or SyntaxKind.InterpolatedStringStartToken or SyntaxKind.InterpolatedVerbatimStringStartToken or SyntaxKind.InterpolatedStringTextToken
                or SyntaxKind.InterpolatedStringEndToken or SyntaxKind.InterpolatedSingleLineRawStringStartToken
                or SyntaxKind.InterpolatedMultiLineRawStringStartToken or SyntaxKind.InterpolatedRawStringEndToken => "s",
            SyntaxKind.NumericLiteralToken => "n",
            SyntaxKind.IdentifierToken => IdentifierClass(token, previous, next),
            _ => SyntaxFacts.IsKeywordKind(kind) ? "k" : null,
        };
    }

    private static string? IdentifierClass(SyntaxToken token, SyntaxToken previous, SyntaxToken next)
    {
        if (SyntaxFacts.GetContextualKeywordKind(token.ValueText)
            is SyntaxKind.VarKeyword or SyntaxKind.AwaitKeyword or SyntaxKind.AsyncKeyword
                or SyntaxKind.RecordKeyword or SyntaxKind.WithKeyword or SyntaxKind.NameOfKeyword)
        {
            return "k";
        }

        if (next.IsKind(SyntaxKind.OpenParenToken) && !previous.IsKind(SyntaxKind.NewKeyword))
        {
            return "m";
        }

        var startsLikeType = token.ValueText.Length > 0 && char.IsUpper(token.ValueText[0]) && token.ValueText.Skip(1).Any(char.IsLower);
        return startsLikeType && !previous.IsKind(SyntaxKind.DotToken) && !next.IsKind(SyntaxKind.EqualsToken) && !next.IsKind(SyntaxKind.ColonToken)
            ? "t"
            : null;
    }

    private static void AppendTrivia(StringBuilder html, SyntaxTriviaList trivia)
    {
        foreach (var piece in trivia)
        {
            var kind = piece.Kind();
            Append(html, piece.ToFullString(), piece.IsDirective ? "d"
                : kind is SyntaxKind.SingleLineCommentTrivia or SyntaxKind.MultiLineCommentTrivia
                    or SyntaxKind.SingleLineDocumentationCommentTrivia or SyntaxKind.MultiLineDocumentationCommentTrivia ? "c" : null);
        }
    }

    private static void Append(StringBuilder html, string text, string? cssClass)
    {
        var escaped = SafeHtml.Escape(text);
        if (cssClass is null || escaped.Length == 0)
        {
            html.Append(escaped);
        }
        else
        {
            html.Append("<span class=\"").Append(cssClass).Append("\">").Append(escaped).Append("</span>");
        }
    }
}
