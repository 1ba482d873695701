using System.Text;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Syntax;
using Microsoft.CodeAnalysis.Text;

namespace LoraNotebooks.Kernel.Sessions;

/// <summary>Compiles cells as submissions: each sees what the ones before it in its chain declared.</summary>
/// <remarks>Roslyn's script compilations, without its script engine: a session decides itself what stays in the chain and what runs.</remarks>
internal sealed class CellCompiler
{
    /// <summary>How the text of a cell is read.</summary>
    public static readonly CSharpParseOptions ParseOptions = new(LanguageVersion.Latest, DocumentationMode.None, SourceCodeKind.Script, ["DEBUG", "TRACE"]);

    private readonly CellReferenceResolver _resolver;
    private readonly CSharpCompilationOptions _options;
    private readonly CSharpCompilationOptions _firstOptions;
    private int _count;

    /// <summary>A compiler for one session.</summary>
    /// <param name="baseFolder">Where relative paths in <c>#load</c> start, absolute.</param>
    /// <param name="resolver">Answers <c>#r</c>.</param>
    public CellCompiler(string baseFolder, CellReferenceResolver resolver)
    {
        _resolver = resolver;
        _options = new CSharpCompilationOptions(
            OutputKind.DynamicallyLinkedLibrary,
            optimizationLevel: OptimizationLevel.Release,
            allowUnsafe: true,
            warningLevel: 0,
            metadataReferenceResolver: resolver,
            sourceReferenceResolver: new SourceFileResolver([], baseFolder),
            nullableContextOptions: NullableContextOptions.Annotations);

        // Later submissions inherit references and usings from the ones before.
        _firstOptions = _options.WithUsings(SessionReferences.Imports);
    }

    /// <summary>The syntax of a cell.</summary>
    /// <param name="text">Its C# source, magics taken out.</param>
    /// <param name="cellName">The name that the compiler reports places under.</param>
    public static SyntaxTree Parse(string text, string cellName) =>
        CSharpSyntaxTree.ParseText(SourceText.From(CellSources.WithLineDirective(text, cellName), Encoding.UTF8), ParseOptions);

    /// <summary>The texts between the quotes of the <c>#r</c> directives of a cell.</summary>
    public static IEnumerable<string> ReferenceDirectives(SyntaxTree tree) =>
        tree.GetCompilationUnitRoot().GetReferenceDirectives().Select(directive => directive.File.ValueText);

    /// <summary>A cell after <paramref name="previous"/>; nothing is checked yet.</summary>
    public CSharpCompilation Compile(SyntaxTree tree, CSharpCompilation? previous)
    {
        var known = _resolver.PackageReferences.Count;
        var cell = Create(tree, previous);

        // A file that the cell loads may name packages; they are restored when the compiler, asked for its references, comes across them.
        return cell.SyntaxTrees.Length > 1 && !cell.DirectiveReferences.IsDefault && _resolver.PackageReferences.Count > known ? Create(tree, previous) : cell;
    }

    private CSharpCompilation Create(SyntaxTree tree, CSharpCompilation? previous) => CSharpCompilation.CreateScriptCompilation(
        $"cell#{Interlocked.Increment(ref _count)}-{Guid.NewGuid():N}",
        tree,
        previous is null ? [.. SessionReferences.Compile, .. _resolver.PackageReferences] : Unknown(previous),
        previous is null ? _firstOptions : _options,
        previous,
        typeof(object),
        typeof(CellGlobals));

    /// <summary>What a cell added to the references of those before it: by its directives, and by the packages that they brought along.</summary>
    public IEnumerable<MetadataReference> AddedReferences(CSharpCompilation cell) =>
        cell.DirectiveReferences.Concat(cell.ExternalReferences.Where(reference => _resolver.PackageReferences.Contains(reference)));

    /// <summary>The assemblies of packages that no cell of a chain was given. A cell that did not compile may have restored them.</summary>
    private IEnumerable<MetadataReference> Unknown(CSharpCompilation last)
    {
        var unknown = new HashSet<MetadataReference>(_resolver.PackageReferences);
        for (var cell = last; cell is not null && unknown.Count > 0; cell = cell.ScriptCompilationInfo!.PreviousScriptCompilation)
        {
            unknown.ExceptWith(cell.ExternalReferences);
        }

        return unknown;
    }

    /// <summary>Whether later cells could see anything of a cell: a variable, a method, a type, a using directive, a reference.</summary>
    public static bool Declares(CSharpCompilation cell)
    {
        var root = cell.SyntaxTrees[^1].GetCompilationUnitRoot();
        return cell.SyntaxTrees.Length > 1
            || root.Usings.Count > 0
            || root.Externs.Count > 0
            || root.GetReferenceDirectives().Count > 0
            || (cell.ScriptCompilationInfo!.PreviousScriptCompilation is not null && cell.ExternalReferences.Length > 0)
            || root.Members.Any(member => member is not GlobalStatementSyntax)
            || cell.ScriptClass!.GetMembers().Any(member => member is IFieldSymbol && !member.IsImplicitlyDeclared);
    }
}
