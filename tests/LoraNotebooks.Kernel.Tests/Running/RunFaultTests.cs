using System.Diagnostics;
using LoraNotebooks.Kernel.Jupyter;
using LoraNotebooks.Kernel.Notebooks;
using LoraNotebooks.Kernel.Running;

namespace LoraNotebooks.Kernel.Tests.Running;

/// <summary>What goes wrong outside of a cell's own call, or ends the process: the program as users start it.</summary>
public sealed class RunFaultTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task Run_ErrorOutsideOfTheCell_FailsItAndWritesEverything()
    {
        var (exit, text, cells, page) = await RunAsync(
            "Console.WriteLine(\"first\");",
            "var thread = new Thread(() => throw new InvalidOperationException(\"stray\")); thread.Start(); Thread.Sleep(200);",
            "\"never\"");
        Assert.True(exit == (int)RunExit.CellFailed, text);
        Assert.Contains("Cell 2 (", text, StringComparison.Ordinal);
        Assert.Contains("stray", text, StringComparison.Ordinal);
        Assert.Equal("first\n", Notebook.JoinText(Assert.Single(cells[0].Outputs)!["text"]));
        Assert.Equal("stray", (string?)Assert.Single(cells[1].Outputs)!["evalue"]);
        Assert.Null(cells[2].ExecutionCount);
        Assert.Contains("stray", page, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("Environment.Exit(0);")]
    [InlineData("Environment.Exit(3);")]
    [InlineData("new Thread(() => Environment.Exit(0)).Start(); Thread.Sleep(60_000);")]
    public async Task Run_CellThatEndsTheProcess_FailsAndWritesEverything(string code)
    {
        var (exit, text, cells, page) = await RunAsync("Console.WriteLine(\"first\");", "Console.WriteLine(\"before\"); " + code, "\"never\"");
        Assert.Equal((int)RunExit.CellFailed, exit);
        Assert.Contains("The process was ended while cell 2 ran", text, StringComparison.Ordinal);
        Assert.Equal(["stream", "error"], cells[1].Outputs.Select(output => (string?)output!["output_type"]));
        Assert.Equal("before\n", Notebook.JoinText(cells[1].Outputs[0]!["text"]));
        Assert.Null(cells[2].ExecutionCount);
        Assert.Contains("before", page, StringComparison.Ordinal);
        Assert.Contains("The process was ended", page, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Run_ThreadLeftBehind_DoesNotKeepTheProgram()
    {
        var (exit, text, _, _) = await RunAsync("new Thread(() => Thread.Sleep(Timeout.Infinite)).Start();").WaitAsync(TimeSpan.FromMinutes(2));
        Assert.True(exit == 0, text);
    }

    [Theory]
    [InlineData("a stack overflow", "int Down(int n) => Down(n + 1) + Down(n); Down(0)")]
    [InlineData("the process's own end", "Environment.FailFast(\"enough\");")]
    [InlineData("memory that is not its own", "System.Runtime.InteropServices.Marshal.WriteInt32((nint)0x7fff12345678, 1);")]
    public async Task Run_CrashThatNothingCatches_FailsAndWritesEverything(string what, string code)
    {
        var (exit, text, cells, page) = await RunAsync(
            "Console.WriteLine(\"first\");",
            "Console.WriteLine(\"bef\" + \"ore\"); while (!File.ReadAllText(\"artifacts/n.ipynb\").Contains(\"bef\" + \"ore\")) Thread.Sleep(50); " + code,
            "\"never\"");
        Assert.True(exit == (int)RunExit.CellFailed, $"{what}: {exit} {text}");
        Assert.Contains("Cell 2 (", text, StringComparison.Ordinal);
        Assert.Equal("first\n", Notebook.JoinText(Assert.Single(cells[0].Outputs)!["text"]));
        Assert.Equal(["stream", "error"], cells[1].Outputs.Select(output => (string?)output!["output_type"]));
        Assert.Contains("The process crashed", (string?)cells[1].Outputs[1]!["evalue"], StringComparison.Ordinal);
        Assert.Null(cells[2].ExecutionCount);
        Assert.Contains("before", page, StringComparison.Ordinal);
        Assert.Contains("The process crashed", page, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Run_CrashOfAPageOnly_WritesThePageOnly()
    {
        Make("Environment.FailFast(\"enough\");");
        var (exit, _) = await ToolProcess.RunAsync(_folder.Path, "run", "n.ipynb", "--format", "html");
        Assert.Equal((int)RunExit.CellFailed, exit);
        Assert.Equal(["n.html"], Directory.GetFiles(_folder.File("artifacts")).Select(Path.GetFileName));
        Assert.Contains("The process crashed", await File.ReadAllTextAsync(_folder.File("artifacts/n.html")), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Run_ProgramOfACell_IsARunOfItsOwn()
    {
        var program = typeof(NotebookRunner).Assembly.Location.Replace("\\", "\\\\", StringComparison.Ordinal);
        Make("\"inner\"");
        File.Move(_folder.File("n.ipynb"), _folder.File("inner.ipynb"));
        var (exit, text, _, _) = await RunAsync($$"""
            using System.Diagnostics;
            using (var inner = Process.Start("dotnet", ["{{program}}", "run", "inner.ipynb"])) inner.WaitForExit();
            Environment.FailFast("enough");
            """);
        Assert.Equal((int)RunExit.CellFailed, exit);
        Assert.Contains("\"inner\"", await File.ReadAllTextAsync(_folder.File("artifacts/inner.ipynb")), StringComparison.Ordinal);
        Assert.DoesNotContain("crashed", await File.ReadAllTextAsync(_folder.File("artifacts/inner.ipynb")), StringComparison.Ordinal);
        Assert.Contains("n.ipynb", text, StringComparison.Ordinal);
    }

    [UnixFact]
    public async Task Run_Terminated_StopsTheCellAndWritesEverything()
    {
        Make("Console.WriteLine(\"before\"); File.WriteAllText(\"begun\", \"\"); await Task.Delay(120_000, Cancellation);");
        var start = new ProcessStartInfo("dotnet", [typeof(NotebookRunner).Assembly.Location, "run", "n.ipynb"])
        {
            WorkingDirectory = _folder.Path,
            RedirectStandardOutput = true,
        };
        using var process = Process.Start(start)!;
        var output = process.StandardOutput.ReadToEndAsync();
        for (var clock = Stopwatch.StartNew(); !File.Exists(_folder.File("begun")) && clock.Elapsed < TimeSpan.FromMinutes(1);)
        {
            await Task.Delay(50);
        }

        _ = JupyterServer.Kill(process.Id, 15);
        await output.WaitAsync(TimeSpan.FromMinutes(1));
        await process.WaitForExitAsync();
        Assert.Equal((int)RunExit.Canceled, process.ExitCode);
        Assert.Equal(["stream", "error"], Notebook.Load(_folder.File("artifacts/n.ipynb")).Cells[0].Outputs.Select(shown => (string?)shown!["output_type"]));
        Assert.True(File.Exists(_folder.File("artifacts/n.html")));
    }

    private void Make(params string[] cells)
    {
        var notebook = Notebook.Create();
        foreach (var cell in cells)
        {
            notebook.Add(CellKind.Code, cell);
        }

        notebook.Save(_folder.File("n.ipynb"));
    }

    private async Task<(int Exit, string Text, IReadOnlyList<NotebookCell> Cells, string Page)> RunAsync(params string[] cells)
    {
        Make(cells);
        var (exit, text) = await ToolProcess.RunAsync(_folder.Path, "run", "n.ipynb");
        var page = _folder.File("artifacts/n.html");
        return (exit, text, Notebook.Load(_folder.File("artifacts/n.ipynb")).Cells, File.Exists(page) ? await File.ReadAllTextAsync(page) : "");
    }

    /// <summary>There are no such signals elsewhere.</summary>
    private sealed class UnixFactAttribute : FactAttribute
    {
        public UnixFactAttribute() => Skip = OperatingSystem.IsWindows() ? "Needs Unix signals." : null;
    }
}
