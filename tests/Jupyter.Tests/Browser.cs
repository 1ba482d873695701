using System.Collections.Concurrent;
using System.Diagnostics;
using System.Net.WebSockets;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Jupyter.Tests;

/// <summary>
/// A headless Chromium that reaches this machine only, driven through its DevTools protocol (chromedevtools.github.io/devtools-protocol).
/// </summary>
/// <remarks>A client of our own, because a test needs five of its commands and Playwright's package brings 200 MB of Node.js.</remarks>
internal sealed class Browser : IAsyncDisposable
{
    private readonly Process _process;
    private readonly string _profile;
    private readonly ClientWebSocket _socket = new();
    private readonly SemaphoreSlim _sending = new(1);
    private readonly ConcurrentDictionary<int, TaskCompletionSource<JsonNode>> _answers = new();
    private readonly ConcurrentDictionary<string, ConcurrentQueue<string>> _faults = new();
    private int _last;

    private Browser(Process process, string profile)
    {
        _process = process;
        _profile = profile;
    }

    public static async Task<Browser> StartAsync()
    {
        var profile = Directory.CreateTempSubdirectory("lora-browser-").FullName;
        var start = new ProcessStartInfo(Programs.Chromium ?? throw new InvalidOperationException("Chromium is not on the PATH."),
        [
            "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
            "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars", "--js-flags=--expose-gc",
            // No name is looked up: a page that needs the network does not get it.
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            $"--user-data-dir={profile}", "--remote-debugging-port=0", "about:blank",
        ])
        { RedirectStandardError = true, RedirectStandardOutput = true };
        var address = new TaskCompletionSource<string>();
        var process = new Process { StartInfo = start };
        process.ErrorDataReceived += (_, line) =>
        {
            if (line.Data is { } text && text.IndexOf("ws://", StringComparison.Ordinal) is >= 0 and var at)
            {
                address.TrySetResult(text[at..].Trim());
            }
        };
        process.OutputDataReceived += static (_, _) => { };
        process.Start();
        process.BeginErrorReadLine();
        process.BeginOutputReadLine();
        var browser = new Browser(process, profile);
        await browser._socket.ConnectAsync(new Uri(await address.Task.WaitAsync(TimeSpan.FromSeconds(60))), CancellationToken.None);
        _ = browser.ReceiveAsync();
        return browser;
    }

    /// <summary>Opens a page in a window of its own.</summary>
    public async Task<Page> OpenAsync(string address)
    {
        var target = await SendAsync(null, "Target.createTarget", new() { ["url"] = "about:blank", ["newWindow"] = true, ["width"] = 1280, ["height"] = 1000 });
        var attached = await SendAsync(null, "Target.attachToTarget", new() { ["targetId"] = (string)target["targetId"]!, ["flatten"] = true });
        var session = (string)attached["sessionId"]!;
        _faults[session] = new();
        foreach (var domain in (string[])["Page", "Runtime", "Log"])
        {
            await SendAsync(session, domain + ".enable");
        }

        await SendAsync(session, "Page.navigate", new() { ["url"] = address });
        return new Page(this, session, _faults[session]);
    }

    public async ValueTask DisposeAsync()
    {
        _process.Kill(entireProcessTree: true);
        await _process.WaitForExitAsync();
        _process.Dispose();
        _socket.Dispose();
        try
        {
            Directory.Delete(_profile, recursive: true);
        }
        catch (IOException)
        {
            // A child of Chromium may still write; the system clears its temporary folder.
        }
    }

    internal async Task<JsonNode> SendAsync(string? session, string method, JsonObject? parameters = null)
    {
        var id = Interlocked.Increment(ref _last);
        var message = new JsonObject { ["id"] = id, ["method"] = method, ["params"] = parameters ?? [] };
        if (session is not null)
        {
            message["sessionId"] = session;
        }

        var answer = _answers[id] = new(TaskCreationOptions.RunContinuationsAsynchronously);
        await _sending.WaitAsync();
        try
        {
            await _socket.SendAsync(JsonSerializer.SerializeToUtf8Bytes(message), WebSocketMessageType.Text, true, CancellationToken.None);
        }
        finally
        {
            _sending.Release();
        }

        return await answer.Task.WaitAsync(TimeSpan.FromSeconds(60));
    }

    private async Task ReceiveAsync()
    {
        var buffer = new byte[1 << 16];
        using var message = new MemoryStream();
        try
        {
            while (true)
            {
                var part = await _socket.ReceiveAsync(buffer, CancellationToken.None);
                message.Write(buffer, 0, part.Count);
                if (part.EndOfMessage)
                {
                    Take(JsonNode.Parse(message.ToArray())!);
                    message.SetLength(0);
                }
            }
        }
        catch (Exception error)
        {
            foreach (var answer in _answers.Values)
            {
                answer.TrySetException(new IOException("The browser has closed the connection.", error));
            }
        }
    }

    private void Take(JsonNode message)
    {
        if (message["id"] is { } id && _answers.TryRemove((int)id, out var answer))
        {
            if (message["error"] is { } error)
            {
                answer.TrySetException(new InvalidOperationException(error.ToJsonString()));
            }
            else
            {
                answer.TrySetResult(message["result"]!);
            }
        }
        else if (message["sessionId"] is { } session && _faults.TryGetValue((string)session!, out var faults))
        {
            switch ((string?)message["method"])
            {
                case "Runtime.exceptionThrown":
                    faults.Enqueue(message["params"]!["exceptionDetails"]!.ToJsonString());
                    break;
                case "Page.javascriptDialogOpening":
                    // "Leave this page?" is answered as a person does who wants to leave.
                    _ = SendAsync((string)session!, "Page.handleJavaScriptDialog", new() { ["accept"] = true });
                    break;
                case "Log.entryAdded" when (string?)message["params"]!["entry"]!["level"] == "error":
                    faults.Enqueue($"{message["params"]!["entry"]!["text"]} {message["params"]!["entry"]!["url"]}");
                    break;
            }
        }
    }
}

/// <summary>One window.</summary>
internal sealed class Page(Browser browser, string session, IReadOnlyCollection<string> faults)
{
    /// <summary>Uncaught exceptions and console errors so far.</summary>
    public IReadOnlyCollection<string> Faults => faults;

    /// <summary>The value of an expression, awaited if it is a promise.</summary>
    public async Task<T> EvaluateAsync<T>(string expression)
    {
        var answer = await browser.SendAsync(session, "Runtime.evaluate", new()
        {
            ["expression"] = expression,
            ["awaitPromise"] = true,
            ["returnByValue"] = true,
            ["userGesture"] = true,
        });
        return answer["exceptionDetails"] is { } fault
            ? throw new InvalidOperationException($"{expression}: {fault.ToJsonString()}")
            : answer["result"]!["value"] is { } value ? value.Deserialize<T>()! : default!;
    }

    /// <summary>Waits until an expression is true.</summary>
    public async Task WaitAsync(string expression, int seconds = 30)
    {
        var clock = Stopwatch.StartNew();
        while (true)
        {
            try
            {
                if (await EvaluateAsync<bool>($"!!({expression})"))
                {
                    return;
                }
            }
            catch (InvalidOperationException) when (clock.Elapsed.TotalSeconds < seconds)
            {
                // The page may still be loading what the expression names.
            }

            if (clock.Elapsed.TotalSeconds > seconds)
            {
                throw new TimeoutException($"Not true after {seconds} s: {expression}\n{string.Join('\n', faults)}");
            }

            await Task.Delay(50);
        }
    }

    /// <summary>Presses and releases the mouse in the middle of an element.</summary>
    public Task PressAsync(string selector) => DragAsync(selector, 0.5, 0.5);

    /// <summary>Draws the mouse with its button down over an element.</summary>
    /// <param name="selector">The element.</param>
    /// <param name="from">Where in the element's width the button goes down, from 0 to 1; always at half its height.</param>
    /// <param name="to">Where it is released.</param>
    public async Task DragAsync(string selector, double from, double to)
    {
        var place = await EvaluateAsync<double[]>(
            $"(() => {{ const e = document.querySelector({JsonSerializer.Serialize(selector)}); "
                + "e.scrollIntoView({ block: 'center' }); const r = e.getBoundingClientRect(); return [r.x, r.y + r.height / 2, r.width]; })()");
        await MouseAsync("mouseMoved", from);
        await MouseAsync("mousePressed", from);
        if (to != from)
        {
            await MouseAsync("mouseMoved", (from + to) / 2);
            await MouseAsync("mouseMoved", to);
        }

        await MouseAsync("mouseReleased", to);

        Task<JsonNode> MouseAsync(string type, double at) => browser.SendAsync(session, "Input.dispatchMouseEvent", new()
        {
            ["type"] = type,
            ["x"] = place[0] + at * place[2],
            ["y"] = place[1],
            ["button"] = "left",
            ["clickCount"] = 1,
        });
    }

    /// <summary>Writes what the window shows into the repository's folder <c>artifacts/jupyter</c>.</summary>
    public async Task ScreenshotAsync(string name)
    {
        var answer = await browser.SendAsync(session, "Page.captureScreenshot", new() { ["format"] = "png" });
        var folder = Path.Combine(Repository.Root, "artifacts", "jupyter");
        Directory.CreateDirectory(folder);
        await File.WriteAllBytesAsync(Path.Combine(folder, name + ".png"), Convert.FromBase64String((string)answer["data"]!));
    }

    /// <summary>Sets the window's size in CSS pixels.</summary>
    public Task ResizeAsync(int width, int height) =>
        browser.SendAsync(session, "Emulation.setDeviceMetricsOverride", new()
        {
            ["width"] = width,
            ["height"] = height,
            ["deviceScaleFactor"] = 1,
            ["mobile"] = false,
        });
}

/// <summary>One browser for the tests of a class; it starts with the first that asks for it.</summary>
public sealed class BrowserFixture : IAsyncLifetime
{
    private readonly Lazy<Task<Browser>> _browser = new(() => global::Jupyter.Tests.Browser.StartAsync());

    internal Task<Browser> Browser => _browser.Value;

    public Task InitializeAsync() => Task.CompletedTask;

    public async Task DisposeAsync()
    {
        if (_browser.IsValueCreated)
        {
            await (await _browser.Value).DisposeAsync();
        }
    }
}
