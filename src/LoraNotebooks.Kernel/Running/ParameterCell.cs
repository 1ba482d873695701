using System.Globalization;
using System.Text;
using LoraNotebooks.Kernel.Sessions;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;

namespace LoraNotebooks.Kernel.Running;

/// <summary>The cell tagged <c>parameters</c> as the compiler sees it, alone: what it declares, and whether a value fits.</summary>
internal sealed class ParameterCell
{
    private readonly string _source;
    private readonly string _folder;
    private readonly bool _isWellFormed;

    /// <summary>Compiles the cell; nothing of it runs.</summary>
    /// <param name="source">Its C# source.</param>
    /// <param name="folder">The folder that relative paths in it start from.</param>
    public ParameterCell(string source, string folder)
    {
        (_source, _folder) = (source, folder);
        var compilation = Compile(source);
        _isWellFormed = !compilation.SyntaxTrees.Any(tree => tree.GetDiagnostics().Any(IsError));
        Variables = compilation.ScriptClass!.GetMembers().OfType<IFieldSymbol>()
            .Where(field => !field.IsImplicitlyDeclared)
            .GroupBy(field => field.Name)
            .ToDictionary(group => group.Key, group => group.Last(), StringComparer.Ordinal);
    }

    /// <summary>The variables and constants that the cell declares at its top level.</summary>
    public IReadOnlyDictionary<string, IFieldSymbol> Variables { get; }

    /// <summary>The names whose assignment does not compile after the cell, such as text for a number.</summary>
    /// <param name="assignments">A statement for each name.</param>
    public IEnumerable<string> Refused(IReadOnlyDictionary<string, string> assignments)
    {
        // A cell that is no C# fails by itself when it runs, with its own error.
        if (!_isWellFormed || assignments.Count == 0)
        {
            return [];
        }

        var code = new StringBuilder(_source);
        foreach (var (name, assignment) in assignments)
        {
            code.Append(CultureInfo.InvariantCulture, $"\n#line 1 \"{name}\"\n{assignment}");
        }

        var faulty = Compile(code.ToString()).GetDiagnostics().Where(IsError)
            .Select(error => error.Location.GetMappedLineSpan())
            .Where(place => place.HasMappedPath)
            .Select(place => place.Path)
            .ToHashSet(StringComparer.Ordinal);
        // Of a variable whose type an earlier cell declares nothing can be said here.
        return assignments.Keys.Where(name => faulty.Contains(name) && Variables[name].Type.TypeKind != TypeKind.Error);
    }

    private static bool IsError(Diagnostic diagnostic) => diagnostic.Severity == DiagnosticSeverity.Error;

    private CSharpCompilation Compile(string code) =>
        new CellCompiler(_folder, new CellReferenceResolver(_folder, static _ => { }, static _ => { }))
            .Compile(CellCompiler.Parse(CellMagics.ToCSharp(code), "the parameters"), previous: null);
}
