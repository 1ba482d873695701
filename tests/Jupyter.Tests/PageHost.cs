using System.Collections.Concurrent;
using System.Net;
using System.Net.WebSockets;
using System.Text;
using System.Text.Json.Nodes;
using LoraNotebooks.Kernel.Jupyter;

namespace Jupyter.Tests;

/// <summary>What a page script sees of a Jupyter server: its kernelspec's files, one kernel with its WebSocket, and a page.</summary>
internal sealed class PageHost : IDisposable
{
    public const string Kernel = "1234-abcd";

    private readonly HttpListener _listener = new();
    private readonly string _files = Directory.CreateTempSubdirectory("lora-page-").FullName;

    public PageHost()
    {
        PlotlyBundle.WriteTo(_files);
        for (var port = Random.Shared.Next(20000, 60000); !_listener.IsListening; port++)
        {
            try
            {
                Address = $"http://127.0.0.1:{port}/base/";
                _listener.Prefixes.Clear();
                _listener.Prefixes.Add(Address);
                _listener.Start();
            }
            catch (HttpListenerException)
            {
                // Taken; the next one.
            }
        }

        _ = ServeAsync();
    }

    public string Address { get; private set; } = "";

    /// <summary>What the page shows; it is read at each request.</summary>
    public string Html { get; set; } = "";

    /// <summary>The paths asked for, below the base URL.</summary>
    public ConcurrentQueue<string> Requests { get; } = new();

    /// <summary>The questions that came over the kernel's WebSocket.</summary>
    public BlockingCollection<JsonNode> Messages { get; } = [];

    /// <summary>What the kernel answers to a question about a run; null for no answer.</summary>
    public Func<JsonNode, JsonObject?> Answer { get; set; } = _ => new() { ["state"] = "running", ["outputs"] = new JsonArray() };

    /// <summary>Whether the server knows the kernel.</summary>
    public bool HasKernel { get; set; } = true;

    public void Dispose()
    {
        _listener.Close();
        Directory.Delete(_files, recursive: true);
    }

    private async Task ServeAsync()
    {
        while (_listener.IsListening)
        {
            try
            {
                _ = AnswerAsync(await _listener.GetContextAsync());
            }
            catch (Exception error) when (error is HttpListenerException or ObjectDisposedException)
            {
                return;
            }
        }
    }

    private async Task AnswerAsync(HttpListenerContext context)
    {
        var path = context.Request.Url!.AbsolutePath["/base/".Length..];
        Requests.Enqueue(path);
        if (context.Request.IsWebSocketRequest && path == $"api/kernels/{Kernel}/channels")
        {
            var socket = (await context.AcceptWebSocketAsync(null)).WebSocket;
            var buffer = new byte[10_000];
            while (await socket.ReceiveAsync(buffer, CancellationToken.None) is { MessageType: WebSocketMessageType.Text } received)
            {
                var message = JsonNode.Parse(Encoding.UTF8.GetString(buffer, 0, received.Count))!;
                Messages.Add(message);
                if (Answer(message["content"]!["data"]!) is { } answer)
                {
                    var reply = new JsonObject
                    {
                        ["channel"] = "iopub",
                        ["header"] = new JsonObject { ["msg_type"] = "comm_msg" },
                        ["content"] = new JsonObject { ["comm_id"] = (string)message["content"]!["comm_id"]!, ["data"] = answer },
                    };
                    await socket.SendAsync(Encoding.UTF8.GetBytes(reply.ToJsonString()), WebSocketMessageType.Text, true, CancellationToken.None);
                }
            }

            return;
        }

        var content = path switch
        {
            "" => Encoding.UTF8.GetBytes(Html),
            $"api/kernels/{Kernel}" when HasKernel => "{}"u8.ToArray(),
            $"kernelspecs/{KernelSpec.DefaultName}/{PlotlyBundle.FileName}" => await File.ReadAllBytesAsync(Path.Combine(_files, PlotlyBundle.FileName)),
            _ => null,
        };
        context.Response.StatusCode = content is null ? 404 : 200;
        context.Response.ContentType = path.Length == 0
            ? "text/html; charset=utf-8"
            : path.EndsWith(".js", StringComparison.Ordinal) ? "application/javascript" : "application/json";
        await context.Response.OutputStream.WriteAsync(content ?? []);
        context.Response.Close();
    }
}
