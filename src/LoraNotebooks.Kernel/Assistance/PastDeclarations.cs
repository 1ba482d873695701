using System.Text;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Syntax;

namespace LoraNotebooks.Kernel.Assistance;

/// <summary>What cells declared, written down as the source of one submission; of each name the latest declaration.</summary>
/// <remarks>
/// Variables get the types that the compiler inferred, since what their initializers spoke of may have been declared anew.
/// Bodies of methods are dropped: later cells only see what can be named.
/// </remarks>
internal sealed class PastDeclarations
{
    private readonly List<Declaration> _declarations = [];
    private readonly Dictionary<string, string> _usings = new(StringComparer.Ordinal);

    /// <summary>Whether nothing was added yet.</summary>
    public bool IsEmpty { get; private set; } = true;

    /// <summary>Adds one cell; its names hide earlier ones.</summary>
    public void Add(CSharpCompilation cell)
    {
        IsEmpty = false;
        foreach (var directive in cell.SyntaxTrees.Last().GetCompilationUnitRoot().Usings)
        {
            _usings[directive.Alias?.Name.ToString() ?? directive.ToString()] = directive.ToString();
        }

        foreach (var member in cell.ScriptClass?.GetMembers() ?? [])
        {
            if (!member.IsImplicitlyDeclared && SourceOf(member) is { } source)
            {
                Add(new Declaration(NameOf(member), (member as IMethodSymbol)?.ToDisplayString(Signature), source));
            }
        }
    }

    /// <summary>The source of a submission that declares all of it.</summary>
    public string ToSource()
    {
        var source = new StringBuilder();
        foreach (var line in _usings.Values)
        {
            source.Append(line).Append('\n');
        }

        foreach (var declaration in _declarations)
        {
            source.Append(declaration.Source).Append('\n');
        }

        return source.ToString();
    }

    // Methods of one name add up as overloads; everything else replaces and is replaced.
    private void Add(Declaration added)
    {
        _declarations.RemoveAll(earlier => earlier.Name == added.Name
            && (earlier.Signature is null || added.Signature is null || earlier.Signature == added.Signature));
        _declarations.Add(added);
    }

    private static string NameOf(ISymbol member) => member is INamedTypeSymbol { Arity: > 0 } type ? $"{type.Name}`{type.Arity}" : member.Name;

    private static string? SourceOf(ISymbol member)
    {
        var syntax = member.DeclaringSyntaxReferences.FirstOrDefault()?.GetSyntax();
        return (member, syntax) switch
        {
            (IFieldSymbol field, _) => Variable(field, (syntax as VariableDeclaratorSyntax)?.Initializer),
            (IMethodSymbol { MethodKind: MethodKind.Ordinary }, MethodDeclarationSyntax method) => Documented(
                method.WithBody(null).WithExpressionBody(null).WithSemicolonToken(SyntaxFactory.Token(SyntaxKind.SemicolonToken))),
            (IPropertySymbol or INamedTypeSymbol or IEventSymbol, MemberDeclarationSyntax declaration) => Documented(declaration),
            (IEventSymbol { Type: var type }, _) => $"event {type.ToDisplayString(FullName)} {Escaped(member)};",
            _ => null,
        };
    }

    private static string Variable(IFieldSymbol field, EqualsValueClauseSyntax? initializer) =>
        CanBeWritten(field.Type) ? $"{field.Type.ToDisplayString(FullName)} {Escaped(field)};"
        : initializer is not null ? $"var {Escaped(field)} {initializer};"
        : $"dynamic {Escaped(field)};";

    private static bool CanBeWritten(ITypeSymbol type) => type switch
    {
        { IsAnonymousType: true } or IErrorTypeSymbol => false,
        IArrayTypeSymbol array => CanBeWritten(array.ElementType),
        IPointerTypeSymbol pointer => CanBeWritten(pointer.PointedAtType),
        INamedTypeSymbol named => named.TypeArguments.All(CanBeWritten) && (named.ContainingType is null || CanBeWritten(named.ContainingType)),
        _ => true,
    };

    private static string Documented(SyntaxNode declaration)
    {
        var comments = declaration.GetLeadingTrivia().Where(trivia =>
            trivia.Kind() is SyntaxKind.SingleLineDocumentationCommentTrivia or SyntaxKind.MultiLineDocumentationCommentTrivia);
        return declaration.WithLeadingTrivia(comments).WithoutTrailingTrivia().ToFullString();
    }

    private static string Escaped(ISymbol symbol) => symbol.ToDisplayString(NameOnly);

    private static readonly SymbolDisplayFormat NameOnly = new(miscellaneousOptions: SymbolDisplayMiscellaneousOptions.EscapeKeywordIdentifiers);

    private static readonly SymbolDisplayFormat FullName =
        SymbolDisplayFormat.FullyQualifiedFormat.AddMiscellaneousOptions(SymbolDisplayMiscellaneousOptions.IncludeNullableReferenceTypeModifier);

    private static readonly SymbolDisplayFormat Signature = new(
        typeQualificationStyle: SymbolDisplayTypeQualificationStyle.NameAndContainingTypesAndNamespaces,
        genericsOptions: SymbolDisplayGenericsOptions.IncludeTypeParameters,
        memberOptions: SymbolDisplayMemberOptions.IncludeParameters,
        parameterOptions: SymbolDisplayParameterOptions.IncludeType | SymbolDisplayParameterOptions.IncludeParamsRefOut);

    private sealed record Declaration(string Name, string? Signature, string Source);
}
