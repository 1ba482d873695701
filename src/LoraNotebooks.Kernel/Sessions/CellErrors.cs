using System.Diagnostics;
using System.Reflection;
using System.Text.RegularExpressions;
using Microsoft.CodeAnalysis;

namespace LoraNotebooks.Kernel.Sessions;

/// <summary>Turns compiler diagnostics and exceptions into text that speaks of cells and lines.</summary>
internal static partial class CellErrors
{
    private const int MaximumErrors = 20;
    private const int MaximumFrames = 30;
    private const int MaximumCauses = 5;

    private static readonly string[] EngineNamespaces =
        ["Microsoft.CodeAnalysis", "System.Runtime.CompilerServices", "System.Runtime.ExceptionServices", "LoraNotebooks.Kernel.Sessions"];

    /// <summary>What kept a cell from being compiled at all; null for an exception that is none of these.</summary>
    public static CellError? OfPreparation(Exception error) => error switch
    {
        PackageRestoreException => new CellError("PackageNotRestored", error.Message, error.Message.Split('\n')),
        CellMagicException => new CellError("UnknownMagic", error.Message, error.Message.Split('\n')),
        _ => null,
    };

    /// <summary>An exception that no cell should be able to cause: with its whole stack, to be reported.</summary>
    public static CellError OfKernel(Exception error)
    {
        var message = $"The kernel itself failed, not the cell: {Message(error)}";
        return new CellError(TypeName(error.GetType()), message, [message, .. error.ToString().ReplaceLineEndings("\n").Split('\n')]);
    }

    /// <summary>Whether an exception is what stopping a cell looks like from within.</summary>
    public static bool IsStop(Exception error) => error is OperationCanceledException or ThreadInterruptedException or ThreadAbortException
        || (error is AggregateException several && several.InnerExceptions.All(IsStop));

    /// <summary>Each diagnostic with its cell, line, column, the source line, a mark under the place, and what would mend it where that is known.</summary>
    /// <param name="errors">The compiler's errors.</param>
    /// <param name="cell">What was compiled.</param>
    /// <param name="code">The cell as it was written.</param>
    public static CellError OfCompilation(IReadOnlyList<Diagnostic> errors, Compilation cell, string code)
    {
        var lines = code.ReplaceLineEndings("\n").Split('\n');
        Diagnostic[] ordered = [.. errors.OrderBy(error => error.Location.SourceSpan.Start)];
        foreach (var error in ordered.Where(error => IsOfCell(error, cell)))
        {
            if (Written(error, lines) is { } line && CellHints.Of(line) is { } hint)
            {
                return new CellError("UnknownMagic", hint, [hint, .. Quote(error, line)]);
            }
        }

        var text = new List<string>();
        foreach (var error in ordered.Take(MaximumErrors))
        {
            text.AddRange(Describe(error, IsOfCell(error, cell) ? Written(error, lines) : null));
            text.AddRange(MissingUsings.For(error, cell) is { Count: > 0 } missing
                ? [$"      = add {string.Join(" or ", missing.Select(space => $"`using {space};`"))} at the top of the cell"]
                : []);
        }

        if (errors.Count > MaximumErrors)
        {
            text.Add($"… and {errors.Count - MaximumErrors} more errors");
        }

        return new CellError("CompileError", text[0], text);
    }

    /// <summary>Whether an error is in the cell itself, not in a file that it loads.</summary>
    private static bool IsOfCell(Diagnostic error, Compilation cell) => error.Location.SourceTree is { } tree && tree == cell.SyntaxTrees.Last();

    /// <summary>The line as it was written: what the compiler reads may have blanks for words that it does not know.</summary>
    private static string? Written(Diagnostic error, string[] lines)
    {
        var line = error.Location.GetMappedLineSpan().StartLinePosition.Line;
        return line >= 0 && line < lines.Length ? lines[line] : null;
    }

    /// <summary>The exception, its causes, and the places in cells and in the toolkit that led to it.</summary>
    public static CellError OfException(Exception error, CellSources sources)
    {
        var shown = error is AggregateException { InnerExceptions: [var only] } ? only : error;
        var lines = new List<string>();
        var cause = shown;
        for (var depth = 0; cause is not null && depth < MaximumCauses; depth++, cause = cause.InnerException)
        {
            lines.AddRange($"{(depth == 0 ? "" : "Caused by ")}{TypeName(cause.GetType())}: {Message(cause)}".Split('\n'));
            lines.AddRange(Frames(cause, sources));
        }

        return new CellError(TypeName(shown.GetType()), Message(shown), lines);
    }

    private static IEnumerable<string> Describe(Diagnostic error, string? written)
    {
        if (!error.Location.IsInSource)
        {
            return [$"error {error.Id}: {error.GetMessage()}"];
        }

        var place = error.Location.GetMappedLineSpan();
        var line = written ?? error.Location.SourceTree!.GetText().Lines[error.Location.GetLineSpan().StartLinePosition.Line].ToString();
        return [
            $"{Path.GetFileName(place.Path)}, line {place.StartLinePosition.Line + 1}, "
                + $"column {place.StartLinePosition.Character + 1}: error {error.Id}: {error.GetMessage()}",
            .. Quote(error, line)];
    }

    private static IEnumerable<string> Quote(Diagnostic error, string text)
    {
        var place = error.Location.GetMappedLineSpan();
        var (line, column) = (place.StartLinePosition.Line + 1, place.StartLinePosition.Character + 1);
        var gutter = $"{line,5} | ";
        yield return gutter + text.Replace('\t', ' ').TrimEnd();
        var sameLine = place.EndLinePosition.Line == place.StartLinePosition.Line;
        var width = sameLine
            ? Math.Max(1, place.EndLinePosition.Character - place.StartLinePosition.Character)
            : Math.Max(1, text.TrimEnd().Length - column + 1);
        yield return new string(' ', gutter.Length - 2) + "| " + new string(' ', column - 1) + new string('^', width);
    }

    private static IEnumerable<string> Frames(Exception error, CellSources sources)
    {
        var frames = new StackTrace(error, fNeedFileInfo: true).GetFrames();
        // Outside the outermost line of a cell there is only the machinery that started the cell.
        var outermost = Array.FindLastIndex(frames, frame => sources.CellOf(frame.GetFileName()) is not null);
        var described = frames.Take(outermost < 0 ? frames.Length : outermost + 1)
            .Select(frame => Describe(frame, sources))
            .OfType<string>()
            .ToArray();
        return described.Length <= MaximumFrames
            ? described
            : [.. described[..(MaximumFrames / 2)], $"   … {described.Length - MaximumFrames} more …", .. described[^(MaximumFrames / 2)..]];
    }

    private static string? Describe(StackFrame frame, CellSources sources)
    {
        var method = frame.GetMethod();
        var name = method is null ? "" : MethodName(method);
        if (sources.CellOf(frame.GetFileName()) is { } cell)
        {
            var line = frame.GetFileLineNumber();
            return $"   at {cell}, line {line}{(name.Length > 0 ? ", in " + name : "")}: {sources.Line(cell, line)}";
        }

        var type = method?.DeclaringType;
        var isEngine = method is null
            || method.IsDefined(typeof(StackTraceHiddenAttribute), inherit: false)
            || type?.IsDefined(typeof(StackTraceHiddenAttribute), inherit: false) == true
            || EngineNamespaces.Any(engine => type?.Namespace?.StartsWith(engine, StringComparison.Ordinal) == true);
        if (isEngine)
        {
            return null;
        }

        while (type is { IsNested: true } && type.Name.StartsWith('<'))
        {
            type = type.DeclaringType;
        }

        return $"   at {(type is null ? "" : TypeName(type) + ".")}{name}";
    }

    /// <summary>The name as it was written: of a state machine or a lambda the method around it; empty for a cell's own top level.</summary>
    private static string MethodName(MethodBase method)
    {
        var generated = GeneratedName().Match(method.Name + " " + method.DeclaringType?.Name);
        var name = generated.Success ? generated.Groups[1].Value : method.Name;
        return name is "Initialize" or "Factory" || name.StartsWith('<') ? "" : name;
    }

    private static string TypeName(Type type) => Arity().Replace((type.FullName ?? type.Name).Split('[')[0], "").Replace('+', '.');

    // libtorch appends its own C++ stack to every message; the first part says what was wrong.
    private static string Message(Exception error)
    {
        var message = error.Message.ReplaceLineEndings("\n");
        var native = message.IndexOf("\nException raised from ", StringComparison.Ordinal);
        return (native > 0 ? message[..native] : message).Trim();
    }

    [GeneratedRegex("`[0-9]+")]
    private static partial Regex Arity();

    [GeneratedRegex("<+([A-Za-z_][A-Za-z0-9_]*)>")]
    private static partial Regex GeneratedName();
}
