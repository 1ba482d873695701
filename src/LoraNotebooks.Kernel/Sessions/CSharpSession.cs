using System.Diagnostics;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Scripting;
using Microsoft.CodeAnalysis.Scripting;
using Microsoft.CodeAnalysis.Scripting.Hosting;

namespace LoraNotebooks.Kernel.Sessions;

/// <summary>Settings of a <see cref="CSharpSession"/>.</summary>
public sealed record CSharpSessionOptions
{
    /// <summary>The folder that relative paths in <c>#r</c> and <c>#load</c> start from. Default: the current directory.</summary>
    public string BaseFolder { get; init; } = Environment.CurrentDirectory;

    /// <summary>Receives what cells write to <see cref="Console.Out"/>, from any thread. Default: nothing is kept.</summary>
    public Action<string> StandardOutput { get; init; } = static _ => { };

    /// <summary>Receives what cells write to <see cref="Console.Error"/>, from any thread. Default: nothing is kept.</summary>
    public Action<string> StandardError { get; init; } = static _ => { };

    /// <summary>Receives what the session itself does that takes time, such as restoring packages. Default: nothing is kept.</summary>
    public Action<string> Report { get; init; } = static _ => { };

    /// <summary>How long a cell may go on after it was asked to stop. Default: 5 seconds.</summary>
    public TimeSpan StopGrace { get; init; } = TimeSpan.FromSeconds(5);
}

/// <summary>
/// Runs C# cells one after another: variables, methods, types and using directives of earlier cells stay,
/// a variable may be declared again, <c>await</c> works at top level, and the last expression is the cell's value.
/// </summary>
/// <remarks>
/// <para>
/// Built on Roslyn scripting. Every cell sees the toolkit, TorchSharp and the names of <see cref="CellGlobals"/>;
/// <c>#r "nuget: Name, version"</c>, <c>#r "file.dll"</c> and <c>#load "file.csx"</c> add more.
/// </para>
/// <para>
/// Displays go to <see cref="Interactive.NotebookHost.Current"/> of the caller of <see cref="RunAsync"/>.
/// One cell runs at a time. A cell starts on the session's own thread.
/// </para>
/// </remarks>
public sealed class CSharpSession : IDisposable
{
    private readonly CSharpSessionOptions _options;
    private readonly ScriptOptions _scriptOptions;
    private readonly CellReferenceResolver _resolver;
    private readonly InteractiveAssemblyLoader _loader = new();
    private readonly CellThread _thread = new("C# cells");
    private readonly CellGlobals _globals = new();
    private readonly CellSources _sources = new();
    private ScriptState<object>? _state;
    private string? _abandoned;
    private int _running;

    /// <summary>Starts an empty session.</summary>
    /// <param name="options">Folder, sinks and limits; the defaults if none are given.</param>
    public CSharpSession(CSharpSessionOptions? options = null)
    {
        _options = options ?? new CSharpSessionOptions();
        _resolver = new CellReferenceResolver(Path.GetFullPath(_options.BaseFolder), message => _options.Report(message));
        _scriptOptions = SessionReferences.ScriptOptions(Path.GetFullPath(_options.BaseFolder), _resolver);
    }

    /// <summary>The variables of the cells so far by name, in the state that the last cell left them in.</summary>
    public IReadOnlyDictionary<string, object?> Variables =>
        _state?.Variables.GroupBy(variable => variable.Name).ToDictionary(group => group.Key, group => (object?)group.Last().Value)
        ?? [];

    /// <summary>Compiles and runs one cell.</summary>
    /// <param name="code">The C# source.</param>
    /// <param name="cellName">The name that error messages use, e.g. <c>cell 3</c>.</param>
    /// <param name="timeLimit">How long the cell may take; no limit if null.</param>
    /// <param name="cancellation">Stops the cell: it sees the token as <see cref="CellGlobals.Cancellation"/>.</param>
    /// <returns>The value or the error; exceptions of the cell are never thrown here.</returns>
    /// <exception cref="InvalidOperationException">Another cell is running, or an earlier one never stopped.</exception>
    public async Task<CellResult> RunAsync(string code, string cellName, TimeSpan? timeLimit = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(code);
        ArgumentException.ThrowIfNullOrEmpty(cellName);
        if (_abandoned is not null)
        {
            throw new InvalidOperationException($"{_abandoned} was asked to stop and still runs, so nothing more can run in this session. Start a new one.");
        }

        if (Interlocked.Exchange(ref _running, 1) == 1)
        {
            throw new InvalidOperationException("Another cell of this session is running. Wait for it first.");
        }

        var clock = Stopwatch.StartNew();
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        if (timeLimit is { } limit)
        {
            stop.CancelAfter(limit > TimeSpan.Zero ? limit : TimeSpan.Zero);
        }

        try
        {
            using var capture = ConsoleRouter.Capture(_options.StandardOutput, _options.StandardError);
            _globals.Cancellation = stop.Token;
            _sources.Add(cellName, code);
            var work = _thread.Run(() => ExecuteAsync(code, cellName, stop.Token));
            var result = await UntilStoppedAsync(work, stop.Token).ConfigureAwait(false);
            if (result is null)
            {
                _abandoned = cellName;
            }

            return stop.IsCancellationRequested && result?.Error is null
                ? Stopped(result, cellName, timeLimit, cancellation) with { Elapsed = clock.Elapsed }
                : result! with { Elapsed = clock.Elapsed };
        }
        finally
        {
            _running = 0;
        }
    }

    /// <summary>Frees the session's thread. Objects that cells made stay alive as long as something refers to them.</summary>
    public void Dispose()
    {
        _thread.Dispose();
        _loader.Dispose();
    }

    /// <summary>The result of the work, or null if it went on for longer than the grace after the stop.</summary>
    private async Task<CellResult?> UntilStoppedAsync(Task<CellResult> work, CancellationToken stop)
    {
        try
        {
            return await work.WaitAsync(stop).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            var ended = await Task.WhenAny(work, Task.Delay(_options.StopGrace, CancellationToken.None)).ConfigureAwait(false);
            return ended == work ? await work.ConfigureAwait(false) : null;
        }
    }

    private static CellResult Stopped(CellResult? result, string cellName, TimeSpan? limit, CancellationToken cancellation)
    {
        var (status, name, message) = cancellation.IsCancellationRequested
            ? (CellStatus.Canceled, "Canceled", $"{cellName} was stopped.")
            : (CellStatus.TimedOut, "TimedOut", $"{cellName} did not end in the {Math.Max(0, limit!.Value.TotalSeconds):0.#} s that it had.");
        if (result is null)
        {
            message += " It does not watch the token Cancellation and still runs.";
        }

        return new CellResult(status, result?.Value, new CellError(name, message, [message]), TimeSpan.Zero, StillRunning: result is null);
    }

    private async Task<CellResult> ExecuteAsync(string code, string cellName, CancellationToken stop)
    {
        try
        {
            var text = CellSources.WithLineDirective(code, cellName);
            await _resolver.PrepareAsync(ReferenceDirectives(text), stop).ConfigureAwait(false);
            var script = _state is null
                ? CSharpScript.Create<object>(text, _scriptOptions, typeof(CellGlobals), _loader)
                : _state.Script.ContinueWith<object>(text);
            var errors = script.Compile(stop).Where(diagnostic => diagnostic.Severity == DiagnosticSeverity.Error).ToArray();
            if (errors.Length > 0)
            {
                return new CellResult(CellStatus.CompileError, null, CellErrors.OfCompilation(errors), TimeSpan.Zero);
            }

            // A failed cell stays in the chain: what it assigned before it threw can be looked at in the next one.
            _state = _state is null
                ? await script.RunAsync(_globals, static _ => true, CancellationToken.None).ConfigureAwait(false)
                : await script.RunFromAsync(_state, static _ => true, CancellationToken.None).ConfigureAwait(false);
            return _state.Exception switch
            {
                null => new CellResult(CellStatus.Succeeded, _state.ReturnValue, null, TimeSpan.Zero),
                OperationCanceledException when stop.IsCancellationRequested => new CellResult(CellStatus.Canceled, null, null, TimeSpan.Zero),
                var thrown => new CellResult(CellStatus.Failed, null, CellErrors.OfException(thrown, _sources), TimeSpan.Zero),
            };
        }
        catch (PackageRestoreException error)
        {
            return new CellResult(CellStatus.CompileError, null, new CellError("PackageNotRestored", error.Message, error.Message.Split('\n')), TimeSpan.Zero);
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            return new CellResult(CellStatus.Canceled, null, null, TimeSpan.Zero);
        }
    }

    private static IEnumerable<string> ReferenceDirectives(string text) =>
        text.Contains("#r", StringComparison.Ordinal)
            ? CSharpSyntaxTree.ParseText(text, new CSharpParseOptions(LanguageVersion.Latest, kind: SourceCodeKind.Script))
                .GetCompilationUnitRoot().GetReferenceDirectives()
                .Select(directive => directive.File.ValueText)
            : [];
}
