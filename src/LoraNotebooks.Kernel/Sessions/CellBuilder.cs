using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;

namespace LoraNotebooks.Kernel.Sessions;

/// <summary>Emits a compilation, and loads it where it is to run.</summary>
/// <param name="cell">What to emit.</param>
/// <param name="start">Starts it; null if it has no code, or is not loaded.</param>
/// <param name="cancellation">Gives up.</param>
/// <returns>The compiler's errors.</returns>
internal delegate IReadOnlyList<Diagnostic> CellLoader(CSharpCompilation cell, out Func<Task<object?>>? start, CancellationToken cancellation);

/// <summary>A part of a cell, ready to run.</summary>
/// <param name="Magics">What comes before its C#.</param>
/// <param name="Text">Its C# as a script.</param>
/// <param name="Compilation">The compiled C#; null if there is none.</param>
/// <param name="Start">Starts it; null if there is nothing to run.</param>
/// <param name="Owned">The variables that are to be disposed of.</param>
internal sealed record BuiltPart(
    IReadOnlyList<CellMagic> Magics,
    string Text,
    CSharpCompilation? Compilation,
    Func<Task<object?>>? Start,
    IReadOnlyList<string> Owned);

/// <summary>A cell, ready to run, or what keeps it from that.</summary>
/// <param name="Parts">Its parts in their order; those before the first fault.</param>
/// <param name="Error">The fault, or null.</param>
internal sealed record BuiltCell(IReadOnlyList<BuiltPart> Parts, CellError? Error);

/// <summary>Makes of the text of a cell what can run: nothing of it does before all of it compiled.</summary>
internal sealed class CellBuilder
{
    private readonly CellReferenceResolver _resolver;

    /// <summary>A builder for one session.</summary>
    /// <param name="folder">Where relative paths start, absolute.</param>
    /// <param name="resolver">Answers <c>#r</c>.</param>
    public CellBuilder(string folder, CellReferenceResolver resolver)
    {
        _resolver = resolver;
        Compiler = new CellCompiler(folder, resolver);
    }

    /// <summary>Compiles the parts.</summary>
    public CellCompiler Compiler { get; }

    /// <summary>Restores what a cell asks for and compiles its parts, each behind those before it.</summary>
    /// <param name="code">The cell as it was written.</param>
    /// <param name="cellName">The name that errors use.</param>
    /// <param name="previous">The last compilation that it can see.</param>
    /// <param name="load">Emits each part.</param>
    /// <param name="cancellation">Gives up.</param>
    public async Task<BuiltCell> BuildAsync(string code, string cellName, CSharpCompilation? previous, CellLoader load, CancellationToken cancellation)
    {
        var parts = CellMagics.Parts(code).Select(part => (part.Magics, Script: UsingDeclarations.Take(part.Code), part.HasCode)).ToArray();
        var built = new List<BuiltPart>();
        try
        {
            foreach (var magic in parts.SelectMany(part => part.Magics))
            {
                MagicCommands.Check(magic, _resolver);
            }

            await _resolver.PrepareAsync(
                parts.SelectMany(part => CellCompiler.ReferenceDirectives(CellCompiler.Parse(part.Script.Code, cellName))),
                cancellation).ConfigureAwait(false);
            foreach (var (magics, script, hasCode) in parts)
            {
                if (!hasCode)
                {
                    built.Add(new BuiltPart(magics, "", null, null, []));
                    continue;
                }

                var (compilation, start, errors) = Compile(script.Code, cellName, previous, load, cancellation);
                if (errors.Count > 0)
                {
                    return new BuiltCell(built, CellErrors.OfCompilation(errors, compilation, code));
                }

                built.Add(new BuiltPart(magics, script.Code, compilation, start, script.Variables));
                previous = CellCompiler.Declares(compilation) ? compilation : previous;
            }
        }
        catch (Exception error) when (CellErrors.OfPreparation(error) is { } fault)
        {
            return new BuiltCell(built, fault);
        }

        return new BuiltCell(built, null);
    }

    private (CSharpCompilation Compilation, Func<Task<object?>>? Start, IReadOnlyList<Diagnostic> Errors) Compile(
        string text, string cellName, CSharpCompilation? previous, CellLoader load, CancellationToken cancellation)
    {
        var tree = CellCompiler.Parse(text, cellName);
        var compilation = Compiler.Compile(tree, previous);
        var errors = load(compilation, out var start, cancellation);
        Diagnostic[] underscores =
            [.. errors.Where(error => error.Id == "CS0103" && error.Location.SourceTree == tree && tree.GetText().ToString(error.Location.SourceSpan) == "_")];
        if (underscores.Length == 0)
        {
            return (compilation, start, errors);
        }

        // Only now: where the language knows an underscore of its own, in "out _" and "_ = …", that one is meant.
        var source = tree.GetText();
        var named = source.WithChanges(underscores.Select(error =>
            new Microsoft.CodeAnalysis.Text.TextChange(error.Location.SourceSpan, nameof(CellGlobals.Last))));
        var again = Compiler.Compile(tree.WithChangedText(named), previous);
        var left = load(again, out start, cancellation);
        var others = errors.Except(underscores).ToArray();
        return left.Count > 0 && others.Length > 0 ? (compilation, null, others) : (again, start, left);
    }
}
