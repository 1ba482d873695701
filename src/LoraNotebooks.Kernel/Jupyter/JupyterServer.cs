using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Security.Cryptography;

namespace LoraNotebooks.Kernel.Jupyter;

/// <summary>A notebook server of our own: on loopback, on a free port, with a token that only the link holds.</summary>
internal sealed class JupyterServer : IAsyncDisposable
{
    private static readonly TimeSpan Grace = TimeSpan.FromSeconds(10);
    private const int Terminate = 15;

    private readonly Process _process;

    private JupyterServer(Process process, Uri address)
    {
        _process = process;
        Address = address;
    }

    /// <summary>The link that opens the first page, token and all.</summary>
    public Uri Address { get; }

    /// <summary>Starts a server; it answers a few seconds later, see <see cref="IsUpAsync"/>.</summary>
    /// <param name="program">Which one.</param>
    /// <param name="folder">Its folder of notebooks.</param>
    /// <param name="port">The port; 0 takes a free one.</param>
    /// <param name="opensBrowser">Whether the server opens the page in the user's browser.</param>
    /// <param name="passed">Further options of the server's own; they count before those given here.</param>
    /// <param name="log">Gets each line that the server writes, on any thread.</param>
    public static JupyterServer Start(JupyterProgram program, string folder, int port, bool opensBrowser, IReadOnlyList<string> passed, Action<string> log)
    {
        port = port == 0 ? FreePort() : port;
        string[] options =
        [
            .. ((string[])["--ip=127.0.0.1", "--port-retries=0"]).Where(option => !passed.Any(own => own.Split('=')[0] == option.Split('=')[0])),
            $"--port={port}",
            .. opensBrowser ? Array.Empty<string>() : ["--no-browser"],
            // In a container everyone is root, and no one outside this machine reaches the port.
            .. Environment.IsPrivilegedProcess && !OperatingSystem.IsWindows() ? ["--allow-root"] : Array.Empty<string>(),
            .. passed,
        ];
        var start = new ProcessStartInfo(program.Command[0], [.. program.Command.Skip(1), .. options])
        {
            WorkingDirectory = folder,
            RedirectStandardInput = true, // without a terminal, the server ends on a signal and asks no question
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        var token = Environment.GetEnvironmentVariable("JUPYTER_TOKEN") is { Length: > 0 } given
            ? given
            : Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(24));
        start.Environment["JUPYTER_TOKEN"] = token;
        var process = new Process { StartInfo = start };
        process.OutputDataReceived += (_, line) => Log(line.Data);
        process.ErrorDataReceived += (_, line) => Log(line.Data);
        process.Start();
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
        return new(process, new Uri($"http://127.0.0.1:{port}/{program.Page}?token={Uri.EscapeDataString(token)}"));

        void Log(string? line)
        {
            if (line is not null)
            {
                log(line);
            }
        }
    }

    /// <summary>Whether the server answers; false once its process has ended and all it wrote has been handed on.</summary>
    public async Task<bool> IsUpAsync(CancellationToken cancellation)
    {
        using var client = new HttpClient { Timeout = TimeSpan.FromSeconds(5) };
        while (!_process.HasExited)
        {
            try
            {
                using var answer = await client.GetAsync(new Uri(Address, "/api"), cancellation).ConfigureAwait(false);
                return true;
            }
            catch (Exception error) when (error is HttpRequestException || (error is OperationCanceledException && !cancellation.IsCancellationRequested))
            {
                await Task.Delay(100, cancellation).ConfigureAwait(false);
            }
        }

        // What it last wrote, the reason as a rule, may still be on its way. A child of its that lives on holds the pipe open: hence the limit.
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        limit.CancelAfter(Grace);
        await _process.WaitForExitAsync(limit.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        cancellation.ThrowIfCancellationRequested();
        return false;
    }

    /// <summary>Waits for the end of the server's process and returns its exit code.</summary>
    public async Task<int> WaitAsync(CancellationToken cancellation)
    {
        await _process.WaitForExitAsync(cancellation).ConfigureAwait(false);
        return _process.ExitCode;
    }

    /// <summary>Asks the server to end, kernels and all, and ends it after ten seconds.</summary>
    /// <remarks>Ctrl+C in a terminal has reached the server as well; asking twice does no harm.</remarks>
    public async ValueTask DisposeAsync()
    {
        if (!_process.HasExited)
        {
            if (!OperatingSystem.IsWindows())
            {
                _ = Kill(_process.Id, Terminate);
            }

            using var limit = new CancellationTokenSource(Grace);
            try
            {
                await _process.WaitForExitAsync(limit.Token).ConfigureAwait(false);
            }
            catch (OperationCanceledException)
            {
                _process.Kill(entireProcessTree: true);
                await _process.WaitForExitAsync(CancellationToken.None).ConfigureAwait(false);
            }
        }

        _process.Dispose();
    }

    private static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }

    /// <summary>Sends a signal to a process.</summary>
    [DllImport("libc", EntryPoint = "kill")]
    internal static extern int Kill(int process, int signal);
}
