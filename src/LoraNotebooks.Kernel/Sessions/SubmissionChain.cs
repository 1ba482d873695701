using System.Collections.Concurrent;
using System.Reflection;
using System.Runtime.Loader;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.Emit;

namespace LoraNotebooks.Kernel.Sessions;

/// <summary>The cells that ran and that later ones can see: their compilations, and the objects that hold their variables.</summary>
/// <remarks>
/// A submission is a class; its constructor puts the object at its own place in an array, so the variables of a cell that was
/// stopped halfway are as reachable as those of one that ended. A cell that declares nothing leaves the chain again:
/// a session of a thousand small cells does not hold a thousand compilations.
/// </remarks>
internal sealed class SubmissionChain(CellGlobals globals)
{
    private readonly LoadContext _context = new();
    private object?[] _objects = [globals];

    /// <summary>The last compilation of the chain; null before the first.</summary>
    public CSharpCompilation? Last { get; private set; }

    /// <summary>The variables by name, the latest declaration of each.</summary>
    public IReadOnlyDictionary<string, object?> Variables
    {
        get
        {
            var variables = new Dictionary<string, object?>(StringComparer.Ordinal);
            foreach (var submission in _objects.Skip(1).OfType<object>())
            {
                foreach (var variable in submission.GetType()
                    .GetFields(BindingFlags.Public | BindingFlags.Instance | BindingFlags.Static)
                    .Where(member => !member.Name.StartsWith('<') && !UsingDeclarations.IsHidden(member.Name)))
                {
                    variables[variable.Name] = variable.GetValue(submission);
                }
            }

            return variables;
        }
    }

    /// <summary>The object of the cell that was started last; null if it never came to be.</summary>
    public object? Newest => _objects.Length > 1 ? _objects[^1] : null;

    /// <summary>Emits and loads a cell.</summary>
    /// <param name="cell">The cell, compiled after <see cref="Last"/>.</param>
    /// <param name="start">Starts the cell, to be called once; null if it has no code, only directives.</param>
    /// <param name="cancellation">Stops the compiler.</param>
    /// <returns>The compiler's errors; with any, the cell was not loaded.</returns>
    public IReadOnlyList<Diagnostic> Load(CSharpCompilation cell, out Func<Task<object?>>? start, CancellationToken cancellation)
    {
        start = null;
        if (!HasCode(cell))
        {
            return [.. cell.GetDiagnostics(cancellation).Where(diagnostic => diagnostic.Severity == DiagnosticSeverity.Error)];
        }

        using var assembly = new MemoryStream();
        using var symbols = new MemoryStream();
        var emitted = cell.Emit(
            assembly,
            symbols,
            options: new EmitOptions(debugInformationFormat: DebugInformationFormat.PortablePdb),
            cancellationToken: cancellation);
        if (!emitted.Success)
        {
            return [.. emitted.Diagnostics.Where(diagnostic => diagnostic.Severity == DiagnosticSeverity.Error)];
        }

        assembly.Position = symbols.Position = 0;
        var entry = cell.GetEntryPoint(cancellation) ?? throw new InvalidOperationException("The compiler gave a cell without an entry point.");
        var type = _context.Add(assembly, symbols).GetType(entry.ContainingType.MetadataName, throwOnError: true)!;
        var factory = type.GetMethod(entry.MetadataName, BindingFlags.Static | BindingFlags.NonPublic | BindingFlags.Public)!
            .CreateDelegate<Func<object?[], Task<object?>>>();
        start = () =>
        {
            // The place after the last one of the chain; one that a dropped cell had is taken again.
            _objects = [.. _objects.AsSpan(0, Depth), null];
            return factory(_objects);
        };
        return [];
    }

    /// <summary>Keeps a cell that was loaded and started, if later cells could see anything of it.</summary>
    /// <returns>Whether it was kept.</returns>
    public bool Keep(CSharpCompilation cell)
    {
        // A cell that was stopped before its object existed has nothing to be seen.
        var hasCode = HasCode(cell);
        if (!CellCompiler.Declares(cell) || (hasCode && _objects[^1] is null))
        {
            _objects = _objects[..Depth];
            return false;
        }

        Last = cell;
        Depth += hasCode ? 1 : 0;
        return true;
    }

    /// <summary>The number of objects that the chain holds, the globals included.</summary>
    private int Depth { get; set; } = 1;

    /// <summary>Whether the compiler gives a cell a place among the objects; one of directives only has none.</summary>
    private static bool HasCode(CSharpCompilation cell) => cell.SyntaxTrees.Any(tree => tree.GetCompilationUnitRoot().Members.Count > 0);

    /// <summary>Cells refer to earlier ones by assembly name; everything else is the application's.</summary>
    private sealed class LoadContext() : AssemblyLoadContext("cells")
    {
        private readonly ConcurrentDictionary<string, Assembly> _cells = new(StringComparer.Ordinal);

        public Assembly Add(Stream assembly, Stream symbols)
        {
            var loaded = LoadFromStream(assembly, symbols);
            _cells[loaded.GetName().Name!] = loaded;
            return loaded;
        }

        protected override Assembly? Load(AssemblyName assemblyName) => assemblyName.Name is { } name ? _cells.GetValueOrDefault(name) : null;
    }
}
