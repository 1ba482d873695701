using LoraNotebooks.Kernel.Notebooks;
using LoraNotebooks.Kernel.Running;

namespace LoraNotebooks.Kernel.Tests.Running;

/// <summary>What goes wrong outside of a cell's own call, or ends the process: the program as users start it.</summary>
public sealed class RunFaultTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("async void", "async void Go() { await Task.Delay(20); throw new InvalidOperationException(\"stray\"); }\nGo(); Thread.Sleep(500);")]
    [InlineData("a thread", "new Thread(() => throw new InvalidOperationException(\"stray\")).Start(); Thread.Sleep(500);")]
    [InlineData("a timer", "var timer = new Timer(_ => throw new InvalidOperationException(\"stray\"), null, 20, Timeout.Infinite); Thread.Sleep(500);")]
    public async Task Run_ErrorOutsideOfTheCell_FailsItAndWritesEverything(string what, string code)
    {
        var (exit, text, cells, page) = await RunAsync("Console.WriteLine(\"first\");", code, "\"never\"");
        Assert.True(exit == (int)RunExit.CellFailed, $"{what}: {text}");
        Assert.Contains("Cell 2 (", text, StringComparison.Ordinal);
        Assert.Contains("stray", text, StringComparison.Ordinal);
        Assert.Equal("first\n", Notebook.JoinText(Assert.Single(cells[0].Outputs)!["text"]));
        Assert.Equal("stray", (string?)Assert.Single(cells[1].Outputs)!["evalue"]);
        Assert.Null(cells[2].ExecutionCount);
        Assert.Contains("stray", page, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Run_TaskThatNobodyAwaits_FailsItsCellAfterTheLastOne()
    {
        var (exit, _, cells, _) = await RunAsync("void Go() => _ = Task.Run(() => throw new Exception(\"unobserved\"));\nGo(); Thread.Sleep(300);", "2");
        Assert.Equal((int)RunExit.CellFailed, exit);
        Assert.Equal("unobserved", (string?)Assert.Single(cells[0].Outputs)!["evalue"]);
        Assert.Equal(2, cells[1].ExecutionCount);
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

    [Fact]
    public async Task Run_StackOverflow_KeepsTheOutputsOfTheCellsBefore()
    {
        var (exit, _, cells, _) = await RunAsync("Console.WriteLine(\"first\");", "Thread.Sleep(2_500); int Down(int n) => Down(n + 1) + Down(n); Down(0)");
        Assert.NotEqual(0, exit);
        Assert.Equal("first\n", Notebook.JoinText(Assert.Single(cells[0].Outputs)!["text"]));
    }

    private async Task<(int Exit, string Text, IReadOnlyList<NotebookCell> Cells, string Page)> RunAsync(params string[] cells)
    {
        var notebook = Notebook.Create();
        foreach (var cell in cells)
        {
            notebook.Add(CellKind.Code, cell);
        }

        notebook.Save(_folder.File("n.ipynb"));
        var (exit, text) = await ToolProcess.RunAsync(_folder.Path, "run", "n.ipynb");
        var page = _folder.File("artifacts/n.html");
        return (exit, text, Notebook.Load(_folder.File("artifacts/n.ipynb")).Cells, File.Exists(page) ? await File.ReadAllTextAsync(page) : "");
    }
}
