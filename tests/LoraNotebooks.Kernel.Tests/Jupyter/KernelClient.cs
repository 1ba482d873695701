using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using LoraNotebooks.Kernel.Jupyter;
using NetMQ;
using NetMQ.Sockets;

namespace LoraNotebooks.Kernel.Tests.Jupyter;

/// <summary>A kernel as a front end has it: a process of its own, started with a connection file, and the other ends of its sockets.</summary>
internal sealed class KernelClient : IDisposable
{
    public const string Key = "a-key-of-the-tests";

    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    private readonly string _folder = Directory.CreateTempSubdirectory("lora-notebooks-kernel-").FullName;
    private readonly string _session = Guid.NewGuid().ToString("N");
    private readonly DealerSocket _shell = new();
    private readonly DealerSocket _control = new();
    private readonly DealerSocket _stdin = new();
    private readonly SubscriberSocket _ioPub = new();
    private readonly RequestSocket _heartbeat = new();
    private readonly StringBuilder _log = new();
    private readonly List<JupyterMessage> _replies = [];
    private readonly List<JupyterMessage> _told = [];

    /// <param name="program">The assembly of the program; by default the one beside the tests.</param>
    public KernelClient(string? program = null)
    {
        var connection = new JsonObject
        {
            ["ip"] = "127.0.0.1",
            ["transport"] = "tcp",
            ["key"] = Key,
            ["signature_scheme"] = "hmac-sha256",
        };
        var ports = FreePorts(5);
        foreach (var (name, port) in new[] { "shell_port", "iopub_port", "stdin_port", "control_port", "hb_port" }.Zip(ports))
        {
            connection[name] = port;
        }

        var file = Path.Combine(_folder, $"kernel-{Guid.NewGuid()}.json");
        File.WriteAllText(file, connection.ToJsonString());
        Process = Start(program ?? Path.Combine(AppContext.BaseDirectory, "lora-notebooks.dll"), file);

        var identity = Encoding.ASCII.GetBytes(_session);
        foreach (var (socket, port) in new (NetMQSocket, int)[]
        {
            (_shell, ports[0]), (_ioPub, ports[1]), (_stdin, ports[2]), (_control, ports[3]), (_heartbeat, ports[4]),
        })
        {
            // A question on stdin is addressed with the identity that the request on shell had.
            socket.Options.Identity = identity;
            socket.Options.ReceiveHighWatermark = 0;
            socket.Options.Linger = TimeSpan.Zero;
            socket.Connect($"tcp://127.0.0.1:{port}");
        }

        _ioPub.SubscribeToAnyTopic();
        WaitUntilReady();
    }

    public Process Process { get; }

    public string Log
    {
        get
        {
            lock (_log)
            {
                return _log.ToString();
            }
        }
    }

    /// <summary>Sends a request and waits for its reply and for the kernel to be idle again.</summary>
    public Exchange Ask(string type, JsonObject? content = null, Channel channel = Channel.Shell, Action? meanwhile = null, Func<string>? input = null)
    {
        var id = Send(type, content, channel);
        meanwhile?.Invoke();
        return Await(id, input);
    }

    public Exchange Execute(string code, Action? meanwhile = null, Func<string>? input = null, bool silent = false, bool stopOnError = true) => Ask(
        "execute_request",
        new JsonObject
        {
            ["code"] = code,
            ["silent"] = silent,
            ["store_history"] = !silent,
            ["user_expressions"] = new JsonObject(),
            ["allow_stdin"] = input is not null,
            ["stop_on_error"] = stopOnError,
        },
        meanwhile: meanwhile,
        input: input);

    public string Send(string type, JsonObject? content = null, Channel channel = Channel.Shell, string key = Key)
    {
        var message = JupyterMessage.Create(type, _session, null, content ?? []);
        (channel == Channel.Control ? _control : _shell).SendMultipartBytes(message.Write(new MessageSigner(key)));
        return (string)message.Header["msg_id"]!;
    }

    public Exchange Await(string id, Func<string>? input = null)
    {
        var clock = Stopwatch.StartNew();
        while (true)
        {
            Pump();
            var told = _told.Where(message => ParentId(message) == id).ToList();
            var replies = _replies.Where(message => ParentId(message) == id).ToList();
            if (replies.Count > 0 && told.Any(message => message.Type == "status" && message.Text("execution_state") == "idle"))
            {
                _told.RemoveAll(told.Contains);
                _replies.RemoveAll(replies.Contains);
                return new Exchange(replies.Single(), told);
            }

            if (clock.Elapsed > Limit)
            {
                throw new TimeoutException($"No {(replies.Count == 0 ? "reply" : "idle state")} after {Limit.TotalSeconds} s.\n{Log}");
            }

            if (input is not null && Receive(_stdin, TimeSpan.Zero) is { Type: "input_request" } question)
            {
                var line = JupyterMessage.Create("input_reply", _session, question with { Identities = [] }, new JsonObject { ["value"] = input() });
                _stdin.SendMultipartBytes(line.Write(new MessageSigner(Key)));
            }
        }
    }

    /// <summary>What is told on iopub in the next moments, whoever caused it.</summary>
    public List<JupyterMessage> Listen(TimeSpan time)
    {
        var known = _told.Count;
        for (var clock = Stopwatch.StartNew(); clock.Elapsed < time;)
        {
            Pump();
        }

        return _told[known..];
    }

    /// <summary>Waits for something to be told on iopub.</summary>
    public JupyterMessage Hear(Func<JupyterMessage, bool> isIt)
    {
        for (var clock = Stopwatch.StartNew(); clock.Elapsed < Limit;)
        {
            Pump();
            if (_told.Find(message => isIt(message)) is { } heard)
            {
                return heard;
            }
        }

        throw new TimeoutException($"It was not told within {Limit.TotalSeconds} s.\n{Log}");
    }

    public byte[] Beat(byte[] bytes)
    {
        _heartbeat.SendFrame(bytes);
        return _heartbeat.TryReceiveFrameBytes(Limit, out var back) ? back : throw new TimeoutException("No heartbeat.");
    }

    public void Dispose()
    {
        if (!Process.HasExited)
        {
            Process.Kill(entireProcessTree: true);
        }

        Process.Dispose();
        foreach (var socket in (NetMQSocket[])[_shell, _control, _stdin, _ioPub, _heartbeat])
        {
            socket.Dispose();
        }

        Directory.Delete(_folder, recursive: true);
    }

    private Process Start(string program, string file)
    {
        var start = new ProcessStartInfo("dotnet", [program, "kernel", "start", file])
        {
            RedirectStandardError = true,
            RedirectStandardOutput = true,
            WorkingDirectory = _folder,
        };
        start.Environment["JPY_PARENT_PID"] = Environment.ProcessId.ToString(System.Globalization.CultureInfo.InvariantCulture);
        var process = Process.Start(start)!;
        process.ErrorDataReceived += (_, line) => Append(line.Data);
        process.OutputDataReceived += (_, line) => Append(line.Data);
        process.BeginErrorReadLine();
        process.BeginOutputReadLine();
        return process;

        void Append(string? line)
        {
            lock (_log)
            {
                _log.AppendLine(line);
            }
        }
    }

    /// <summary>Asks until an answer comes on shell and a state on iopub: a subscription takes a moment to reach the kernel.</summary>
    private void WaitUntilReady()
    {
        for (var clock = Stopwatch.StartNew(); clock.Elapsed < Limit;)
        {
            var id = Send("kernel_info_request");
            var answered = false;
            var heard = false;
            for (var wait = Stopwatch.StartNew(); wait.ElapsedMilliseconds < 2_000 && !(answered && heard);)
            {
                answered |= Receive(_shell, TimeSpan.FromMilliseconds(10)) is { } reply && ParentId(reply) == id;
                heard |= Receive(_ioPub, TimeSpan.FromMilliseconds(10)) is { } told && ParentId(told) == id && told.Text("execution_state") == "idle";
            }

            if (answered && heard)
            {
                return;
            }
        }

        throw new TimeoutException($"The kernel did not answer.\n{Log}");
    }

    private void Pump()
    {
        foreach (var socket in (NetMQSocket[])[_shell, _control])
        {
            while (Receive(socket, TimeSpan.FromMilliseconds(1)) is { } reply)
            {
                _replies.Add(reply);
            }
        }

        while (Receive(_ioPub, TimeSpan.FromMilliseconds(5)) is { } told)
        {
            _told.Add(told);
        }
    }

    private static JupyterMessage? Receive(NetMQSocket socket, TimeSpan wait)
    {
        NetMQMessage? frames = null;
        return socket.TryReceiveMultipartMessage(wait, ref frames)
            ? JupyterMessage.Read([.. frames!.Select(frame => frame.ToByteArray())], new MessageSigner(Key))
            : null;
    }

    private static string? ParentId(JupyterMessage message) => (string?)message.ParentHeader["msg_id"];

    private static int[] FreePorts(int count)
    {
        var listeners = Enumerable.Range(0, count).Select(_ => new TcpListener(IPAddress.Loopback, 0)).ToArray();
        foreach (var listener in listeners)
        {
            listener.Start();
        }

        int[] ports = [.. listeners.Select(listener => ((IPEndPoint)listener.LocalEndpoint).Port)];
        foreach (var listener in listeners)
        {
            listener.Stop();
        }

        return ports;
    }
}

/// <summary>A reply, and what was told on iopub on the way to it.</summary>
internal sealed record Exchange(JupyterMessage Reply, IReadOnlyList<JupyterMessage> Told)
{
    public string Status => Reply.Text("status")!;

    /// <summary>The outputs proper, without states and the echo of the input.</summary>
    public IReadOnlyList<JupyterMessage> Outputs => [.. Told.Where(message => message.Type is not ("status" or "execute_input"))];

    /// <summary>The text of a stream, all its pieces together.</summary>
    public string Stream(string name) =>
        string.Concat(Told.Where(message => message.Type == "stream" && message.Text("name") == name).Select(message => message.Text("text")));

    /// <summary>The plain text of the cell's value.</summary>
    public string? Result => (string?)Told.SingleOrDefault(message => message.Type == "execute_result")?.Content["data"]!["text/plain"];

    /// <summary>The text of every output, for messages of tests.</summary>
    public override string ToString() => string.Join('\n', Outputs.Select(message => message.Type + " " + JsonSerializer.Serialize(message.Content)));
}
