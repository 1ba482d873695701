using System.Diagnostics;
using System.Runtime.InteropServices;
using LoraNotebooks.Kernel.Commands;
using LoraNotebooks.Kernel.Jupyter;

namespace LoraNotebooks.Kernel.Tests.Running;

/// <summary><c>lab</c> with stand-ins for Jupyter on the PATH: shell scripts that write down how they were started.</summary>
public sealed class LabCommandTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [UnixFact]
    public async Task Lab_NoJupyter_SaysHowToGetOneAndExitsWithItsOwnCode()
    {
        Directory.CreateDirectory(_folder.File("bin"));
        var (exit, text) = await LabAsync();
        Assert.Equal(LabCommand.NoJupyter, exit);
        Assert.Contains("pip install jupyterlab", text, StringComparison.Ordinal);
        Assert.True(File.Exists(_folder.File("data/kernels/lora-notebooks/kernel.json")));
    }

    [UnixFact]
    public async Task Lab_ServerOnThePath_IsStartedOnLoopbackInTheNotebooksFolder()
    {
        Fake("jupyter-notebook");
        Directory.CreateDirectory(_folder.File("notebooks"));
        Directory.CreateDirectory(_folder.File("src/deep"));
        var (exit, text) = await LabAsync(from: "src/deep");

        Assert.Equal(1, exit);
        Assert.Contains("Jupyter Notebook ended before it answered", text, StringComparison.Ordinal);
        var started = await File.ReadAllTextAsync(_folder.File("bin/started"));
        Assert.StartsWith(_folder.File("notebooks") + "\n", started, StringComparison.Ordinal);
        Assert.Contains("--ip=127.0.0.1", started, StringComparison.Ordinal);
        Assert.Matches(@"--port=\d+", started);
        Assert.Contains("--no-browser", started, StringComparison.Ordinal);
        Assert.DoesNotContain("token", started, StringComparison.Ordinal);

        // Of the log only what a user may act on.
        Assert.Contains("a warning", text, StringComparison.Ordinal);
        Assert.DoesNotContain("a detail", text, StringComparison.Ordinal);
        Assert.DoesNotContain("Or copy and paste", text, StringComparison.Ordinal);
    }

    [UnixFact]
    public async Task Lab_SeveralServers_PrefersJupyterLabThatAnswers()
    {
        Fake("jupyter-lab", isBroken: true);
        Fake("jupyter", record: "lab");
        Fake("jupyter-notebook", record: "notebook");
        await LabAsync();
        Assert.True(File.Exists(_folder.File("bin/lab")));
        Assert.False(File.Exists(_folder.File("bin/notebook")));
    }

    [UnixTheory]
    [InlineData("--port=8899 --ip=127.0.0.1 --port-retries=0 --no-browser", "--", "--no-browser", "--port", "8899")]
    [InlineData("--port=8899 --collaborative --config my.py", "--collaborative", "--port=8899", "--config", "my.py")]
    [InlineData("--port=8899 --ip=0.0.0.0", "own", "--port", "8899", "--", "--ip=0.0.0.0")]
    [InlineData("--port=8899 --config own", "--port", "8899", "--", "--config", "own")]
    public async Task Lab_FurtherOptions_ArePassedOnToJupyter(string expected, params string[] arguments)
    {
        Fake("jupyter-lab");
        Directory.CreateDirectory(_folder.File("own"));
        await LabAsync(arguments: arguments);
        var started = (await File.ReadAllTextAsync(_folder.File("bin/started"))).Split('\n');
        Assert.Equal(arguments[0] == "own" ? _folder.File("own") : _folder.Path, started[0]);
        var options = started[1].Split(' ');
        Assert.All(expected.Split(' '), option => Assert.Single(options, option));
        Assert.Single(options, option => option.StartsWith("--port=", StringComparison.Ordinal));
        Assert.Single(options, option => option.StartsWith("--ip", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Lab_NoSuchFolder_SaysSo()
    {
        var (exit, text) = await LabAsync(arguments: ["nowhere"]);
        Assert.Equal(1, exit);
        Assert.Contains("There is no folder", text, StringComparison.Ordinal);
    }

    private void Fake(string name, bool isBroken = false, string record = "started")
    {
        Directory.CreateDirectory(_folder.File("bin"));
        var path = _folder.Write("bin/" + name, $"""
            #!/bin/sh
            {(isBroken ? "exit 3" : "")}
            case "$*" in *--version*) echo 1.0; exit 0;; esac
            (pwd; echo "$@") > {_folder.File("bin/" + record)}
            echo "[I 10:00:00.000 App] a detail" >&2
            echo "[W 10:00:00.000 App] a warning" >&2
            echo "    Or copy and paste one of these URLs:" >&2
            exit 1
            """);
        if (!OperatingSystem.IsWindows())
        {
            File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        }
    }

    private async Task<(int Exit, string Text)> LabAsync(string? from = null, params string[] arguments)
    {
        var dotnet = Path.Combine(RuntimeEnvironment.GetRuntimeDirectory(), "..", "..", "..", OperatingSystem.IsWindows() ? "dotnet.exe" : "dotnet");
        var start = new ProcessStartInfo(dotnet, ["exec", typeof(KernelSpec).Assembly.Location, "lab", "--no-browser", .. arguments])
        {
            WorkingDirectory = from is null ? _folder.Path : _folder.File(from),
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        start.Environment["PATH"] = _folder.File("bin");
        start.Environment["JUPYTER_DATA_DIR"] = _folder.File("data");
        using var process = Process.Start(start)!;
        var output = process.StandardOutput.ReadToEndAsync();
        var error = process.StandardError.ReadToEndAsync();
        await process.WaitForExitAsync();
        return (process.ExitCode, await output + await error);
    }

    /// <summary>The stand-ins are shell scripts.</summary>
    private sealed class UnixTheoryAttribute : TheoryAttribute
    {
        public UnixTheoryAttribute() => Skip = OperatingSystem.IsWindows() ? "Needs a Unix shell." : null;
    }

    /// <summary>The stand-ins are shell scripts.</summary>
    private sealed class UnixFactAttribute : FactAttribute
    {
        public UnixFactAttribute() => Skip = OperatingSystem.IsWindows() ? "Needs a Unix shell." : null;
    }
}
