using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Syntax;

namespace LoraNotebooks.Kernel.Assistance;

/// <summary>What an inspection speaks of.</summary>
/// <param name="Symbol">The symbol under the caret, or the called method.</param>
/// <param name="Overloads">The other methods of its name, in declaration order; empty for what has no overloads.</param>
/// <param name="Parameter">Where the caret is in the arguments of a call the name of the parameter, else null.</param>
/// <param name="Compilation">What the symbols belong to.</param>
internal sealed record InspectionTarget(ISymbol Symbol, IReadOnlyList<ISymbol> Overloads, string? Parameter, Compilation Compilation)
{
    /// <summary>The name at or just before a position, else the call whose parentheses hold it; null if there is neither.</summary>
    public static async Task<InspectionTarget?> FindAsync(Document document, int position, CancellationToken cancellation)
    {
        var root = await document.GetSyntaxRootAsync(cancellation).ConfigureAwait(false);
        var model = await document.GetSemanticModelAsync(cancellation).ConfigureAwait(false);
        if (root is null || model is null)
        {
            return null;
        }

        var at = root.FindToken(position);
        var before = position > 0 ? root.FindToken(position - 1) : default;
        return OfName(model, at, position, cancellation) ?? OfName(model, before, position, cancellation) ?? OfCall(model, at, before, position, cancellation);
    }

    private static InspectionTarget? OfName(SemanticModel model, SyntaxToken token, int position, CancellationToken cancellation)
    {
        if (token.Parent is not { } node || token.FullSpan.IsEmpty || position < token.SpanStart || position > token.Span.End)
        {
            return null;
        }

        if (token.IsKind(SyntaxKind.IdentifierToken) && model.GetDeclaredSymbol(node, cancellation) is { } declared)
        {
            return new InspectionTarget(declared, [], null, model.Compilation);
        }

        return node switch
        {
            SimpleNameSyntax name => OfReference(model, name, cancellation),
            PredefinedTypeSyntax or ThisExpressionSyntax or BaseExpressionSyntax when model.GetTypeInfo(node, cancellation).Type is { } type =>
                new InspectionTarget(type, [], null, model.Compilation),
            BaseObjectCreationExpressionSyntax creation when token == creation.NewKeyword => OfConstructors(model, creation, cancellation),
            _ => null,
        };
    }

    private static InspectionTarget? OfReference(SemanticModel model, SimpleNameSyntax name, CancellationToken cancellation)
    {
        // The type's name in new Name(…) stands for its constructors, wherever the qualification begins.
        SyntaxNode whole = name;
        while (whole.Parent is QualifiedNameSyntax qualified && qualified.Right == whole)
        {
            whole = qualified;
        }

        if (whole.Parent is ObjectCreationExpressionSyntax creation
            && creation.Type == whole
            && OfConstructors(model, creation, cancellation) is { } constructors)
        {
            return constructors;
        }

        var symbol = Chosen(model.GetSymbolInfo(name, cancellation)) ?? model.GetAliasInfo(name, cancellation)?.Target;
        var overloads = model.GetMemberGroup(name, cancellation);
        symbol ??= overloads.FirstOrDefault() ?? (ISymbol?)model.GetTypeInfo(name, cancellation).Type;
        return symbol is null or IErrorTypeSymbol ? null : With(symbol, overloads, null, model.Compilation);
    }

    private static InspectionTarget? OfConstructors(SemanticModel model, BaseObjectCreationExpressionSyntax creation, CancellationToken cancellation) =>
        model.GetTypeInfo(creation, cancellation).Type is not INamedTypeSymbol { TypeKind: not TypeKind.Error } type ? null
        : OverloadsOf(model, creation, cancellation) is { Length: > 0 } and [var first, ..] all
            && all.Any(method => method is IMethodSymbol { Parameters.Length: > 0 })
            ? With(Chosen(model.GetSymbolInfo(creation, cancellation)) ?? first, all, null, model.Compilation)
            : new InspectionTarget(type, [], null, model.Compilation);

    private static InspectionTarget? OfCall(SemanticModel model, SyntaxToken at, SyntaxToken before, int position, CancellationToken cancellation)
    {
        var start = before.Parent ?? at.Parent;
        foreach (var list in start?.AncestorsAndSelf() ?? [])
        {
            if (!Holds(list, position) || list.Parent is not { } call || OverloadsOf(model, call, cancellation) is not { Length: > 0 } overloads)
            {
                continue;
            }

            var symbol = Chosen(model.GetSymbolInfo(call, cancellation)) ?? overloads[0];
            return With(symbol, overloads, ParameterAt(list, symbol, position), model.Compilation);
        }

        return null;
    }

    /// <summary>Whether a position is between the parentheses of an argument list; a missing one is no limit.</summary>
    private static bool Holds(SyntaxNode list, int position)
    {
        var (open, close) = list switch
        {
            BaseArgumentListSyntax arguments => (arguments.GetFirstToken(), arguments.GetLastToken(includeZeroWidth: true)),
            AttributeArgumentListSyntax arguments => (arguments.OpenParenToken, arguments.CloseParenToken),
            _ => default,
        };
        return open.Parent is not null && position >= open.Span.End && (close.IsMissing || position <= close.SpanStart);
    }

    private static ISymbol[] OverloadsOf(SemanticModel model, SyntaxNode call, CancellationToken cancellation) => call switch
    {
        InvocationExpressionSyntax invocation => model.GetMemberGroup(invocation.Expression, cancellation) is { Length: > 0 } group
            ? [.. group]
            : Invoked(model.GetTypeInfo(invocation.Expression, cancellation).Type),
        BaseObjectCreationExpressionSyntax creation => Constructors(model, creation, model.GetTypeInfo(creation, cancellation).Type as INamedTypeSymbol),
        ElementAccessExpressionSyntax access => Indexers(model.GetTypeInfo(access.Expression, cancellation).Type),
        ConstructorInitializerSyntax or AttributeSyntax => [.. model.GetMemberGroup(call, cancellation)],
        _ => [],
    };

    private static ISymbol[] Constructors(SemanticModel model, SyntaxNode creation, INamedTypeSymbol? type) =>
        [.. type?.InstanceConstructors.Where(constructor => model.IsAccessible(creation.SpanStart, constructor)) ?? []];

    private static ISymbol[] Indexers(ITypeSymbol? type)
    {
        var types = new List<ITypeSymbol>(type?.AllInterfaces.Where(_ => type.TypeKind == TypeKind.Interface) ?? []);
        for (var ancestor = type; ancestor is not null; ancestor = ancestor.BaseType)
        {
            types.Add(ancestor);
        }

        return [.. types
            .SelectMany(owner => owner.GetMembers())
            .OfType<IPropertySymbol>()
            .Where(property => property.IsIndexer && property.DeclaredAccessibility == Accessibility.Public)];
    }

    private static ISymbol[] Invoked(ITypeSymbol? type) => (type as INamedTypeSymbol)?.DelegateInvokeMethod is { } invoke ? [invoke] : [];

    private static string? ParameterAt(SyntaxNode list, ISymbol symbol, int position)
    {
        var parameters = symbol switch
        {
            IMethodSymbol method => method.Parameters,
            IPropertySymbol indexer => indexer.Parameters,
            _ => [],
        };
        var separators = list.ChildTokens().Where(token => token.IsKind(SyntaxKind.CommaToken) && token.Span.End <= position);
        var number = separators.Count();
        var argument = list.ChildNodes().ElementAtOrDefault(number);
        var named = (argument as ArgumentSyntax)?.NameColon?.Name.Identifier.ValueText;
        return named
            ?? parameters.ElementAtOrDefault(number)?.Name
            ?? (parameters is [.., { IsParams: true } last] ? last.Name : null);
    }

    private static ISymbol? Chosen(SymbolInfo info) => info.Symbol ?? info.CandidateSymbols.FirstOrDefault();

    private static InspectionTarget With(ISymbol symbol, IEnumerable<ISymbol> group, string? parameter, Compilation compilation) =>
        new(
            symbol,
            [.. group.Where(other => !SymbolEqualityComparer.Default.Equals(other.OriginalDefinition, symbol.OriginalDefinition))],
            parameter,
            compilation);
}
