using System.Collections.Concurrent;
using System.Diagnostics;
using LoraNotebooks.Kernel.Jupyter;
using LoraNotebooks.Kernel.Notebooks;

namespace Jupyter.Tests;

/// <summary>
/// A Jupyter server that <c>lora-notebooks lab</c> started on a folder laid out as the repository (notebooks beside datasets),
/// with settings, kernels and signatures of its own.
/// </summary>
public sealed class JupyterFixture : IAsyncLifetime
{
    private readonly BrowserFixture _browser = new();
    private readonly Lazy<Task<Uri>> _address;
    private readonly Lazy<string> _notebooks;
    private readonly ConcurrentQueue<string> _log = new();
    private Process? _process;

    public JupyterFixture()
    {
        _address = new(StartAsync);
        _notebooks = new(() =>
        {
            Directory.CreateSymbolicLink(Path.Combine(Root, "datasets"), Path.Combine(Repository.Root, "datasets"));
            return Directory.CreateDirectory(Path.Combine(Root, "notebooks")).FullName;
        });
    }

    /// <summary>A folder for this class of tests.</summary>
    public string Root { get; } = Directory.CreateTempSubdirectory("lora-jupyter-").FullName;

    /// <summary>The server's folder.</summary>
    public string Notebooks => _notebooks.Value;

    /// <summary>Starts a command with Jupyter's folders in <see cref="Root"/>.</summary>
    public ProcessStartInfo Command(string program, params IEnumerable<string> arguments)
    {
        var start = new ProcessStartInfo(program, arguments) { WorkingDirectory = Notebooks, RedirectStandardOutput = true, RedirectStandardError = true };
        foreach (var (name, folder) in ((string, string)[])
        [
            ("JUPYTER_DATA_DIR", "data"),
            ("JUPYTER_CONFIG_DIR", "config"),
            ("JUPYTER_RUNTIME_DIR", "runtime"),
            ("IPYTHONDIR", "ipython"),
        ])
        {
            start.Environment[name] = Path.Combine(Root, folder);
        }

        return start;
    }

    /// <summary>The program under test, beside these tests.</summary>
    public static string[] Program(params string[] arguments) => ["exec", typeof(KernelSpec).Assembly.Location, .. arguments];

    /// <summary>Saves a notebook into the server's folder and opens its page; it is connected to its kernel when this returns.</summary>
    internal async Task<Page> OpenAsync(Notebook notebook, string name)
    {
        notebook.Save(Path.Combine(Notebooks, name));
        return await OpenAsync(name);
    }

    /// <summary>Opens the page of a notebook in the server's folder.</summary>
    internal async Task<Page> OpenAsync(string name)
    {
        var address = await _address.Value;
        var page = await (await _browser.Browser).OpenAsync(new Uri(address, $"/notebooks/{name}{address.Query}").AbsoluteUri);
        await WaitAsync(page);
        return page;
    }

    /// <summary>Loads a page again, as its reader does; it is connected to its kernel when this returns.</summary>
    internal async Task ReloadAsync(Page page)
    {
        await page.EvaluateAsync<bool>("window.before = true, location.reload(), true");
        await page.WaitAsync("!window.before", 60);
        await WaitAsync(page);
    }

    private async Task WaitAsync(Page page)
    {
        try
        {
            await page.WaitAsync(
                "window.Jupyter && Jupyter.notebook && Jupyter.notebook._fully_loaded && Jupyter.notebook.kernel && Jupyter.notebook.kernel.is_connected()",
                60);
        }
        catch (TimeoutException error)
        {
            throw new TimeoutException($"{error.Message}\n{string.Join('\n', _log)}");
        }
    }

    public Task InitializeAsync() => Task.CompletedTask;

    public async Task DisposeAsync()
    {
        await _browser.DisposeAsync();
        if (_process is { HasExited: false })
        {
            _process.Kill(entireProcessTree: true);
            await _process.WaitForExitAsync();
        }

        _process?.Dispose();
        Directory.Delete(Root, recursive: true);
    }

    private async Task<Uri> StartAsync()
    {
        var address = new TaskCompletionSource<Uri>();
        _process = new Process { StartInfo = Command("dotnet", Program("lab", "--no-browser")) };
        _process.OutputDataReceived += (_, line) =>
        {
            _log.Enqueue(line.Data ?? "");
            if (line.Data?.StartsWith("http://127.0.0.1:", StringComparison.Ordinal) == true)
            {
                address.TrySetResult(new Uri(line.Data));
            }
        };
        _process.ErrorDataReceived += (_, line) => _log.Enqueue(line.Data ?? "");
        _process.Start();
        _process.BeginOutputReadLine();
        _process.BeginErrorReadLine();
        _ = _process.WaitForExitAsync().ContinueWith(
            _ => address.TrySetException(new IOException($"lab ended: {string.Join('\n', _log)}")),
            TaskScheduler.Default);
        return await address.Task.WaitAsync(TimeSpan.FromSeconds(90));
    }
}
