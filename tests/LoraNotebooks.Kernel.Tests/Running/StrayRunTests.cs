using LoraNotebooks.Kernel.Notebooks;
using LoraNotebooks.Kernel.Running;

namespace LoraNotebooks.Kernel.Tests.Running;

/// <summary>Errors outside of a cell's own call, in a run.</summary>
public sealed class StrayRunTests : NotebookRunning
{
    private const string UntilHeard = " while (!File.Exists(\"heard\")) Thread.Sleep(5);";
    private const string Stray = "System.InvalidOperationException: stray\n";

    private readonly Listening _heard;

    public StrayRunTests() => _heard = new Listening
    {
        WhenHeard = text =>
        {
            if (text.Contains("stray", StringComparison.Ordinal))
            {
                Folder.Write("heard", "");
            }
        },
    };

    [Theory]
    [InlineData("async void", "async void Go() { await Task.Yield(); throw new InvalidOperationException(\"stray\"); }\nGo();")]
    [InlineData("a thread", "new Thread(() => throw new InvalidOperationException(\"stray\")).Start();")]
    [InlineData("a timer", "var timer = new Timer(_ => throw new InvalidOperationException(\"stray\"), null, 1, Timeout.Infinite);")]
    public async Task RunAsync_ErrorOutsideOfTheCell_FailsItAndNoFurtherOneBegins(string what, string code)
    {
        var outcome = await RunAsync("Console.WriteLine(\"first\");", "// The second\n" + code + UntilHeard, "\"never\"");
        Assert.True(outcome.Exit == RunExit.CellFailed, what);
        Assert.Equal((2, "The second"), outcome.FailedCell);
        Assert.Equal("stray", outcome.Error!.Message);
        var cells = Notebook.Load(outcome.Executed!).Cells;
        Assert.Equal("first\n", Notebook.JoinText(Assert.Single(cells[1].Outputs)!["text"]));
        Assert.Equal("stray", (string?)Assert.Single(cells[2].Outputs)!["evalue"]);
        Assert.Null(cells[3].ExecutionCount);
        Assert.Equal([true, false], _heard.Successes);
        Assert.Equal([Stray], _heard.Errors);
        Assert.Contains("stray", await File.ReadAllTextAsync(outcome.Page!), StringComparison.Ordinal);
    }

    [Fact]
    public async Task RunAsync_ErrorOfAnEarlierCell_FailsThatOneAndIsSaidToBeItsOwn()
    {
        var outcome = await RunAsync(
            "var go = new ManualResetEventSlim(); new Thread(() => { go.Wait(); throw new InvalidOperationException(\"stray\"); }).Start();",
            "go.Set();" + UntilHeard,
            "\"never\"");
        Assert.Equal((RunExit.CellFailed, 1), (outcome.Exit, outcome.FailedCell?.Number));
        Assert.Equal([true, true], _heard.Successes);
        Assert.Equal(["Cell 1: " + Stray], _heard.Errors);
        var cells = Notebook.Load(outcome.Executed!).Cells;
        Assert.Equal([1, 0, 0], cells.Skip(1).Select(cell => cell.Outputs.Count));
        Assert.Equal([1, 2, null], cells.Skip(1).Select(cell => cell.ExecutionCount));
        Assert.Null(Notebook.Load(outcome.Executed!).ExecutedCode);
    }

    [Fact]
    public async Task RunAsync_TwoErrorsOutside_TheFirstNamesTheCell()
    {
        var outcome = await RunAsync("""
            void Fail(string name) { var thread = new Thread(() => throw new InvalidOperationException(name)); thread.Start(); thread.Join(); }
            Fail("one");
            Fail("stray");
            """ + UntilHeard);
        Assert.Equal("one", outcome.Error!.Message);
        Assert.Equal(["one", "stray"], Notebook.Load(outcome.Executed!).Cells[1].Outputs.Select(output => (string?)output!["evalue"]));
    }

    [Fact]
    public async Task RunAsync_ErrorOutsideOfACellThatMayFail_LetsTheRunGoOn()
    {
        var notebook = Notebook.Create();
        notebook.Add(CellKind.Code, "new Thread(() => throw new InvalidOperationException(\"stray\")).Start();" + UntilHeard, "raises-exception");
        notebook.Add(CellKind.Code, "throw new InvalidOperationException(\"told\");", "raises-exception");
        notebook.Add(CellKind.Code, "3");
        var outcome = await new NotebookRunner(_heard).RunAsync(Save(notebook), Options);
        Assert.Equal(RunExit.Ok, outcome.Exit);
        Assert.Equal([true, true, true], _heard.Successes);
        Assert.Equal([Stray, "told\n"], _heard.Errors);
        Assert.NotNull(Notebook.Load(outcome.Executed!).ExecutedCode);
    }

    [Fact]
    public async Task RunAsync_TaskThatNobodyAwaits_FailsItsCellAfterTheLastOne()
    {
        var outcome = await RunAsync("void Go() => _ = Task.Run(() => throw new InvalidOperationException(\"stray\"));\nGo(); Thread.Sleep(100);", "2");
        Assert.Equal((RunExit.CellFailed, 1), (outcome.Exit, outcome.FailedCell?.Number));
        var cells = Notebook.Load(outcome.Executed!).Cells;
        Assert.Equal("stray", (string?)Assert.Single(cells[1].Outputs)!["evalue"]);
        Assert.Equal(2, cells[2].ExecutionCount);
    }

    private Task<RunOutcome> RunAsync(params string[] cells) => new NotebookRunner(_heard).RunAsync(
        Make("# t\n", cells.Select((cell, i) => i == 0 ? "// The first\n" + cell : cell).ToArray()),
        Options);
}
