using System.Collections.Concurrent;
using System.Composition.Hosting;
using LoraNotebooks.Kernel.Sessions;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Syntax;
using Microsoft.CodeAnalysis.Host;
using Microsoft.CodeAnalysis.Host.Mef;
using Microsoft.CodeAnalysis.Text;

namespace LoraNotebooks.Kernel.Assistance;

/// <summary>The cells so far as a chain of submissions that the next cell continues.</summary>
/// <remarks>
/// Every link costs about a megabyte and makes every name longer to look up. So cells that declare nothing are left out,
/// and when the chain is <see cref="MaximumLinks"/> long, its declarations are written down as one submission
/// (<see cref="PastDeclarations"/>) that takes its place: a session of a thousand cells costs what its distinct names cost.
/// </remarks>
internal sealed class CellHistory : IDisposable
{
    /// <summary>How cells are read.</summary>
    public static readonly CSharpParseOptions ParseOptions = new(LanguageVersion.Latest, DocumentationMode.Parse, SourceCodeKind.Script);

    private const int MaximumLinks = 16;

    private static readonly Lazy<HostServices> Services = new(ComposeServices);

    private readonly AdhocWorkspace _workspace = new(Services.Value);
    private readonly CSharpCompilationOptions _options;
    private readonly ConcurrentQueue<(string Code, IReadOnlyList<MetadataReference> References)> _waiting;
    private readonly List<ProjectId> _links = [];
    private readonly PastDeclarations _past = new();
    private readonly HashSet<MetadataReference> _references;
    private Solution _solution;
    private ProjectId? _last;

    /// <summary>A history; making one loads Roslyn's services, which takes seconds the first time.</summary>
    /// <param name="baseFolder">Where relative paths in <c>#load</c> start, absolute.</param>
    /// <param name="waiting">The cells, as they come; taken by <see cref="OpenAsync"/>.</param>
    public CellHistory(string baseFolder, ConcurrentQueue<(string Code, IReadOnlyList<MetadataReference> References)> waiting)
    {
        _waiting = waiting;
        _solution = _workspace.CurrentSolution;
        _references = [.. DocumentedReferences.Host];
        _options = new CSharpCompilationOptions(
            OutputKind.DynamicallyLinkedLibrary,
            usings: SessionReferences.Imports,
            allowUnsafe: true,
            sourceReferenceResolver: new SourceFileResolver([], baseFolder));
    }

    /// <summary>How many submissions stand for the cells so far.</summary>
    internal int Links => _links.Count;

    /// <summary>A document with the next cell's code, behind all cells so far. Not for two callers at once.</summary>
    public async Task<Document> OpenAsync(string code, CancellationToken cancellation)
    {
        while (_waiting.TryPeek(out var cell))
        {
            await AppendAsync(cell.Code, cell.References, cancellation).ConfigureAwait(false);

            // Only now: a cancelled request must not lose a cell.
            _waiting.TryDequeue(out _);
        }

        var (solution, project) = With(code);
        return solution.GetProject(project)!.Documents.Single();
    }

    /// <inheritdoc/>
    public void Dispose() => _workspace.Dispose();

    /// <summary>Roslyn's services without the proposals that a notebook cannot use.</summary>
    private static MefHostServices ComposeServices()
    {
        // Types of namespaces that are not open would add a using directive elsewhere in the cell, and outnumber all others by four to one;
        // snippets need an editor that knows their fields.
        var parts = MefHostServices.DefaultAssemblies
            .SelectMany(assembly => assembly.DefinedTypes)
            .Where(type =>
                !type.Name.EndsWith("ImportCompletionProvider", StringComparison.Ordinal)
                    && !type.Name.EndsWith("SnippetCompletionProvider", StringComparison.Ordinal));
        return MefHostServices.Create(new ContainerConfiguration().WithParts(parts).CreateContainer());
    }

    private async Task AppendAsync(string code, IReadOnlyList<MetadataReference> references, CancellationToken cancellation)
    {
        var text = CellMagics.ToCSharp(code);
        _references.UnionWith(references.Select(DocumentedReferences.Of));
        if (references.Count == 0 && !DeclaresSomething(text))
        {
            return;
        }

        if (_links.Count == MaximumLinks)
        {
            await FoldAsync(cancellation).ConfigureAwait(false);
        }

        (_solution, _last) = With(text);
        _links.Add(_last);
    }

    /// <summary>Puts one submission with the same declarations in the chain's place.</summary>
    private async Task FoldAsync(CancellationToken cancellation)
    {
        var compilations = new List<CSharpCompilation>();
        // The first link of a chain that was folded before is the past itself.
        foreach (var link in _past.IsEmpty ? _links : _links.Skip(1))
        {
            var project = _solution.GetProject(link)!;
            compilations.Add((CSharpCompilation)(await project.GetCompilationAsync(cancellation).ConfigureAwait(false))!);
        }

        compilations.ForEach(_past.Add);
        _links.Clear();
        _last = null;
        _solution = _workspace.CurrentSolution;
        (_solution, _last) = With(_past.ToSource());
        _links.Add(_last);
    }

    private (Solution Solution, ProjectId Project) With(string text)
    {
        var id = ProjectId.CreateNewId();
        var document = DocumentInfo.Create(
            DocumentId.CreateNewId(id),
            "cell.csx",
            sourceCodeKind: SourceCodeKind.Script,
            loader: TextLoader.From(TextAndVersion.Create(SourceText.From(text), VersionStamp.Create())));
        var project = ProjectInfo.Create(
            id,
            VersionStamp.Create(),
            "cell",
            $"cell-{id.Id:N}",
            LanguageNames.CSharp,
            compilationOptions: _options,
            parseOptions: ParseOptions,
            documents: [document],
            projectReferences: _last is null ? [] : [new ProjectReference(_last)],
            metadataReferences: _references,
            isSubmission: true,
            hostObjectType: typeof(CellGlobals));
        return (_solution.AddProject(project), id);
    }

    private static bool DeclaresSomething(string text)
    {
        var root = CSharpSyntaxTree.ParseText(text, ParseOptions).GetCompilationUnitRoot();
        return root.Usings.Count > 0
            || root.GetLoadDirectives().Count > 0
            || root.Members.Any(member => member is not GlobalStatementSyntax)
            // An expression can declare a variable, as in int.TryParse(text, out var number).
            || root.Members.SelectMany(member => member.DescendantNodes()).Any(node => node is VariableDesignationSyntax);
    }
}
