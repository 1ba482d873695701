using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Scripting;
using Microsoft.CodeAnalysis.Scripting;

namespace LoraNotebooks.Kernel.Sessions;

/// <summary>Compiles cells one after another as a session would, and runs none of them.</summary>
/// <remarks>
/// A cell that does not compile is left out, as in a session: the next one is compiled against the last good one,
/// and may name things that only the faulty cell would have declared.
/// </remarks>
/// <param name="baseFolder">The folder that relative paths in <c>#r</c> and <c>#load</c> start from.</param>
/// <param name="report">Told of what takes time, such as restoring packages.</param>
internal sealed class CellChecker(string baseFolder, Action<string> report)
{
    private readonly CellReferenceResolver _resolver = new(Path.GetFullPath(baseFolder), report);
    private ScriptOptions? _options;
    private Script<object>? _lastGood;

    /// <summary>Compiles one cell.</summary>
    /// <param name="code">The C# source.</param>
    /// <param name="cellName">The name that errors use, e.g. <c>cell 3</c>.</param>
    /// <param name="cancellation">Gives up.</param>
    /// <returns>What keeps the cell from running, or null.</returns>
    public async Task<CellError?> CheckAsync(string code, string cellName, CancellationToken cancellation)
    {
        _options ??= SessionReferences.ScriptOptions(Path.GetFullPath(baseFolder), _resolver);
        var text = CellSources.WithLineDirective(code, cellName);
        try
        {
            await _resolver.PrepareAsync(ReferenceDirectives(text), cancellation).ConfigureAwait(false);
        }
        catch (PackageRestoreException error)
        {
            return new CellError("PackageNotRestored", error.Message, error.Message.Split('\n'));
        }

        var script = _lastGood?.ContinueWith<object>(text) ?? CSharpScript.Create<object>(text, _options, typeof(CellGlobals));
        // Emitted, not only bound: a few errors show themselves when the code is written. Nothing is loaded.
        var errors = script.GetCompilation().Emit(Stream.Null, cancellationToken: cancellation).Diagnostics
            .Where(diagnostic => diagnostic.Severity == DiagnosticSeverity.Error).ToArray();
        if (errors.Length > 0)
        {
            return CellErrors.OfCompilation(errors);
        }

        _lastGood = script;
        return null;
    }

    private static IEnumerable<string> ReferenceDirectives(string text) =>
        CSharpSyntaxTree.ParseText(text, new CSharpParseOptions(LanguageVersion.Latest, kind: SourceCodeKind.Script))
            .GetCompilationUnitRoot().GetReferenceDirectives().Select(directive => directive.File.ValueText);
}
