using System.Collections.Concurrent;
using System.Net;
using System.Text;
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

    /// <summary>The messages that came over the kernel's WebSocket.</summary>
    public BlockingCollection<string> Messages { get; } = [];

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
            var received = await socket.ReceiveAsync(buffer, CancellationToken.None);
            Messages.Add(Encoding.UTF8.GetString(buffer, 0, received.Count));
            return;
        }

        var content = path switch
        {
            "" => Encoding.UTF8.GetBytes(Html),
            $"api/kernels/{Kernel}" => "{}"u8.ToArray(),
            $"kernelspecs/{KernelSpec.DefaultName}/{PlotlyBundle.FileName}" => await File.ReadAllBytesAsync(Path.Combine(_files, PlotlyBundle.FileName)),
            _ => null,
        };
        context.Response.StatusCode = content is null ? 404 : 200;
        context.Response.ContentType = path.Length == 0 ? "text/html; charset=utf-8" : path.EndsWith(".js", StringComparison.Ordinal) ? "application/javascript" : "application/json";
        await context.Response.OutputStream.WriteAsync(content ?? []);
        context.Response.Close();
    }
}
