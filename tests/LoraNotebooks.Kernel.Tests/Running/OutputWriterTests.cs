using LoraNotebooks.Kernel.Notebooks;
using LoraNotebooks.Kernel.Running;
using LoraNotebooks.Tensors;

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
}
