using LoraNotebooks.Kernel.Notebooks;
using LoraNotebooks.Kernel.Running;
using Microsoft.Extensions.Time.Testing;

namespace LoraNotebooks.Kernel.Tests.Running;

/// <summary>Time limits and what is said of the time, on a clock of the test's own.</summary>
public sealed class RunTimeTests : IDisposable
{
    private const string WaitForever = "display(\"kept\");\nvar token = Cancellation;\nConsole.WriteLine(\"waiting\");\nawait Task.Delay(60_000, token);";

    private readonly TemporaryFolder _folder = new();
    private readonly FakeTimeProvider _time = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task RunAsync_Timeout_KeepsWhatWasMade()
    {
        var (outcome, said) = await RunAsync(new() { Timeout = TimeSpan.FromSeconds(90) }, waits: TimeSpan.FromSeconds(90), WaitForever, "1");
        Assert.Equal((RunExit.TimedOut, 1), (outcome.Exit, outcome.FailedCell?.Number));
        Assert.Equal("Cell 1 was stopped: the 1 min 30 s that all cells together may take are over (--timeout).", outcome.Error!.Message);
        Assert.Equal(("TimedOut", outcome.Error.Message), (outcome.Error.Name, Assert.Single(outcome.Error.Traceback)));
        var cells = Notebook.Load(outcome.Executed!).Cells;
        Assert.Equal(["display_data", "stream", "error"], cells[0].Outputs.Select(output => (string?)output!["output_type"]));
        Assert.Null(cells[1].ExecutionCount);
        Assert.Contains("Executed in 1 min 30 s on ", await File.ReadAllTextAsync(outcome.Page!), StringComparison.Ordinal);
        Assert.Equal(["ended TimedOut after 90"], said);
    }

    [Theory]
    [InlineData(8, null, 8, "Cell 2 did not end within 8.0 s, the limit for each cell (--cell-timeout).")]
    [InlineData(8, 300, 8, "Cell 2 did not end within 8.0 s, the limit for each cell (--cell-timeout).")]
    [InlineData(8, 18, 8, "Cell 2 did not end within 8.0 s, the limit for each cell (--cell-timeout).")] // both at once: the cell's own
    [InlineData(8, 17, 7, "Cell 2 was stopped: the 17 s that all cells together may take are over (--timeout).")] // the first cell took ten of them
    [InlineData(null, 17, 7, "Cell 2 was stopped: the 17 s that all cells together may take are over (--timeout).")]
    [InlineData(null, 10, 0, "Cell 2 was stopped: the 10 s that all cells together may take are over (--timeout).")]
    [InlineData(null, 4, 0, "Cell 2 was stopped: the 4.0 s that all cells together may take are over (--timeout).")]
    public async Task RunAsync_BothLimits_TheNearerEndsTheCell(int? cell, int? all, int waits, string expected)
    {
        var options = new RunOptions { CellTimeout = Seconds(cell), Timeout = Seconds(all) };
        var heard = new Listening { WhenEnded = () => _time.Advance(TimeSpan.FromSeconds(10)) };
        var running = Start(heard, options, "1", WaitForever);
        if (waits > 0)
        {
            await heard.WaitAsync("waiting", running);
            _time.Advance(TimeSpan.FromSeconds(waits) - TimeSpan.FromTicks(1));
            Assert.False(running.IsCompleted);
            _time.Advance(TimeSpan.FromTicks(1));
        }

        var outcome = await running;
        Assert.Equal((RunExit.TimedOut, 2), (outcome.Exit, outcome.FailedCell?.Number));
        Assert.Equal(expected, outcome.Error!.Message);

        static TimeSpan? Seconds(int? seconds) => seconds is { } value ? TimeSpan.FromSeconds(value) : null;
    }

    [Fact]
    public async Task RunAsync_TimeoutInACellThatMayFail_EndsTheRunWithWhatTheCellMadeOfIt()
    {
        var notebook = Notebook.Create();
        notebook.Add(
            CellKind.Code,
            "var token = Cancellation; Console.WriteLine(\"waiting\"); try { await Task.Delay(60_000, token); } "
                + "catch (OperationCanceledException e) { throw new InvalidOperationException(\"wrapped\", e); }",
            "raises-exception");
        notebook.Save(_folder.File("n.ipynb"));
        var heard = new Listening();
        var running = new NotebookRunner(heard) { Time = _time }.RunAsync(
            _folder.File("n.ipynb"),
            new RunOptions { OutputFolder = _folder.File("out"), CellTimeout = TimeSpan.FromSeconds(5) });
        await heard.WaitAsync("waiting", running);
        _time.Advance(TimeSpan.FromSeconds(5));
        var outcome = await running;
        Assert.Equal(RunExit.TimedOut, outcome.Exit);
        Assert.Equal(outcome.Error!.Message, outcome.Error.Traceback[0]);
        Assert.Contains(outcome.Error.Traceback, line => line.Contains("wrapped", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("await Task.Delay(60_000, token);")]
    [InlineData("try { await Task.Delay(60_000, token); } catch (OperationCanceledException) { throw new Exception(\"stopped\"); }")]
    public async Task RunAsync_Cancellation_StopsAndWrites(string code)
    {
        using var source = new CancellationTokenSource();
        var heard = new Listening();
        var running = Start(
            heard,
            new RunOptions { CellTimeout = TimeSpan.FromHours(1) },
            source.Token,
            "var token = Cancellation; Console.WriteLine(\"waiting\"); " + code,
            "2");
        await heard.WaitAsync("waiting", running);
        await source.CancelAsync();
        var outcome = await running;
        Assert.Equal((RunExit.Canceled, 1), (outcome.Exit, outcome.FailedCell?.Number));
        Assert.True(File.Exists(outcome.Executed) && File.Exists(outcome.Page));
        Assert.Null(Notebook.Load(outcome.Executed!).ExecutedCode);
    }

    [Fact]
    public async Task RunAsync_LimitsThatAreNotReached_EndNothing()
    {
        var (outcome, said) = await RunAsync(
            new() { Timeout = TimeSpan.FromSeconds(21), CellTimeout = TimeSpan.FromSeconds(10) },
            waits: TimeSpan.FromSeconds(10) - TimeSpan.FromTicks(1),
            "Console.WriteLine(\"waiting\"); while (!File.Exists(\"go\")) Thread.Sleep(5);",
            "2");
        Assert.Equal(RunExit.Ok, outcome.Exit);
        Assert.Equal(["ended Ok after 9.9999999"], said);
    }

    private async Task<(RunOutcome Outcome, string[] Said)> RunAsync(RunOptions options, TimeSpan waits, params string[] cells)
    {
        var heard = new Listening();
        var running = Start(heard, options, cells);
        await heard.WaitAsync("waiting", running);
        _time.Advance(waits);
        _folder.Write("go", "");
        return (await running, [.. heard.Ends]);
    }

    private Task<RunOutcome> Start(Listening heard, RunOptions options, params string[] cells) => Start(heard, options, CancellationToken.None, cells);

    private Task<RunOutcome> Start(Listening heard, RunOptions options, CancellationToken cancellation, params string[] cells)
    {
        var notebook = Notebook.Create();
        Assert.All(cells, cell => notebook.Add(CellKind.Code, cell));
        notebook.Save(_folder.File("n.ipynb"));
        return new NotebookRunner(heard) { Time = _time }.RunAsync(_folder.File("n.ipynb"), options with { OutputFolder = _folder.File("out") }, cancellation);
    }
}
