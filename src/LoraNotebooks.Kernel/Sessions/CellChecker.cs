using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;

namespace LoraNotebooks.Kernel.Sessions;

/// <summary>Compiles cells one after another as a session would, and runs none of them.</summary>
/// <remarks>
/// A cell that does not compile is left out, as in a session: the next one is compiled against the last good one,
/// and may name things that only the faulty cell would have declared.
/// </remarks>
internal sealed class CellChecker
{
    private readonly CellBuilder _builder;
    private CSharpCompilation? _lastGood;

    /// <summary>A checker for the cells of one notebook.</summary>
    /// <param name="baseFolder">The folder that relative paths in <c>#r</c> and <c>#load</c> start from.</param>
    /// <param name="report">Told of what takes time, such as restoring packages.</param>
    /// <param name="note">Told of packages in another version than was asked for.</param>
    public CellChecker(string baseFolder, Action<string> report, Action<string> note)
    {
        var folder = Path.GetFullPath(baseFolder);
        _builder = new CellBuilder(folder, new CellReferenceResolver(folder, report, note));
    }

    /// <summary>Compiles one cell.</summary>
    /// <param name="code">The C# source.</param>
    /// <param name="cellName">The name that errors use, e.g. <c>cell 3</c>.</param>
    /// <param name="cancellation">Gives up.</param>
    /// <returns>What keeps the cell from running, or null.</returns>
    public async Task<CellError?> CheckAsync(string code, string cellName, CancellationToken cancellation)
    {
        var cell = await _builder.BuildAsync(code, cellName, _lastGood, Emit, cancellation).ConfigureAwait(false);
        if (cell.Error is null)
        {
            _lastGood = cell.Parts
                .Select(part => part.Compilation)
                .LastOrDefault(compilation => compilation is not null && CellCompiler.Declares(compilation))
                ?? _lastGood;
        }

        return cell.Error;
    }

    /// <summary>Emitted, not only bound: a few errors show themselves when the code is written. Nothing is loaded.</summary>
    private static IReadOnlyList<Diagnostic> Emit(CSharpCompilation cell, out Func<Task<object?>>? start, CancellationToken cancellation)
    {
        start = null;
        return [.. cell.Emit(Stream.Null, cancellationToken: cancellation).Diagnostics.Where(diagnostic => diagnostic.Severity == DiagnosticSeverity.Error)];
    }
}
