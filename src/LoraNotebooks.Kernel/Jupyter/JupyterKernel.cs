using System.Reflection;
using System.Text.Json.Nodes;
using System.Threading.Channels;
using LoraNotebooks.Interactive;
using LoraNotebooks.Kernel.Sessions;

namespace LoraNotebooks.Kernel.Jupyter;

/// <summary>A Jupyter kernel for C#: one session, the front ends that are connected to it, and the requests between them.</summary>
/// <remarks>
/// Requests on shell are answered one after the other. What must not wait for the running cell is done at once, on the sockets' thread:
/// interrupt and shutdown, answers to questions, buttons in the page.
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
    private readonly Channel<JupyterMessage> _requests = System.Threading.Channels.Channel.CreateUnbounded<JupyterMessage>(new UnboundedChannelOptions { SingleReader = true });
    private readonly TaskCompletionSource _shutdown = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private CancellationTokenSource? _execution;
    private int _executions;

    /// <summary>Binds the sockets of a kernel.</summary>
    /// <param name="connection">Addresses and key.</param>
    /// <param name="log">Takes a line about whatever a user does not see in the notebook.</param>
    public JupyterKernel(ConnectionFile connection, Action<string> log)
    {
        _log = log;
        _sockets = new KernelSockets(connection, Receive, log);
        _channel = new KernelChannel(_sockets, connection.KernelId);
        _session = new CSharpSession(new CSharpSessionOptions
        {
            StandardOutput = static text => (NotebookHost.Current as CellHost)?.Write(text, isError: false),
            StandardError = static text => (NotebookHost.Current as CellHost)?.Write(text, isError: true),
            ReadLine = static () => (NotebookHost.Current as CellHost)?.ReadLine(),
            Report = static text => (NotebookHost.Current as CellHost)?.Write(text + "\n", isError: false),
        });
        _session.Declared += _editing.Add;
    }

    /// <summary>Serves front ends until one of them asks for the end, or the token does.</summary>
    public async Task RunAsync(CancellationToken cancellation)
    {
        using var stopped = cancellation.Register(() => _shutdown.TrySetResult());

        // The first cell waits for the compiler to be loaded; the answers that front ends want before it do not.
        var warm = Task.Run(_session.WarmUpAsync, CancellationToken.None);
        _channel.PublishState("starting", null);
        _sockets.Start();
        var work = Task.Run(() => AnswerAsync(warm), CancellationToken.None);
        _ = WarmUpEditingAsync(warm);
        await _shutdown.Task.ConfigureAwait(false);

        _requests.Writer.TryComplete();
        Interrupt();
        Interrupt();
        await Task.WhenAny(work, Task.Delay(ShutdownGrace, CancellationToken.None)).ConfigureAwait(false);
    }

    /// <summary>Closes the sockets and the session.</summary>
    public void Dispose()
    {
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
            case "kernel_info_request" when channel == Channel.Control:
                AtOnce(channel, message, static () => { }, KernelInfo());
                break;
            case "input_reply":
                _channel.Answer(message);
                break;
            case "comm_open":
                OpenComm(message);
                break;
            case "comm_msg" or "comm_close":
                break;
            case "execute_request" or "kernel_info_request" or "complete_request" or "inspect_request" or "is_complete_request" or "history_request" or "comm_info_request":
                _requests.Writer.TryWrite(message);
                break;
            default:
                _log($"Ignored a message of the unknown type '{message.Type}'.");
                break;
        }
    }

    private void AtOnce(Channel channel, JupyterMessage request, Action action, JsonObject reply)
    {
        _channel.PublishState("busy", request);
        action();
        _channel.Reply(channel, request, reply);
        _channel.PublishState("idle", request);
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

    private async Task AnswerAsync(Task warm)
    {
        await foreach (var request in _requests.Reader.ReadAllAsync().ConfigureAwait(false))
        {
            _channel.PublishState("busy", request);
            try
            {
                _channel.Reply(Channel.Shell, request, await AnswerAsync(request, warm).ConfigureAwait(false));
            }
            catch (Exception error)
            {
                _log($"{request.Type} failed: {error}");
                _channel.Reply(Channel.Shell, request, new JsonObject { ["status"] = "error", ["ename"] = error.GetType().Name, ["evalue"] = error.Message, ["traceback"] = new JsonArray() });
            }

            _channel.PublishState("idle", request);
        }
    }

    private async Task<JsonObject> AnswerAsync(JupyterMessage request, Task warm) => request.Type switch
    {
        "execute_request" => await ExecuteAsync(request, warm).ConfigureAwait(false),
        "complete_request" => await _editing.CompleteAsync(request).ConfigureAwait(false),
        "inspect_request" => await _editing.InspectAsync(request).ConfigureAwait(false),
        "is_complete_request" => EditingHelp.Judge(request),
        "history_request" => _history.Answer(request),
        "comm_info_request" => new JsonObject { ["comms"] = new JsonObject() },
        _ => KernelInfo(),
    };

    private async Task<JsonObject> ExecuteAsync(JupyterMessage request, Task warm)
    {
        using var execution = new CancellationTokenSource();
        Volatile.Write(ref _execution, execution);
        await warm.ConfigureAwait(false);
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
        using var current = NotebookHost.Use(host);
        var (result, shown) = (await _session.RunAsync(code, $"cell {_executions}", cancellation: cancellation).ConfigureAwait(false)).Shown($"cell {_executions}");
        if (isCounted)
        {
            _history.Add(_executions, code, shown?.Text(MimeTypes.PlainText));
        }

        var reply = new JsonObject { ["execution_count"] = _executions };
        if (result.Error is { } error)
        {
            host.SendError(error);
            AddTo(reply, "error", CellHost.ErrorContent(error));
            if (request.Flag("stop_on_error", whenMissing: true))
            {
                AbortQueue();
            }

            return reply;
        }

        if (shown is not null && !isSilent)
        {
            host.SendResult(shown, _executions);
        }

        AddTo(reply, "ok", new JsonObject { ["payload"] = new JsonArray(), ["user_expressions"] = await EvaluateAsync(request, cancellation).ConfigureAwait(false) });
        host.Flush();
        return reply;
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
                ? CellHost.ErrorContent(error)
                : new JsonObject { ["data"] = (shown ?? MimeBundle.FromText("null")).ToJson(), ["metadata"] = new JsonObject() });
            values[name] = value;
        }

        return values;
    }

    /// <summary>Cells that were already waiting when one failed are not run: they were meant to follow it.</summary>
    private void AbortQueue()
    {
        var kept = new List<JupyterMessage>();
        while (_requests.Reader.TryRead(out var waiting))
        {
            if (waiting.Type != "execute_request")
            {
                kept.Add(waiting);
                continue;
            }

            _channel.PublishState("busy", waiting);
            _channel.Reply(Channel.Shell, waiting, new JsonObject { ["status"] = "aborted", ["execution_count"] = _executions });
            _channel.PublishState("idle", waiting);
        }

        foreach (var request in kept)
        {
            _requests.Writer.TryWrite(request);
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

    private static JsonObject KernelInfo()
    {
        var version = typeof(JupyterKernel).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion.Split('+')[0] ?? "0";
        return new JsonObject
        {
            ["protocol_version"] = JupyterMessage.ProtocolVersion,
            ["implementation"] = "lora-notebooks",
            ["implementation_version"] = version,
            ["language_info"] = new JsonObject
            {
                ["name"] = "C#",
                ["version"] = "14.0",
                ["mimetype"] = "text/x-csharp",
                ["file_extension"] = ".cs",
                ["pygments_lexer"] = "csharp",
                ["codemirror_mode"] = "text/x-csharp",
            },
            ["banner"] = $"LoraNotebooks {version}: C# on .NET {Environment.Version}",
            ["help_links"] = new JsonArray(),
            ["debugger"] = false,
        };
    }
}
