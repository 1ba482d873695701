using System.Xml.Linq;
using LoraNotebooks.Interactive;
using LoraNotebooks.Kernel.Sessions;
using Microsoft.CodeAnalysis;

namespace LoraNotebooks.Kernel.Assistance;

/// <summary>One titled part of an inspection; an entry's name is empty for running text.</summary>
internal sealed record InspectionSection(string Title, IReadOnlyList<InspectionEntry> Entries);

/// <summary>A named text, such as one parameter.</summary>
/// <param name="Name">The name, empty if the section's title says enough.</param>
/// <param name="Blocks">The text; empty if nothing is known.</param>
/// <param name="IsCurrent">Whether the caret is at this parameter.</param>
internal sealed record InspectionEntry(string Name, IReadOnlyList<DocBlock> Blocks, bool IsCurrent = false);

/// <summary>What is known of a symbol, ready to be written.</summary>
/// <param name="Signatures">Declarations, the one that is meant first.</param>
/// <param name="More">How many further overloads there are.</param>
/// <param name="Summary">What it is.</param>
/// <param name="Sections">Parameters, value, exceptions and so on.</param>
internal sealed record Inspection(IReadOnlyList<string> Signatures, int More, IReadOnlyList<DocBlock> Summary, IReadOnlyList<InspectionSection> Sections)
{
    private const int MaximumOverloads = 6;
    private const int MaximumOverloadsInDetail = 60;

    private static readonly SymbolDisplayFormat Declaration = new(
        typeQualificationStyle: SymbolDisplayTypeQualificationStyle.NameAndContainingTypes,
        genericsOptions: SymbolDisplayGenericsOptions.IncludeTypeParameters | SymbolDisplayGenericsOptions.IncludeTypeConstraints
            | SymbolDisplayGenericsOptions.IncludeVariance,
        memberOptions: SymbolDisplayMemberOptions.IncludeType | SymbolDisplayMemberOptions.IncludeModifiers | SymbolDisplayMemberOptions.IncludeParameters
            | SymbolDisplayMemberOptions.IncludeContainingType | SymbolDisplayMemberOptions.IncludeConstantValue | SymbolDisplayMemberOptions.IncludeRef,
        delegateStyle: SymbolDisplayDelegateStyle.NameAndSignature,
        extensionMethodStyle: SymbolDisplayExtensionMethodStyle.Default,
        parameterOptions: SymbolDisplayParameterOptions.IncludeName | SymbolDisplayParameterOptions.IncludeType
            | SymbolDisplayParameterOptions.IncludeParamsRefOut
            | SymbolDisplayParameterOptions.IncludeDefaultValue | SymbolDisplayParameterOptions.IncludeExtensionThis,
        propertyStyle: SymbolDisplayPropertyStyle.ShowReadWriteDescriptor,
        localOptions: SymbolDisplayLocalOptions.IncludeType | SymbolDisplayLocalOptions.IncludeConstantValue,
        kindOptions: SymbolDisplayKindOptions.IncludeTypeKeyword | SymbolDisplayKindOptions.IncludeNamespaceKeyword,
        miscellaneousOptions: SymbolDisplayMiscellaneousOptions.UseSpecialTypes | SymbolDisplayMiscellaneousOptions.IncludeNullableReferenceTypeModifier
            | SymbolDisplayMiscellaneousOptions.AllowDefaultLiteral | SymbolDisplayMiscellaneousOptions.EscapeKeywordIdentifiers
            | SymbolDisplayMiscellaneousOptions.CollapseTupleTypes);

    /// <summary>Describes a line command.</summary>
    public static Inspection Of(Magic magic) => new([magic.Name], 0, [new DocBlock(DocBlockKind.Paragraph, [new DocSpan(magic.Description)])], []);

    /// <summary>Describes a symbol.</summary>
    /// <param name="target">What to describe.</param>
    /// <param name="detailed">Whether to show all overloads, exceptions, remarks and examples too.</param>
    /// <param name="cancellation">Gives up.</param>
    public static Inspection Of(InspectionTarget target, bool detailed, CancellationToken cancellation)
    {
        var shown = target.Overloads.Take(detailed ? MaximumOverloadsInDetail : MaximumOverloads).ToArray();
        var own = SymbolDocumentation.Of(target.Symbol, target.Compilation, cancellation);
        // A variable says little by itself: what it holds says more.
        var documentation = own ?? (TypeOfVariable(target.Symbol) is { } type ? SymbolDocumentation.Of(type, target.Compilation, cancellation) : null);
        var sections = new List<InspectionSection>();
        if (target.Symbol is IMethodSymbol or IPropertySymbol { IsIndexer: true } or INamedTypeSymbol)
        {
            Add("Parameters", Parameters(target, own));
            Add("Type parameters", Entries(own, "typeparam", "name"));
        }

        Add("Returns", Entries(own, "returns", null));
        Add("Value", Entries(own, "value", null));
        if (detailed)
        {
            Add("Exceptions", Entries(own, "exception", "cref"));
            Add("Remarks", Entries(documentation, "remarks", null));
            Add("Example", Entries(documentation, "example", null));
        }

        var summary = SummaryOf(target, documentation, cancellation);
        return new Inspection([Signature(target.Symbol), .. shown.Select(Signature)], target.Overloads.Count - shown.Length, summary, sections);

        void Add(string title, IReadOnlyList<InspectionEntry> entries)
        {
            if (entries.Count > 0)
            {
                sections.Add(new InspectionSection(title, entries));
            }
        }
    }

    /// <summary>The same in plain text, Markdown and HTML.</summary>
    public MimeBundle ToBundle() => MimeBundle.FromText(InspectionText.Plain(this))
        .With(MimeTypes.Markdown, InspectionText.Markdown(this))
        .With(MimeTypes.Html, InspectionText.Html(this));

    private static string Signature(ISymbol symbol)
    {
        if (symbol is IMethodSymbol { MethodKind: MethodKind.Constructor })
        {
            var declared = symbol.ToDisplayString(Declaration.RemoveMemberOptions(SymbolDisplayMemberOptions.IncludeContainingType));
            return $"new {symbol.ContainingType.ToDisplayString(SymbolDisplayFormat.MinimallyQualifiedFormat)}"
                + declared[declared.IndexOf('(', StringComparison.Ordinal)..];
        }

        // Cells name these without the class around them.
        var isBare = symbol.ContainingType is { IsScriptClass: true } or { Name: nameof(CellGlobals) };
        var text = symbol.ToDisplayString(isBare ? Declaration.RemoveMemberOptions(SymbolDisplayMemberOptions.IncludeContainingType) : Declaration);
        return symbol is INamedTypeSymbol { BaseType: { SpecialType: SpecialType.None } ancestor, TypeKind: TypeKind.Class }
            ? $"{text} : {ancestor.ToDisplayString(SymbolDisplayFormat.MinimallyQualifiedFormat)}"
            : text;
    }

    private static IReadOnlyList<DocBlock> SummaryOf(InspectionTarget target, XElement? documentation, CancellationToken cancellation)
    {
        var element = documentation?.Element("summary");
        if (element is null && target.Symbol is IParameterSymbol parameter)
        {
            element = SymbolDocumentation.OfParameter(SymbolDocumentation.Of(parameter.ContainingSymbol, target.Compilation, cancellation), parameter.Name);
        }

        // Constructors are often left undocumented where their type is not.
        if (element is null && target.Symbol is IMethodSymbol { MethodKind: MethodKind.Constructor } constructor)
        {
            element = SymbolDocumentation.Of(constructor.ContainingType, target.Compilation, cancellation)?.Element("summary");
        }

        return element is null ? [] : DocText.Read(element);
    }

    private static ITypeSymbol? TypeOfVariable(ISymbol symbol) => symbol switch
    {
        ILocalSymbol local => local.Type,
        IFieldSymbol { ContainingType.IsScriptClass: true } field => field.Type,
        _ => null,
    };

    private static InspectionEntry[] Parameters(InspectionTarget target, XElement? documentation)
    {
        var names = target.Symbol switch
        {
            IMethodSymbol method => method.Parameters.Select(parameter => parameter.Name),
            IPropertySymbol indexer => indexer.Parameters.Select(parameter => parameter.Name),
            _ => documentation?.Elements("param").Select(element => (string?)element.Attribute("name") ?? "") ?? [],
        };
        // A positional record describes the parameters of its constructor at the type.
        var source = documentation ?? (target.Symbol is IMethodSymbol { MethodKind: MethodKind.Constructor, ContainingType.IsRecord: true } constructor
            ? SymbolDocumentation.Of(constructor.ContainingType, target.Compilation, CancellationToken.None)
            : null);
        return
        [
            .. names
                .Select(name => new InspectionEntry(
                    name,
                    SymbolDocumentation.OfParameter(source, name) is { } text ? DocText.Read(text) : [],
                    name == target.Parameter))
                .Where(entry => entry.IsCurrent || entry.Blocks.Count > 0),
        ];
    }

    private static InspectionEntry[] Entries(XElement? documentation, string element, string? nameAttribute) =>
    [
        .. (documentation?.Elements(element) ?? [])
            .Select(found => new InspectionEntry(
                nameAttribute is null ? "" : DocText.NameOf((string?)found.Attribute(nameAttribute) ?? ""),
                DocText.Read(found)))
            .Where(entry => entry.Blocks.Count > 0),
    ];
}
