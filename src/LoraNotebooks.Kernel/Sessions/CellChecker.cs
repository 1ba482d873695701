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
    private readonly CellReferenceResolver _resolver;
    private readonly CellCompiler _compiler;
    private CSharpCompilation? _lastGood;

    /// <summary>A checker for the cells of one notebook.</summary>
    /// <param name="baseFolder">The folder that relative paths in <c>#r</c> and <c>#load</c> start from.</param>
    /// <param name="report">Told of what takes time, such as restoring packages.</param>
    /// <param name="note">Told of packages in another version than was asked for.</param>
    public CellChecker(string baseFolder, Action<string> report, Action<string> note)
    {
        var folder = Path.GetFullPath(baseFolder);
        _resolver = new CellReferenceResolver(folder, report, note);
        _compiler = new CellCompiler(folder, _resolver);
    }

    /// <summary>Compiles one cell.</summary>
    /// <param name="code">The C# source.</param>
    /// <param name="cellName">The name that errors use, e.g. <c>cell 3</c>.</param>
    /// <param name="cancellation">Gives up.</param>
    /// <returns>What keeps the cell from running, or null.</returns>
    public async Task<CellError?> CheckAsync(string code, string cellName, CancellationToken cancellation)
    {
        var (text, magics) = CellMagics.Split(code);
        var tree = CellCompiler.Parse(text, cellName);
        try
        {
            foreach (var magic in magics)
            {
                MagicCommands.Check(magic, _resolver);
            }

            await _resolver.PrepareAsync(CellCompiler.ReferenceDirectives(tree), cancellation).ConfigureAwait(false);
        }
        catch (Exception error) when (CellErrors.OfPreparation(error) is { } fault)
        {
            return fault;
        }

        var compilation = _compiler.Compile(tree, _lastGood);

        // Emitted, not only bound: a few errors show themselves when the code is written. Nothing is loaded.
        var errors = compilation.Emit(Stream.Null, cancellationToken: cancellation).Diagnostics
            .Where(diagnostic => diagnostic.Severity == DiagnosticSeverity.Error).ToArray();
        if (errors.Length > 0)
        {
            return CellErrors.OfCompilation(errors);
        }

        _lastGood = compilation;
        return null;
    }
}
