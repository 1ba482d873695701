using LoraNotebooks.Kernel.Sessions;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Syntax;

namespace LoraNotebooks.Kernel.Assistance;

/// <summary>The symbols that can be named at a position, by name.</summary>
/// <remarks>
/// Roslyn's own descriptions of completion items analyse the place anew for each item, up to half a second each;
/// one look-up answers for all.
/// </remarks>
internal sealed class ReachableNames
{
    private static readonly SymbolDisplayFormat Short =
        SymbolDisplayFormat.MinimallyQualifiedFormat.AddParameterOptions(SymbolDisplayParameterOptions.IncludeDefaultValue);

    private readonly SemanticModel _model;
    private readonly bool _isMember;
    private readonly ILookup<string, ISymbol> _symbols;

    private ReachableNames(SemanticModel model, IEnumerable<ISymbol> symbols, bool isMember)
    {
        (_model, _isMember) = (model, isMember);
        _symbols = symbols.ToLookup(symbol => symbol.Name, StringComparer.Ordinal);
    }

    /// <summary>Looks the names up: members if a dot stands before the text that is being completed, else what is in scope.</summary>
    /// <param name="document">The cell behind its predecessors.</param>
    /// <param name="start">Where the text that is being completed starts.</param>
    /// <param name="cancellation">Gives up.</param>
    public static async Task<ReachableNames?> AtAsync(Document document, int start, CancellationToken cancellation)
    {
        var root = await document.GetSyntaxRootAsync(cancellation).ConfigureAwait(false);
        var model = await document.GetSemanticModelAsync(cancellation).ConfigureAwait(false);
        if (root is null || model is null)
        {
            return null;
        }

        var left = start > 0 ? root.FindToken(start - 1) : default;
        var owner = left.Parent switch
        {
            MemberAccessExpressionSyntax access when left == access.OperatorToken => (SyntaxNode)access.Expression,
            ConditionalAccessExpressionSyntax access when left == access.OperatorToken => access.Expression,
            MemberBindingExpressionSyntax binding when left == binding.OperatorToken =>
                binding.FirstAncestorOrSelf<ConditionalAccessExpressionSyntax>()!.Expression,
            QualifiedNameSyntax qualified when left == qualified.DotToken => qualified.Left,
            _ => null,
        };
        var container = owner is null ? null
            : model.GetSymbolInfo(owner, cancellation).Symbol as INamespaceOrTypeSymbol ?? model.GetTypeInfo(owner, cancellation).Type;
        return new ReachableNames(
            model,
            model.LookupSymbols(start, container, includeReducedExtensionMethods: owner is not null),
            owner is not null || left.Parent?.FirstAncestorOrSelf<UsingDirectiveSyntax>() is not null);
    }

    /// <summary>Whether something of a name can be named as it stands.</summary>
    public bool Has(string name) => _symbols.Contains(name);

    /// <summary>The types that could be named here by their full names only, the likeliest first; none after a dot.</summary>
    /// <param name="typed">How their names begin.</param>
    /// <param name="most">How many at most.</param>
    public IEnumerable<INamedTypeSymbol> NotImported(string typed, int most) => _isMember ? [] : MissingUsings
        .Types(_model.Compilation, name => name.StartsWith(typed, StringComparison.OrdinalIgnoreCase) && !Has(name))
        .Where(type => !SessionReferences.IsOwnTool(type.ContainingAssembly.Name))
        .DistinctBy(type => (type.Name, type.ContainingNamespace.ToDisplayString()))
        .OrderByDescending(type => type.Name.StartsWith(typed, StringComparison.Ordinal))
        .ThenBy(type => type.Name.Length)
        .ThenBy(type => type.ContainingNamespace.ToDisplayString(), StringComparer.Ordinal)
        .Take(most);

    /// <summary>Whether the session itself made the name: a variable, a method or a type of a cell, or a member of <see cref="CellGlobals"/>.</summary>
    public bool IsOfSession(string name) => _symbols[name].Any(symbol =>
        symbol is ILocalSymbol or IParameterSymbol or IRangeVariableSymbol
            || symbol.ContainingType is { IsScriptClass: true } or { Name: nameof(CellGlobals) });

    /// <summary>How a name is declared and its summary; both empty if it is no symbol.</summary>
    public (string Signature, string Description) Describe(string name, CancellationToken cancellation)
    {
        var symbols = _symbols[name].ToArray();
        if (symbols.Length == 0)
        {
            return ("", "");
        }

        var more = symbols.Length > 1 ? $" (+ {symbols.Length - 1} more)" : "";
        var summary = SymbolDocumentation.Of(symbols[0], _model.Compilation, cancellation)?.Element("summary");
        return (symbols[0].ToDisplayString(Short) + more, summary is null ? "" : string.Join('\n', DocText.Read(summary).Select(InspectionText.Joined)));
    }
}
