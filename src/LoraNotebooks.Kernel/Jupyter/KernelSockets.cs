using NetMQ;
using NetMQ.Sockets;

namespace LoraNotebooks.Kernel.Jupyter;

/// <summary>Which socket a message comes from or goes to.</summary>
internal enum Channel
{
    /// <summary>Requests that are answered in order.</summary>
    Shell,

    /// <summary>Requests that do not wait for the running cell.</summary>
    Control,

    /// <summary>The kernel asks for input.</summary>
    Stdin,

    /// <summary>What all front ends are told.</summary>
    IOPub,
}

/// <summary>The five sockets of a kernel, bound to loopback, on a thread of their own that is never kept waiting.</summary>
/// <remarks>Messages are sent in the order of the calls of <see cref="Send"/>, across all sockets.</remarks>
internal sealed class KernelSockets : IDisposable
{
    private readonly MessageSigner _signer;
    private readonly Action<Channel, JupyterMessage> _received;
    private readonly Action _listened;
    private readonly Action<string> _log;
    private readonly RouterSocket _shell = new();
    private readonly RouterSocket _control = new();
    private readonly RouterSocket _stdin = new();
    private readonly XPublisherSocket _ioPub = new();
    private readonly RouterSocket _heartbeat = new();
    private readonly NetMQQueue<(Channel Channel, JupyterMessage Message)> _outgoing = new();
    private readonly NetMQPoller _poller;
    private bool _isClosed;

    /// <summary>Binds the sockets; nothing is received before <see cref="Start"/>.</summary>
    /// <param name="connection">Addresses and key.</param>
    /// <param name="received">Takes each message that is well signed, on the sockets' thread: it must return at once.</param>
    /// <param name="listened">Is told, on the sockets' thread, that one more front end hears what all are told.</param>
    /// <param name="log">Takes a line about each message that was dropped.</param>
    /// <exception cref="IOException">A port is taken.</exception>
    public KernelSockets(ConnectionFile connection, Action<Channel, JupyterMessage> received, Action listened, Action<string> log)
    {
        (_signer, _received, _listened, _log) = (new MessageSigner(connection.Key), received, listened, log);
        NetMQConfig.Linger = TimeSpan.FromSeconds(1);
        (NetMQSocket Socket, int Port, string Name)[] sockets =
        [
            (_shell, connection.ShellPort, "shell"), (_control, connection.ControlPort, "control"), (_stdin, connection.StdinPort, "stdin"),
            (_ioPub, connection.IOPubPort, "iopub"), (_heartbeat, connection.HeartbeatPort, "heartbeat"),
        ];
        foreach (var (socket, port, name) in sockets)
        {
            // No message is thrown away because a front end is slow to read.
            socket.Options.SendHighWatermark = 0;
            socket.Options.ReceiveHighWatermark = 0;
            var host = connection.Address.Contains(':', StringComparison.Ordinal) ? $"[{connection.Address}]" : connection.Address;
            try
            {
                socket.Bind($"tcp://{host}:{port}");
            }
            catch (NetMQException error)
            {
                throw new IOException(
                    $"The {name} port {port} of the connection file cannot be used: {error.Message}. Is another kernel running with this file?",
                    error);
            }
        }

        // Every subscription is of interest, not only the first to a topic.
        _ioPub.Options.XPubVerbose = true;
        _shell.ReceiveReady += (_, _) => Receive(_shell, Channel.Shell);
        _control.ReceiveReady += (_, _) => Receive(_control, Channel.Control);
        _stdin.ReceiveReady += (_, _) => Receive(_stdin, Channel.Stdin);
        _ioPub.ReceiveReady += (_, _) => Listen();
        _heartbeat.ReceiveReady += (_, _) => _heartbeat.SendMultipartMessage(_heartbeat.ReceiveMultipartMessage());
        _outgoing.ReceiveReady += (_, _) => SendAll();
        _poller = [_shell, _control, _stdin, _ioPub, _heartbeat, _outgoing];
    }

    /// <summary>Begins to receive and to send.</summary>
    public void Start() => _poller.RunAsync("Jupyter sockets", isBackgroundThread: true);

    /// <summary>Sends a message, from any thread.</summary>
    public void Send(Channel channel, JupyterMessage message)
    {
        // A cell may be aborted anywhere but in a finally block; the queue must stay whole.
        try
        {
        }
        finally
        {
            _outgoing.Enqueue((channel, message));
        }
    }

    /// <summary>Sends what is waiting and closes the sockets; a second call does nothing.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _isClosed, true))
        {
            return;
        }

        _poller.Stop();
        SendAll();
        _poller.Dispose();
        _outgoing.Dispose();
        foreach (var socket in (NetMQSocket[])[_shell, _control, _stdin, _ioPub, _heartbeat])
        {
            socket.Dispose();
        }
    }

    private void Receive(RouterSocket socket, Channel channel)
    {
        // A limit, so that a flood on one socket does not starve the others.
        for (var i = 0; i < 100; i++)
        {
            NetMQMessage? frames = null;
            if (!socket.TryReceiveMultipartMessage(ref frames))
            {
                return;
            }

            try
            {
                _received(channel, JupyterMessage.Read([.. frames.Select(frame => frame.ToByteArray())], _signer));
            }
            catch (InvalidDataException error)
            {
                _log($"Dropped a message on {channel.ToString().ToLowerInvariant()}: {error.Message}.");
            }
            catch (Exception error)
            {
                // One message that cannot be dealt with must not end the thread, and with it the kernel.
                _log($"A message on {channel.ToString().ToLowerInvariant()} could not be dealt with: {error}");
            }
        }
    }

    /// <summary>Takes subscriptions: a byte, 1 for one that begins and 0 for one that ends, and a topic (ZeroMQ RFC 29).</summary>
    private void Listen()
    {
        for (var i = 0; i < 100 && _ioPub.TryReceiveFrameBytes(out var frame); i++)
        {
            if (frame is [1, ..])
            {
                _listened();
            }
        }
    }

    private void SendAll()
    {
        while (_outgoing.TryDequeue(out var next, TimeSpan.Zero))
        {
            NetMQSocket socket = next.Channel switch
            {
                Channel.Shell => _shell,
                Channel.Control => _control,
                Channel.Stdin => _stdin,
                _ => _ioPub,
            };
            try
            {
                socket.SendMultipartBytes(next.Message.Write(_signer));
            }
            catch (Exception error)
            {
                _log($"A message of type {next.Message.Type} could not be sent: {error}");
            }
        }
    }
}
