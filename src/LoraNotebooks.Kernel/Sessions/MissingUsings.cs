using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Syntax;

namespace LoraNotebooks.Kernel.Sessions;

/// <summary>Namespaces that are not open and hold a name that was written.</summary>
internal static class MissingUsings
{
    private const int Most = 3;

    /// <summary>The namespaces that would mend an error, the likeliest first; none for errors of other kinds.</summary>
    public static IReadOnlyList<string> For(Diagnostic error, Compilation compilation)
    {
        if (error.Id is not ("CS0103" or "CS0246" or "CS1061") || error.Location.SourceTree is not { } tree)
        {
            return [];
        }

        var node = tree.GetRoot().FindNode(error.Location.SourceSpan);
        if (node.FirstAncestorOrSelf<SimpleNameSyntax>() is not { } name)
        {
            return [];
        }

        var found = error.Id == "CS1061"
            ? name.Parent is MemberAccessExpressionSyntax access && compilation.GetSemanticModel(tree).GetTypeInfo(access.Expression).Type is { } receiver
                ? Extensions(compilation, name.Identifier.ValueText, receiver)
                : []
            : Types(compilation, text => text == name.Identifier.ValueText)
                .Where(type => name is not GenericNameSyntax generic || type.Arity == generic.Arity)
                .Select(type => type.ContainingNamespace.ToDisplayString());
        return [.. found
            .Distinct()
            .OrderBy(space => !space.StartsWith("System", StringComparison.Ordinal))
            .ThenBy(space => space.Count(letter => letter == '.'))
            .ThenBy(space => space, StringComparer.Ordinal)
            .Take(Most)];
    }

    /// <summary>The public types of all references that have a fitting name and stand in a namespace.</summary>
    public static IEnumerable<INamedTypeSymbol> Types(Compilation compilation, Func<string, bool> fits)
    {
        foreach (var assembly in compilation.SourceModule.ReferencedAssemblySymbols)
        {
            string[] names = [.. assembly.TypeNames.Where(fits)];
            if (names.Length == 0)
            {
                continue;
            }

            foreach (var space in Namespaces(assembly.GlobalNamespace))
            {
                foreach (var type in names.SelectMany(name => space.GetTypeMembers(name)).Where(type => type.DeclaredAccessibility == Accessibility.Public))
                {
                    yield return type;
                }
            }
        }
    }

    private static IEnumerable<string> Extensions(Compilation compilation, string name, ITypeSymbol receiver) =>
        from assembly in compilation.SourceModule.ReferencedAssemblySymbols
        where assembly.MightContainExtensionMethods
        from space in Namespaces(assembly.GlobalNamespace)
        from type in space.GetTypeMembers()
        where type is { IsStatic: true, DeclaredAccessibility: Accessibility.Public, MightContainExtensionMethods: true }
        from method in type.GetMembers(name).OfType<IMethodSymbol>()
        where method.IsExtensionMethod && method.ReduceExtensionMethod(receiver) is not null
        select space.ToDisplayString();

    private static IEnumerable<INamespaceSymbol> Namespaces(INamespaceSymbol root)
    {
        var waiting = new Stack<INamespaceSymbol>(root.GetNamespaceMembers());
        while (waiting.TryPop(out var space))
        {
            yield return space;
            foreach (var inner in space.GetNamespaceMembers())
            {
                waiting.Push(inner);
            }
        }
    }
}
