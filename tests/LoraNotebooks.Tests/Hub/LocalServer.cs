using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;

namespace LoraNotebooks.Tests.Hub;

/// <summary>What was asked.</summary>
internal sealed record Request(string Method, string Path, IReadOnlyDictionary<string, string> Headers)
{
    public string? Header(string name) => Headers.GetValueOrDefault(name);

    /// <summary>The first byte of the range asked for; null without one.</summary>
    public int? From => Header("Range") is { } range ? int.Parse(range["bytes=".Length..^1], CultureInfo.InvariantCulture) : null;
}

/// <summary>What is answered, truthfully or not.</summary>
internal sealed record Reply(int Status, byte[]? Body = null)
{
    public Dictionary<string, string> Headers { get; init; } = [];

    /// <summary>What stands beside the status.</summary>
    public string Reason { get; init; } = "Answer";

    /// <summary>The length that is announced; default the body's, -1 announces none.</summary>
    public int? Announced { get; init; }

    /// <summary>The bytes after which the connection breaks off; default none.</summary>
    public int? BreakAfter { get; init; }

    /// <summary>The bytes after which nothing comes until <see cref="Silence"/> ends; default none.</summary>
    public int? SilentAfter { get; init; }

    public Task Silence { get; init; } = Task.CompletedTask;

    public static Reply Json(string text) => new(200, Encoding.UTF8.GetBytes(text));

    /// <summary>The answer with one more header, or another value of it.</summary>
    public Reply With(string header, string value) => this with { Headers = new(Headers) { [header] = value } };

    public static Reply To(string location) => new(302) { Headers = { ["Location"] = location } };
}

/// <summary>A server on this machine alone that can break every rule of HTTP.</summary>
internal sealed class LocalServer : IDisposable
{
    private readonly TcpListener _listener = new(IPAddress.Loopback, 0);
    private readonly Func<Request, Reply> _answer;
    private readonly List<Request> _requests = [];

    public LocalServer(Func<Request, Reply> answer)
    {
        _answer = answer;
        _listener.Start();
        _ = ListenAsync();
    }

    public Uri Address => new($"http://127.0.0.1:{((IPEndPoint)_listener.LocalEndpoint).Port}");

    public IReadOnlyList<Request> Requests
    {
        get
        {
            lock (_requests)
            {
                return [.. _requests];
            }
        }
    }

    public void Dispose() => _listener.Dispose();

    private async Task ListenAsync()
    {
        while (true)
        {
            try
            {
                var client = await _listener.AcceptTcpClientAsync();
                _ = ServeAsync(client);
            }
            catch (Exception error) when (error is SocketException or ObjectDisposedException)
            {
                return;
            }
        }
    }

    private async Task ServeAsync(TcpClient client)
    {
        using (client)
        {
            try
            {
                var stream = client.GetStream();
                var request = await ReadAsync(stream);
                lock (_requests)
                {
                    _requests.Add(request);
                }

                await WriteAsync(stream, request, _answer(request));
            }
            catch (IOException)
            {
                // The client hung up, as it does when it is told too much.
            }
        }
    }

    private static async Task<Request> ReadAsync(NetworkStream stream)
    {
        var text = new StringBuilder();
        var one = new byte[1];
        while (!text.ToString().EndsWith("\r\n\r\n", StringComparison.Ordinal) && await stream.ReadAsync(one) == 1)
        {
            text.Append((char)one[0]);
        }

        var lines = text.ToString().Split("\r\n", StringSplitOptions.RemoveEmptyEntries);
        var first = lines[0].Split(' ');
        return new Request(
            first[0],
            first[1],
            lines[1..].Select(line => line.Split(": ", 2)).ToDictionary(parts => parts[0], parts => parts[1], StringComparer.OrdinalIgnoreCase));
    }

    private static async Task WriteAsync(NetworkStream stream, Request request, Reply reply)
    {
        var body = reply.Body ?? [];
        var head = new StringBuilder($"HTTP/1.1 {reply.Status} {reply.Reason}\r\nConnection: close\r\n");
        if (reply.Announced != -1)
        {
            head.Append(CultureInfo.InvariantCulture, $"Content-Length: {reply.Announced ?? body.Length}\r\n");
        }

        foreach (var (name, value) in reply.Headers)
        {
            head.Append(CultureInfo.InvariantCulture, $"{name}: {value}\r\n");
        }

        await stream.WriteAsync(Encoding.ASCII.GetBytes(head.Append("\r\n").ToString()));
        if (request.Method != "HEAD")
        {
            var sent = body.AsMemory(0, Math.Min(reply.BreakAfter ?? body.Length, body.Length));
            var first = reply.SilentAfter ?? sent.Length;
            await stream.WriteAsync(sent[..first]);
            await reply.Silence;
            await stream.WriteAsync(sent[first..]);
        }
    }
}
