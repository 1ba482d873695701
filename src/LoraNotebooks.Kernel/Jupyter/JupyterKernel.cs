using System.Text.Json.Nodes;
using System.Threading.Channels;
using LoraNotebooks.Interactive;
using LoraNotebooks.Kernel.Sessions;

namespace LoraNotebooks.Kernel.Jupyter;

/// <summary>A Jupyter kernel for C#: one session, the front ends that are connected to it, and the requests between them.</summary>
/// <remarks>
/// Cells run one after the other. Nothing else waits for the running one: interrupt and shutdown, answers to questions, buttons in the page and
/// <c>kernel_info</c> are dealt with at once, on the sockets' thread; completion, documentation and the like one after the other beside the cells.
/// Source: Jupyter client documentation, "Messaging in Jupyter", version 5.3.
/// </remarks>
internal sealed class JupyterKernel : IDisposable
{
    private static readonly TimeSpan ShutdownGrace = TimeSpan.FromSeconds(2);

    private static readonly TimeSpan EditingWarmUpPause = TimeSpan.FromSeconds(3);

    private readonly KernelSockets _sockets;
    private readonly KernelChannel _channel;
    private readonly CSharpSession _session;
    private readonly ExecutionHistory _history = new();
    private readonly EditingHelp _editing = new(Environment.CurrentDirectory);
    private readonly Action<string> _log;
    private readonly Channel<JupyterMessage> _cells = System.Threading.Channels.Channel.CreateUnbounded<JupyterMessage>();
    private readonly Channel<JupyterMessage> _questions = System.Threading.Channels.Channel.CreateUnbounded<JupyterMessage>();
    private readonly TaskCompletionSource _shutdown = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private CancellationTokenSource? _execution;
    private int _executions;
    private CellHost? _last;
    private JupyterMessage? _running;

    /// <summary>Binds the sockets of a kernel.</summary>
    /// <param name="connection">Addresses and key.</param>
    /// <param name="log">Takes a line about whatever a user does not see in the notebook.</param>
    public JupyterKernel(ConnectionFile connection, Action<string> log)
    {
        _log = log;
        _sockets = new KernelSockets(connection, Receive, Greet, log);
        _channel = new KernelChannel(_sockets, connection.KernelId);
        _session = new CSharpSession(new CSharpSessionOptions
        {
            StandardOutput = static text => (NotebookHost.Current as CellHost)?.Write(text, isError: false),
            StandardError = static text => (NotebookHost.Current as CellHost)?.Write(text, isError: true),
            ReadLine = static () => (NotebookHost.Current as CellHost)?.ReadLine(),
            StrayError = ShowStray,
            Report = static text => (NotebookHost.Current as CellHost)?.Write(text + "\n", isError: false),
        });
        _session.Declared += _editing.Add;
        AppDomain.CurrentDomain.ProcessExit += EndWithProcess;
    }

    /// <summary>Serves front ends until one of them asks for the end, or the token does.</summary>
    public async Task RunAsync(CancellationToken cancellation)
    {
        using var stopped = cancellation.Register(() => _shutdown.TrySetResult());

        // The first cell waits for the compiler to be loaded; the answers that front ends want before it do not.
        var warm = Task.Run(_session.WarmUpAsync, CancellationToken.None);
        _sockets.Start();
        var work = Task.WhenAll(Task.Run(() => RunCellsAsync(warm), CancellationToken.None), Task.Run(AnswerAsync, CancellationToken.None));
        _ = WarmUpEditingAsync(warm);
        await _shutdown.Task.ConfigureAwait(false);

        _cells.Writer.TryComplete();
        _questions.Writer.TryComplete();
        Interrupt();
        Interrupt();
        await Task.WhenAny(work, Task.Delay(ShutdownGrace, CancellationToken.None)).ConfigureAwait(false);
    }

    /// <summary>Closes the sockets and the session.</summary>
    public void Dispose()
    {
        AppDomain.CurrentDomain.ProcessExit -= EndWithProcess;
        _sockets.Dispose();
        _session.Dispose();
        _editing.Dispose();
    }

    /// <summary>Stops the running cell, also one that waits for the compiler to be loaded; called again, without waiting for it.</summary>
    public void Interrupt()
    {
        try
        {
            Volatile.Read(ref _execution)?.Cancel();
        }
        catch (ObjectDisposedException)
        {
            // The cell ended at this very moment.
        }

        _session.Interrupt();
    }

    /// <summary>Loads the editing help once nothing was asked for a while: in a notebook that is only run it is never needed.</summary>
    private async Task WarmUpEditingAsync(Task warm)
    {
        await warm.ConfigureAwait(false);
        while (!_shutdown.Task.IsCompleted)
        {
            var executions = _executions;
            await Task.WhenAny(_shutdown.Task, Task.Delay(EditingWarmUpPause, CancellationToken.None)).ConfigureAwait(false);
            if (executions == _executions && Volatile.Read(ref _execution) is null && !_shutdown.Task.IsCompleted)
            {
                await _editing.WarmUpAsync(CancellationToken.None).ConfigureAwait(false);
                return;
            }
        }
    }

    /// <summary>A front end has begun to listen. What was told before it did is lost to it, so this is the moment to say that the kernel is new.</summary>
    /// <remarks>A page shows a kernel that died as dead until it hears from the one that Jupyter started instead.</remarks>
    private void Greet()
    {
        if (_executions == 0)
        {
            _channel.Greet();
        }
    }

    private void Receive(Channel channel, JupyterMessage message)
    {
        switch (message.Type)
        {
            case "interrupt_request":
                AtOnce(channel, message, Interrupt, []);
                break;
            case "shutdown_request":
                var content = new JsonObject { ["restart"] = message.Flag("restart", whenMissing: false) };
                AtOnce(channel, message, () => _channel.Publish("shutdown_reply", message, (JsonObject)content.DeepClone()), content);
                _shutdown.TrySetResult();
                break;
            case "kernel_info_request":
                AtOnce(channel, message, static () => { }, KernelInfo.Content());
                break;
            case "input_reply":
                _channel.Answer(message);
                break;
            case "comm_open" or "comm_msg" or "comm_close":
                _channel.Begin(message);
                if (message.Type == "comm_open")
                {
                    OpenComm(message);
                }

                _channel.End(message);
                break;
            case "execute_request":
                _cells.Writer.TryWrite(message);
                break;
            case "complete_request" or "inspect_request" or "is_complete_request" or "history_request" or "comm_info_request":
                _questions.Writer.TryWrite(message);
                break;
            default:
                _log($"Ignored a message of the unknown type '{message.Type}'.");
                break;
        }
    }

    private void AtOnce(Channel channel, JupyterMessage request, Action action, JsonObject reply)
    {
        _channel.Begin(request);
        action();
        _channel.Reply(channel, request, reply);
        _channel.End(request);
    }

    /// <summary>The one comm that is known is a page that asks how a run stands; any other is closed, as the protocol asks.</summary>
    private void OpenComm(JupyterMessage message)
    {
        if (message.Text("target_name") == LiveRuns.CommTarget)
        {
            var answer = _channel.Runs.Answer(message.Content["data"] as JsonObject ?? []);
            _channel.Publish("comm_msg", message, new JsonObject { ["comm_id"] = message.Text("comm_id") ?? "", ["data"] = answer });
        }
        else
        {
            _channel.Publish("comm_close", message, new JsonObject { ["comm_id"] = message.Text("comm_id") ?? "", ["data"] = new JsonObject() });
        }
    }

    private async Task AnswerAsync()
    {
        await foreach (var request in _questions.Reader.ReadAllAsync().ConfigureAwait(false))
        {
            _channel.Begin(request);
            try
            {
                _channel.Reply(Channel.Shell, request, await AnswerAsync(request).ConfigureAwait(false));
            }
            catch (Exception error)
            {
                _log($"{request.Type} failed: {error}");
                var reply = new JsonObject();
                AddTo(reply, "error", ErrorOutput.Content(CellErrors.OfKernel(error)));
                _channel.Reply(Channel.Shell, request, reply);
            }

            _channel.End(request);
        }
    }

    private async Task<JsonObject> AnswerAsync(JupyterMessage request) => request.Type switch
    {
        "complete_request" => await _editing.CompleteAsync(request).ConfigureAwait(false),
        "inspect_request" => await _editing.InspectAsync(request).ConfigureAwait(false),
        "is_complete_request" => EditingHelp.Judge(request),
        "history_request" => _history.Answer(request),
        _ => new JsonObject { ["comms"] = new JsonObject() },
    };

    private async Task RunCellsAsync(Task warm)
    {
        await foreach (var request in _cells.Reader.ReadAllAsync().ConfigureAwait(false))
        {
            _channel.Begin(request, isCell: true);
            Volatile.Write(ref _running, request);
            JsonObject reply;
            try
            {
                reply = await ExecuteAsync(request, warm).ConfigureAwait(false);
            }
            catch (Exception error)
            {
                _log($"{request.Type} failed: {error}");

                // The cell's host may be what failed.
                reply = Fail(request, new CellHost(request, _channel, _session), CellErrors.OfKernel(error));
            }

            Volatile.Write(ref _running, null);
            _channel.Reply(Channel.Shell, request, reply);
            _channel.End(request);
        }
    }

    private async Task<JsonObject> ExecuteAsync(JupyterMessage request, Task warm)
    {
        using var execution = new CancellationTokenSource();
        Volatile.Write(ref _execution, execution);

        // What kept the compiler from being loaded keeps this cell from running, and is shown there.
        await warm.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        try
        {
            return await ExecuteAsync(request, execution.Token).ConfigureAwait(false);
        }
        finally
        {
            Volatile.Write(ref _execution, null);
        }
    }

    private async Task<JsonObject> ExecuteAsync(JupyterMessage request, CancellationToken cancellation)
    {
        var code = request.Text("code") ?? "";
        var isSilent = request.Flag("silent", whenMissing: false);
        var isCounted = !isSilent && request.Flag("store_history", whenMissing: true);
        if (isCounted)
        {
            _executions++;
        }

        if (!isSilent)
        {
            _channel.Publish("execute_input", request, new JsonObject { ["code"] = code, ["execution_count"] = _executions });
        }

        var host = new CellHost(request, _channel, _session);
        Volatile.Write(ref _last, host);
        using var current = NotebookHost.Use(host);
        var (result, shown) = (await _session.RunAsync(code, $"cell {_executions}", cancellation: cancellation).ConfigureAwait(false))
            .Shown($"cell {_executions}");
        if (isCounted)
        {
            _history.Add(_executions, code, shown?.Text(MimeTypes.PlainText));
        }

        if (result.Error is { } error)
        {
            return Fail(request, host, error);
        }

        if (shown is not null && !isSilent)
        {
            host.SendResult(shown, _executions);
        }

        var reply = new JsonObject { ["execution_count"] = _executions };
        AddTo(reply, "ok", new JsonObject
        {
            ["payload"] = new JsonArray(),
            ["user_expressions"] = await EvaluateAsync(request, cancellation).ConfigureAwait(false),
        });
        host.Flush();
        return reply;
    }

    /// <summary>Shows what ended a cell, in the cell, and drops those that were waiting.</summary>
    /// <returns>The reply.</returns>
    private JsonObject Fail(JupyterMessage request, CellHost host, CellError error)
    {
        host.SendError(error);
        var reply = new JsonObject { ["execution_count"] = _executions };
        AddTo(reply, "error", ErrorOutput.Content(error));
        if (request.Flag("stop_on_error", whenMissing: true))
        {
            AbortQueue();
        }

        return reply;
    }

    /// <summary>Shows an exception that came out of something that a cell had started; the session goes on.</summary>
    private void ShowStray(CellError error)
    {
        if (NotebookHost.Current is CellHost host)
        {
            host.SendError(error);
        }
        else
        {
            _log(string.Join('\n', error.Traceback));
        }
    }

    /// <summary>A cell has ended the process. The front end gets the reason before it starts another kernel.</summary>
    private void EndWithProcess(object? sender, EventArgs e)
    {
        if (_shutdown.Task.IsCompleted)
        {
            return;
        }

        var message = $"The kernel's process was ended, with exit code {Environment.ExitCode} (Environment.Exit). "
            + "Its variables are gone; Jupyter starts a new one.";
        var error = new CellError("ProcessEnded", message, [message]);
        var last = Volatile.Read(ref _last);
        if (Interlocked.Exchange(ref _running, null) is { } request)
        {
            var host = last is not null && last.IsOf(request) ? last : new CellHost(request, _channel, _session);
            _channel.Reply(Channel.Shell, request, Fail(request, host, error));
            _channel.End(request);
        }
        else
        {
            last?.SendError(error);
        }

        _sockets.Dispose();
        NetMQ.NetMQConfig.Cleanup(block: true);
    }

    /// <summary>The values of expressions that a front end wants besides the cell.</summary>
    private async Task<JsonObject> EvaluateAsync(JupyterMessage request, CancellationToken cancellation)
    {
        var values = new JsonObject();
        foreach (var (name, expression) in request.Content["user_expressions"] as JsonObject ?? [])
        {
            var (result, shown) = (await _session.RunAsync(expression?.ToString() ?? "", name, cancellation: cancellation).ConfigureAwait(false)).Shown(name);
            var value = new JsonObject();
            AddTo(value, result.Error is null ? "ok" : "error", result.Error is { } error
                ? ErrorOutput.Content(error)
                : new JsonObject { ["data"] = (shown ?? MimeBundle.FromText("null")).ToJson(), ["metadata"] = new JsonObject() });
            values[name] = value;
        }

        return values;
    }

    /// <summary>Cells that were already waiting when one failed are not run: they were meant to follow it.</summary>
    private void AbortQueue()
    {
        while (_cells.Reader.TryRead(out var waiting))
        {
            // Without a number: it is that of the cells that ran.
            _channel.Begin(waiting);
            _channel.Reply(Channel.Shell, waiting, new JsonObject { ["status"] = "aborted" });
            _channel.End(waiting);
        }
    }

    private static void AddTo(JsonObject reply, string status, JsonObject content)
    {
        reply["status"] = status;
        foreach (var (name, value) in content)
        {
            reply[name] = value?.DeepClone();
        }
    }
}
