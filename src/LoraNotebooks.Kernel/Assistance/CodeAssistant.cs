using System.Collections.Concurrent;
using LoraNotebooks.Interactive;
using LoraNotebooks.Kernel.Sessions;
using Microsoft.CodeAnalysis;

namespace LoraNotebooks.Kernel.Assistance;

/// <summary>Editing help for the cells of one session: completion, documentation of what the caret is on, and whether a cell is complete.</summary>
/// <remarks>
/// It reads code and never runs any, so it can answer while a cell runs. Requests are answered one after another.
/// The first one loads Roslyn's services, which takes seconds; <see cref="WarmUpAsync"/> does that beforehand.
/// </remarks>
internal sealed class CodeAssistant : IDisposable
{
    private readonly ConcurrentQueue<(string Code, IReadOnlyList<MetadataReference> References)> _cells = new();
    private readonly Lazy<CellHistory> _history;
    private readonly DirectiveCompletion _directives;
    private readonly SemaphoreSlim _gate = new(1, 1);

    /// <summary>Help for a session without cells.</summary>
    /// <param name="baseFolder">The folder that relative paths in <c>#r</c> and <c>#load</c> start from.</param>
    public CodeAssistant(string baseFolder)
    {
        var folder = Path.GetFullPath(baseFolder);
        _history = new Lazy<CellHistory>(() => new CellHistory(folder, _cells));
        _directives = new DirectiveCompletion(folder);
    }

    /// <summary>How many submissions stand for the cells that requests have looked at.</summary>
    internal int Links => _history.Value.Links;

    /// <summary>Whether a cell could run as it stands.</summary>
    public static Completeness Judge(string code) => Completeness.Judge(code);

    /// <summary>Remembers a cell that compiled: later requests see its declarations, using directives and references. Costs nothing until then.</summary>
    /// <param name="code">The source as it was written, with line commands.</param>
    /// <param name="references">What its <c>#r</c> directives added.</param>
    public void Add(string code, IEnumerable<MetadataReference> references) => _cells.Enqueue((code, [.. references]));

    /// <summary>What could stand at a position.</summary>
    /// <param name="code">The cell that is being written.</param>
    /// <param name="position">A UTF-16 position; one outside of the code counts as the nearest inside.</param>
    /// <param name="cancellation">Gives up.</param>
    public async Task<CompletionReply> CompleteAsync(string code, int position, CancellationToken cancellation)
    {
        var caret = Math.Clamp(position, 0, code.Length);
        if (_directives.Complete(code, caret) is { } reply)
        {
            return reply;
        }

        return await AskAsync(code, document => CodeCompletion.CompleteAsync(document, caret, cancellation), cancellation).ConfigureAwait(false);
    }

    /// <summary>The declaration and the documentation of what stands at a position, or of the call around it; null if there is neither.</summary>
    /// <param name="code">The cell that is being written.</param>
    /// <param name="position">A UTF-16 position; one outside of the code counts as the nearest inside.</param>
    /// <param name="detailed">Whether to show all overloads, exceptions, remarks and examples too.</param>
    /// <param name="cancellation">Gives up.</param>
    public async Task<MimeBundle?> InspectAsync(string code, int position, bool detailed, CancellationToken cancellation)
    {
        var caret = Math.Clamp(position, 0, code.Length);
        var (start, _) = CellText.LineUpTo(code, caret);
        var line = code.AsSpan(start);
        if (CellMagics.OfLine(line.IndexOfAny('\r', '\n') is >= 0 and var length ? line[..length] : line) is { } magic)
        {
            return Inspection.Of(magic).ToBundle();
        }

        return await AskAsync(code, async document =>
        {
            var target = await InspectionTarget.FindAsync(document, caret, cancellation).ConfigureAwait(false);
            return target is null ? null : Inspection.Of(target, detailed, cancellation).ToBundle();
        }, cancellation).ConfigureAwait(false);
    }

    /// <summary>Loads and compiles what the first request needs, so that it need not wait.</summary>
    public async Task WarmUpAsync(CancellationToken cancellation)
    {
        // A member, a name in scope, an argument: each place asks for other parts of the compiler.
        const string Code = "Console.WriteLine(Math.Max())";
        await CompleteAsync(Code, "Console.".Length, cancellation).ConfigureAwait(false);
        await CompleteAsync("", 0, cancellation).ConfigureAwait(false);
        await CompleteAsync(Code, "Console.WriteLine(Math.Max(".Length, cancellation).ConfigureAwait(false);
        await InspectAsync(Code, "Console.WriteLine".Length, detailed: true, cancellation).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_history.IsValueCreated)
        {
            _history.Value.Dispose();
        }

        _gate.Dispose();
    }

    private async Task<T> AskAsync<T>(string code, Func<Document, Task<T>> question, CancellationToken cancellation)
    {
        await _gate.WaitAsync(cancellation).ConfigureAwait(false);
        try
        {
            return await question(await _history.Value.OpenAsync(CellMagics.ToCSharp(code), cancellation).ConfigureAwait(false)).ConfigureAwait(false);
        }
        finally
        {
            _gate.Release();
        }
    }
}
