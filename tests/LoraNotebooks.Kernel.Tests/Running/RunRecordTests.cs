using LoraNotebooks.Kernel.Notebooks;
using LoraNotebooks.Kernel.Running;

namespace LoraNotebooks.Kernel.Tests.Running;

/// <summary>What is made of a run whose process crashed.</summary>
public sealed class RunRecordTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose()
    {
        RunRecord.File = null;
        _folder.Dispose();
    }

    [Theory]
    [InlineData(true, true)]
    [InlineData(true, false)]
    [InlineData(false, true)]
    [InlineData(false, false)]
    public void Finish_RecordOfARun_WritesWhatWasPlannedWithTheReasonInTheCell(bool wantsNotebook, bool wantsPage)
    {
        var notebook = Notebook.Create();
        notebook.Add(CellKind.Code, "1");
        var cell = notebook.Add(CellKind.Code, "crash()");
        notebook.Add(CellKind.Code, "3");
        notebook.Normalize();
        cell.SetOutputs([new() { ["name"] = "stdout", ["output_type"] = "stream", ["text"] = "before" }]);
        notebook.Save(_folder.File("written.ipynb"));
        var planned = new RunOutcome(
            RunExit.Ok,
            wantsNotebook ? _folder.File("out.ipynb") : null,
            wantsPage ? _folder.File("out.html") : null,
            null,
            null,
            StillRunning: false);
        RunRecord.File = _folder.File("run.json");
        new RunRecord(_folder.File("written.ipynb"), planned, "The <title>", _folder.Path, 2, "Crashing", cell.Id!).Write();

        var outcome = RunRecord.Finish(_folder.File("run.json"), "The process crashed (why)")!;
        const string Message = "The process crashed (why) while cell 2 ran. What it showed in its last moments may be missing.";
        Assert.Equal(
            (RunExit.CellFailed, planned.Executed, planned.Page, (2, "Crashing"), false),
            (outcome.Exit, outcome.Executed, outcome.Page, outcome.FailedCell!.Value, outcome.StillRunning));
        Assert.Equal(("ProcessEnded", Message), (outcome.Error!.Name, outcome.Error.Message));
        Assert.Equal([Message], outcome.Error.Traceback);
        Assert.Equal((wantsNotebook, wantsPage), (File.Exists(_folder.File("out.ipynb")), File.Exists(_folder.File("out.html"))));
        if (wantsNotebook)
        {
            var cells = Notebook.Load(_folder.File("out.ipynb")).Cells;
            Assert.Equal([null, 2, null], cells.Select(c => c.ExecutionCount));
            Assert.Equal(["stream", "error"], cells[1].Outputs.Select(output => (string?)output!["output_type"]));
            Assert.Equal(Message, (string?)cells[1].Outputs[1]!["evalue"]);
        }

        if (wantsPage)
        {
            var page = File.ReadAllText(_folder.File("out.html"));
            Assert.Contains("<title>The &lt;title&gt;</title>", page, StringComparison.Ordinal);
            Assert.Contains(Message, page, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Finish_NoCellBegan_IsNoOutcome() => Assert.Null(RunRecord.Finish(_folder.File("missing.json"), "why"));
}
