using System.Diagnostics;
using System.Globalization;
using LoraNotebooks.Interactive;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;

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

    /// <summary>Gives a line to cells that read from <see cref="Console.In"/>; null at the end. Default: there is no input.</summary>
    public Func<string?> ReadLine { get; init; } = static () => null;

    /// <summary>Receives what the session itself does that takes time, such as restoring packages. Default: nothing is kept.</summary>
    public Action<string> Report { get; init; } = static _ => { };

    /// <summary>
    /// Receives exceptions that nothing caught outside of a cell's own call (of threads, timers, async void methods, finalizers, tasks that nobody
    /// awaited), on any thread; <see cref="NotebookHost.Current"/> is the host of the cell that each belongs to. Default: nothing is kept.
    /// </summary>
    public Action<CellError> StrayError { get; init; } = static _ => { };

    /// <summary>
    /// How long a cell that asked for the token <see cref="CellGlobals.Cancellation"/> may go on after it was told to stop: time to save
    /// what it has. A second <see cref="CSharpSession.Interrupt"/> ends it at once, as does the first one for any other cell. Default: 30 seconds.
    /// </summary>
    public TimeSpan StopGrace { get; init; } = TimeSpan.FromSeconds(30);
}

/// <summary>
/// Runs C# cells one after another: variables, methods, types and using directives of earlier cells stay,
/// a variable may be declared again, <c>await</c> works at top level, and the last expression is the cell's value.
/// </summary>
/// <remarks>
/// <para>
/// Built on Roslyn's script compilations. Every cell sees the toolkit, TorchSharp and the names of <see cref="CellGlobals"/>;
/// <c>#r "nuget: Name, version"</c>, <c>#r "file.dll"</c>, <c>#load "file.csx"</c> and <c>#i "nuget: source"</c> add more,
/// <c>#!lsmagic</c> lists the rest.
/// </para>
/// <para>
/// Displays go to <see cref="NotebookHost.Current"/> of the caller of <see cref="RunAsync"/>.
/// One cell runs at a time. A cell starts on the session's own thread. A cell that is stopped leaves its variables behind,
/// and the session goes on.
/// </para>
/// </remarks>
public sealed class CSharpSession : IDisposable
{
    /// <summary>How long ending a cell by force is tried. What goes on after that hangs in native code.</summary>
    private static readonly TimeSpan ForceLimit = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan DisposeLimit = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan ForceInterval = TimeSpan.FromMilliseconds(50);

    private readonly CSharpSessionOptions _options;
    private readonly CellReferenceResolver _resolver;
    private readonly CellBuilder _builder;
    private readonly OwnedVariables _owned;
    private readonly SubmissionChain _chain;
    private readonly CellGlobals _globals = new();
    private readonly CellSources _sources = new();
    private readonly IDisposable _console;
    private CellThread _thread = new();
    private RunningCell? _current;

    /// <summary>Starts an empty session.</summary>
    /// <param name="options">Folder, sinks and limits; the defaults if none are given.</param>
    public CSharpSession(CSharpSessionOptions? options = null)
    {
        _options = options ?? new CSharpSessionOptions();
        var folder = Path.GetFullPath(_options.BaseFolder);
        _resolver = new CellReferenceResolver(folder, _options.Report, note => _options.StandardError(note + "\n"));
        _builder = new CellBuilder(folder, _resolver);
        _owned = new OwnedVariables(note => _options.StandardError(note + "\n"));
        _chain = new SubmissionChain(_globals);
        _console = ConsoleRouter.Install();
        StrayErrors.Install();
    }

    /// <summary>Raised with the C# of each cell that later cells can see something of, and the references that it added, before it runs.</summary>
    internal event Action<string, IEnumerable<MetadataReference>>? Declared;

    /// <summary>The variables of the cells so far by name, in the state that the last cell left them in.</summary>
    public IReadOnlyDictionary<string, object?> Variables => _chain.Variables;

    /// <summary>The token of the running cell; see <see cref="CellGlobals.Cancellation"/>.</summary>
    public CancellationToken Cancellation => _globals.Cancellation;

    /// <summary>Stops the running cell, if there is one; called again, without waiting for it.</summary>
    public void Interrupt() => Volatile.Read(ref _current)?.Interrupt();

    /// <summary>Loads the compiler, so that the first cell does not have to; leaves no trace in the session.</summary>
    public Task WarmUpAsync() => RunAsync("1", "warm-up");

    /// <summary>Compiles and runs one cell.</summary>
    /// <param name="code">The C# source.</param>
    /// <param name="cellName">The name that error messages use, e.g. <c>cell 3</c>.</param>
    /// <param name="timeLimit">How long the cell may take; no limit if null.</param>
    /// <param name="cancellation">Stops the cell, as <see cref="Interrupt"/> does.</param>
    /// <returns>The value or the error; exceptions of the cell are never thrown here.</returns>
    /// <exception cref="InvalidOperationException">Another cell is running.</exception>
    public async Task<CellResult> RunAsync(string code, string cellName, TimeSpan? timeLimit = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(code);
        ArgumentException.ThrowIfNullOrEmpty(cellName);
        using var cell = new RunningCell(timeLimit, cancellation);
        if (Interlocked.CompareExchange(ref _current, cell, null) is not null)
        {
            throw new InvalidOperationException("Another cell of this session is running. Wait for it first.");
        }

        try
        {
            var scope = new CellScope(_options, _sources, NotebookHost.Current);
            scope.Enter();
            ConsoleRouter.BeginCell();
            _globals.Begin(cell.Stop);
            var clock = Stopwatch.StartNew();
            var result = await Task.Run(() => ExecuteAsync(code, cellName, cell)).ConfigureAwait(false);
            scope.WasStopped = cell.Stop.IsCancellationRequested;
            if (scope.WasStopped && result.Status is CellStatus.Succeeded or CellStatus.Canceled)
            {
                result = Stopped(result, cellName, timeLimit, isTimedOut: !cancellation.IsCancellationRequested && !cell.WasInterrupted);
            }

            return result with { Elapsed = clock.Elapsed };
        }
        finally
        {
            Volatile.Write(ref _current, null);
        }
    }

    /// <summary>
    /// Disposes of the variables that cells declared with <c>using</c>, frees the session's thread and gives the console back. Other objects stay alive as
    /// long as something refers to them.
    /// </summary>
    public void Dispose()
    {
        if (!_owned.IsEmpty)
        {
            // On the thread of the cells, where libtorch keeps what some of them put back; a cell that hangs there is not waited for.
            _thread.Run<object?>(async () =>
            {
                await _owned.DisposeAllAsync();
                return null;
            }).Wait(DisposeLimit);
        }

        _thread.Dispose();
        CellScope.Leave(_options);
        _console.Dispose();
    }

    private async Task<CellResult> ExecuteAsync(string code, string cellName, RunningCell cell)
    {
        var magics = new Stack<IDisposable>();
        var result = new CellResult(CellStatus.Succeeded, null, null, TimeSpan.Zero);
        try
        {
            _sources.Add(cellName, code);
            var (parts, error) = await _builder.BuildAsync(code, cellName, _chain.Last, _chain.Load, cell.Stop).ConfigureAwait(false);
            if (error is not null)
            {
                return Failure(CellStatus.CompileError, error);
            }

            foreach (var part in parts)
            {
                result = ShowInside(result, cellName);
                if (result.Status != CellStatus.Succeeded)
                {
                    return result;
                }

                if (MagicCommands.Apply(part.Magics, _resolver, () => Variables, _options.StandardOutput) is { } magic)
                {
                    magics.Push(magic);
                }

                result = part.Compilation is { } compilation ? await RunLoadedAsync(part, compilation, cell).ConfigureAwait(false) : result;
            }
        }
        catch (OperationCanceledException) when (cell.Stop.IsCancellationRequested)
        {
            return new CellResult(CellStatus.Canceled, null, null, TimeSpan.Zero);
        }
        catch (Exception error)
        {
            // No fault of the cell's code, but the cell is where somebody looks.
            return Failure(CellStatus.Failed, CellErrors.OfKernel(error));
        }
        finally
        {
            while (magics.TryPop(out var magic))
            {
                magic.Dispose();
            }
        }

        Remember(cellName, result.Value);
        return result;
    }

    /// <summary>Shows the value of a part that others follow.</summary>
    private static CellResult ShowInside(CellResult result, string cellName)
    {
        (result, var shown) = result.Shown(cellName);
        if (shown is not null)
        {
            Interactive.NotebookHost.Current.Display(shown);
        }

        return result with { Value = null };
    }

    /// <summary>Keeps the value of a numbered cell for <see cref="CellGlobals.Out"/>.</summary>
    private void Remember(string cellName, object? value)
    {
        if (value is not (null or Interactive.IDisplayHandle) && cellName.StartsWith("cell ", StringComparison.Ordinal)
            && int.TryParse(cellName.AsSpan("cell ".Length), NumberStyles.None, CultureInfo.InvariantCulture, out var number))
        {
            _globals.Out.Add(number, value);
        }
    }

    /// <summary>Runs the C# of a part between what <c>using</c> asks for before and after it.</summary>
    private async Task<object?> RunOwningAsync(BuiltPart part, CSharpCompilation compilation)
    {
        await _owned.DisposeReplacedAsync(compilation);
        try
        {
            return await part.Start!();
        }
        finally
        {
            _owned.Add(_chain.Newest, part.Owned);
            await _owned.DisposeHiddenAsync();
        }
    }

    private async Task<CellResult> RunLoadedAsync(BuiltPart part, CSharpCompilation compilation, RunningCell cell)
    {
        // Nearly no cell owns anything: the others are started as they are.
        var start = part.Start is null || (_owned.IsEmpty && part.Owned.Count == 0) ? part.Start : () => RunOwningAsync(part, compilation);
        var work = start is null ? Task.FromResult<object?>(null) : _thread.Run(() => cell.Start(start));
        try
        {
            await work.WaitAsync(cell.Stop).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (cell.Stop.IsCancellationRequested)
        {
            await EndAsync(cell, work).ConfigureAwait(false);
        }
        catch (Exception) when (work.IsCompleted)
        {
            // The cell's own; it is read from the task below.
        }

        // A cell that failed or was stopped stays: what it assigned before can be looked at in the next one.
        if (_chain.Keep(compilation))
        {
            Declared?.Invoke(part.Text, _builder.Compiler.AddedReferences(compilation));
        }

        var stillRunning = !work.IsCompleted && cell.IsOnAThread;
        if (cell.WasEnded)
        {
            // A thread can be ended by force only once; and one that hangs in native code has to be left behind.
            _thread.Dispose();
            _thread = new CellThread();
        }

        return !work.IsCompleted ? new CellResult(CellStatus.Canceled, null, null, TimeSpan.Zero, stillRunning)
            : work.Exception is null && !work.IsCanceled ? new CellResult(CellStatus.Succeeded, work.Result, null, TimeSpan.Zero)
            : cell.Stop.IsCancellationRequested && (work.Exception is null || CellErrors.IsStop(work.Exception))
                ? new CellResult(CellStatus.Canceled, null, null, TimeSpan.Zero)
            : Failure(CellStatus.Failed, CellErrors.OfException((Exception?)work.Exception ?? new TaskCanceledException(), _sources));
    }

    /// <summary>Waits for a cell that ends by itself, if it said that it would, and ends it by force otherwise.</summary>
    private async Task EndAsync(RunningCell cell, Task work)
    {
        if (_globals.CancellationWasTaken)
        {
            await Task.WhenAny(work, cell.SecondInterrupt, Task.Delay(_options.StopGrace)).ConfigureAwait(false);
        }

        var clock = Stopwatch.StartNew();
        while (!work.IsCompleted && clock.Elapsed < ForceLimit)
        {
            cell.End();
            await Task.WhenAny(work, Task.Delay(ForceInterval)).ConfigureAwait(false);
            if (!cell.IsOnAThread)
            {
                // It waits for something that goes on elsewhere. Nothing of it will run when that is done.
                break;
            }
        }
    }

    private static CellResult Failure(CellStatus status, CellError error) => new(status, null, error, TimeSpan.Zero);

    private static CellResult Stopped(CellResult result, string cellName, TimeSpan? limit, bool isTimedOut)
    {
        var (status, name, message) = isTimedOut
            ? (CellStatus.TimedOut, "TimedOut", $"{cellName} did not end in the {Math.Max(0, limit!.Value.TotalSeconds):0.#} s that it had.")
            : (CellStatus.Canceled, "Canceled", $"{cellName} was stopped.");
        if (result.StillRunning)
        {
            message += " It hangs in native code; it ends when it comes back from there.";
        }

        return result with { Status = status, Error = new CellError(name, message, [message]) };
    }

    /// <summary>The cell that runs, and how it is stopped.</summary>
    private sealed class RunningCell : IDisposable
    {
        private readonly CancellationTokenSource _stop;
        private readonly InterruptibleContext _context = new();
        private readonly TaskCompletionSource _second = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public RunningCell(TimeSpan? timeLimit, CancellationToken cancellation)
        {
            _stop = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
            if (timeLimit is { } limit)
            {
                _stop.CancelAfter(limit > TimeSpan.Zero ? limit : TimeSpan.Zero);
            }

            Stop = _stop.Token;
        }

        public CancellationToken Stop { get; }

        public bool WasInterrupted { get; private set; }

        public Task SecondInterrupt => _second.Task;

        public bool IsOnAThread => _context.IsOnAThread;

        public bool WasEnded => _context.IsEnded;

        public void Interrupt()
        {
            if (WasInterrupted)
            {
                _second.TrySetResult();
                return;
            }

            WasInterrupted = true;
            try
            {
                _stop.Cancel();
            }
            catch (ObjectDisposedException)
            {
                // The cell ended at this very moment.
            }
        }

        public Task<object?> Start(Func<Task<object?>> start)
        {
            Task<object?>? work = null;
            _context.Run(() => work = start());
            return work!;
        }

        public void End() => _context.End();

        public void Dispose() => _stop.Dispose();
    }
}
