using System.Xml;
using System.Xml.Linq;
using Microsoft.CodeAnalysis;

namespace LoraNotebooks.Kernel.Assistance;

/// <summary>Finds the XML documentation of a symbol, through <c>inheritdoc</c> where it says so.</summary>
internal static class SymbolDocumentation
{
    private const int MaximumSteps = 8;

    /// <summary>The documentation element, or null if the symbol has none.</summary>
    public static XElement? Of(ISymbol symbol, Compilation compilation, CancellationToken cancellation)
    {
        var current = Documented(symbol);
        for (var step = 0; current is not null && step < MaximumSteps; step++)
        {
            var element = Parse(current.GetDocumentationCommentXml(expandIncludes: true, cancellationToken: cancellation));
            if (element?.Descendants("inheritdoc").FirstOrDefault() is not { } inherited)
            {
                return element ?? OfRecordParameter(current, cancellation);
            }

            var named = (string?)inherited.Attribute("cref") is { } id ? DocumentationCommentId.GetFirstSymbolForDeclarationId(id, compilation) : null;
            current = Documented(named ?? Base(current));
        }

        return null;
    }

    /// <summary>The text about one parameter, or null.</summary>
    public static XElement? OfParameter(XElement? documentation, string name) => Named(documentation, "param", name);

    private static ISymbol? Documented(ISymbol? symbol) => symbol switch
    {
        null => null,
        IMethodSymbol { ReducedFrom: { } extension } => extension.OriginalDefinition,
        _ => symbol.OriginalDefinition,
    };

    // A positional record describes its properties as parameters of the type.
    private static XElement? OfRecordParameter(ISymbol symbol, CancellationToken cancellation) =>
        symbol is IPropertySymbol { ContainingType: { IsRecord: true } record }
        && Named(Parse(record.GetDocumentationCommentXml(cancellationToken: cancellation)), "param", symbol.Name) is { } parameter
            ? new XElement("member", new XElement("summary", parameter.Nodes()))
            : null;

    private static XElement? Named(XElement? documentation, string element, string name) =>
        documentation?.Elements(element).FirstOrDefault(candidate => (string?)candidate.Attribute("name") == name);

    private static ISymbol? Base(ISymbol symbol) => symbol switch
    {
        INamedTypeSymbol type => type.BaseType is { SpecialType: SpecialType.None } ancestor ? ancestor : type.Interfaces.FirstOrDefault(),
        IMethodSymbol { OverriddenMethod: { } overridden } => overridden,
        IPropertySymbol { OverriddenProperty: { } overridden } => overridden,
        IEventSymbol { OverriddenEvent: { } overridden } => overridden,
        _ => symbol.ContainingType?.AllInterfaces.SelectMany(type => type.GetMembers())
            .FirstOrDefault(member => SymbolEqualityComparer.Default.Equals(symbol.ContainingType.FindImplementationForInterfaceMember(member), symbol)),
    };

    private static XElement? Parse(string? xml)
    {
        if (string.IsNullOrWhiteSpace(xml))
        {
            return null;
        }

        try
        {
            return XElement.Parse(xml, LoadOptions.PreserveWhitespace);
        }
        catch (XmlException)
        {
            // The compiler hands comments on that are no XML; there is nothing to show of them.
            return null;
        }
    }
}
