using LoraNotebooks.Kernel.Notebooks;
using LoraNotebooks.Kernel.Running;
using LoraNotebooks.Tensors;
using Microsoft.Extensions.Time.Testing;

namespace LoraNotebooks.Kernel.Tests.Running;

public sealed class OutputWriterTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task Save_AfterEachOfManyCells_WritesTheFileFewTimesAndAllOfItInTheEnd()
    {
        var notebook = Notebook.Create();
        for (var i = 0; i < 1_000; i++)
        {
            notebook.Add(CellKind.Code, $"Print({i});");
        }

        var writer = new OutputWriter(notebook, _folder.File("out.ipynb"));
        for (var i = 0; i < 1_000; i++)
        {
            var outputs = new CellOutputs(i + 1, (_, _) => { }, _ => { });
            writer.Begin(notebook.Cells[i], i + 1, outputs);
            outputs.Write(new string('x', 10_000), isError: false);
            writer.Save();
        }

        // All of them would write 5 GB.
        Assert.InRange(writer.Writes, 1, 500);
        await writer.DisposeAsync();
        writer.Finish(complete: true, Machine.Here(loadLibTorch: false));
        Assert.All(Notebook.Load(_folder.File("out.ipynb")).Cells, cell => Assert.Single(cell.Outputs));
    }

    [Fact]
    public async Task Save_FolderThatIsGone_WaitsForItUntilTheEnd()
    {
        var notebook = Notebook.Create();
        notebook.Add(CellKind.Code, "1");
        _folder.Write("out", "a file where the folder should be");
        var writer = new OutputWriter(notebook, _folder.File("out/n.ipynb"));
        writer.Begin(notebook.Cells[0], 1, new CellOutputs(1, (_, _) => { }, _ => { }));
        writer.Save();
        await writer.DisposeAsync();
        Assert.ThrowsAny<IOException>(() => writer.Finish(complete: true, Machine.Here(loadLibTorch: false)));
        File.Delete(_folder.File("out"));
        writer.Finish(complete: true, Machine.Here(loadLibTorch: false));
        Assert.Equal(1, Notebook.Load(_folder.File("out/n.ipynb")).Cells[0].ExecutionCount);
    }

    [Fact]
    public async Task OutputWriter_NotebookOfAnEarlierRun_KeepsOutputsOfSkippedCellsOnly()
    {
        var notebook = Notebook.Create();
        notebook.Add(CellKind.Markdown, "prose");
        foreach (var tag in (string[])["", "skip", "skip-execution"])
        {
            var cell = notebook.Add(CellKind.Code, "1", tag);
            cell.SetOutputs([new() { ["output_type"] = "stream", ["name"] = "stdout", ["text"] = "old" }]);
            cell.ExecutionCount = 5;
        }

        (notebook.ExecutedCode, notebook.Machine) = ("old", new() { ["processor"] = "old" });
        await using var writer = new OutputWriter(notebook, null);
        Assert.Equal([0, 1, 1], notebook.Cells.Skip(1).Select(cell => cell.Outputs.Count));
        Assert.Equal([null, 5, 5], notebook.Cells.Skip(1).Select(cell => cell.ExecutionCount));
        Assert.Null(notebook.ExecutedCode);
        Assert.Null(notebook.Machine);
        writer.Save();
        Assert.Equal(0, writer.Writes);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Finish_Run_MarksTheCodeAsExecutedOnlyIfAllOfItWas(bool complete)
    {
        var notebook = Notebook.Create();
        var cell = notebook.Add(CellKind.Code, "1");
        await using var writer = new OutputWriter(notebook, _folder.File("n.ipynb"), new FakeTimeProvider());
        var outputs = new CellOutputs(1, (_, _) => { }, _ => { });
        writer.Begin(cell, 1, outputs);
        outputs.Write("late", isError: false);
        writer.Finish(complete, Machine.Here(loadLibTorch: false));
        var written = Notebook.Load(_folder.File("n.ipynb"));
        Assert.Equal(complete ? NotebookDrift.HashOf(notebook) : null, written.ExecutedCode);
        Assert.Equal(Processor.Current.ToString(), (string?)written.Machine!["processor"]);
        Assert.Equal("late", Notebook.JoinText(Assert.Single(written.Cells[0].Outputs)!["text"]));
    }

    [Fact]
    public async Task Save_NothingNew_WritesNothing()
    {
        var notebook = Notebook.Create();
        var cell = notebook.Add(CellKind.Code, "1");
        await using var writer = new OutputWriter(notebook, _folder.File("n.ipynb"), new FakeTimeProvider());
        writer.Save();
        writer.Save();
        Assert.Equal(1, writer.Writes);
        var outputs = new CellOutputs(1, (_, _) => { }, _ => { });
        writer.Begin(cell, 1, outputs);
        writer.Save();
        writer.Save();
        Assert.Equal(2, writer.Writes);
        outputs.Write("a", isError: false);
        writer.Save();
        writer.Save();
        Assert.Equal(3, writer.Writes);
    }

    [Fact]
    public async Task Save_ByItself_ComesFiveTimesASecondUntilTheEnd()
    {
        var time = new FakeTimeProvider();
        var notebook = Notebook.Create();
        var cell = notebook.Add(CellKind.Code, "1");
        var writer = new OutputWriter(notebook, _folder.File("n.ipynb"), time);
        writer.Begin(cell, 1, new CellOutputs(1, (_, _) => { }, _ => { }));
        time.Advance(TimeSpan.FromMilliseconds(199));
        Assert.Equal(0, writer.Writes);
        time.Advance(TimeSpan.FromMilliseconds(1));
        Assert.True(SpinWait.SpinUntil(() => writer.Writes == 1, TimeSpan.FromSeconds(30)));
        await writer.DisposeAsync();
        writer.Begin(cell, 1, new CellOutputs(1, (_, _) => { }, _ => { }));
        time.Advance(TimeSpan.FromMinutes(1));
        Assert.Equal(1, writer.Writes);
    }

    [Fact]
    public async Task Save_WritingThatTakesTime_TakesAQuarterOfASecondAndThenAFiftiethOfTheTime()
    {
        var notebook = Notebook.Create();
        var cell = notebook.Add(CellKind.Code, "1");
        var time = new Ticking();
        await using var writer = new OutputWriter(notebook, _folder.File("n.ipynb"), time);
        for (var i = 0; i < 3_000; i++)
        {
            writer.Begin(cell, 1, new CellOutputs(1, (_, _) => { }, _ => { }));
            writer.Save();
            // Each write takes one tick of 10 ms; it is begun as long as not more than 250 ms and a fiftieth of the time are spent.
            var allowed = 250 + time.Ticks * 10 / 50.0;
            Assert.InRange(writer.Writes * 10, 0, allowed + 10);
            Assert.True(i < 25 ? writer.Writes == i + 1 : writer.Writes * 10 > allowed - 10, $"{writer.Writes} writes at {time.Ticks}");
        }

        Assert.InRange(writer.Writes, 30, 1_000);
    }

    /// <summary>A clock that goes on by 10 ms whenever it is looked at.</summary>
    private sealed class Ticking : TimeProvider
    {
        public long Ticks { get; private set; }

        public override long TimestampFrequency => 100;

        public override long GetTimestamp() => ++Ticks;

        public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period) =>
            new FakeTimeProvider().CreateTimer(callback, state, dueTime, period);
    }
}
