using LoraNotebooks.Kernel.Notebooks;
using LoraNotebooks.Kernel.Running;

namespace LoraNotebooks.Kernel.Tests.Running;

/// <summary>Runs notebooks in a folder of the test's own.</summary>
public abstract class NotebookRunning : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    private protected TemporaryFolder Folder => _folder;

    private protected RunOptions Options => new() { OutputFolder = _folder.File("out") };

    public void Dispose()
    {
        _folder.Dispose();
        GC.SuppressFinalize(this);
    }

    private protected string Make(string markdown, params string[] code)
    {
        var notebook = Notebook.Create();
        notebook.Add(CellKind.Markdown, markdown);
        foreach (var cell in code)
        {
            notebook.Add(CellKind.Code, cell);
        }

        return Save(notebook);
    }

    private protected string Save(Notebook notebook)
    {
        notebook.Save(_folder.File("notebook.ipynb"));
        return _folder.File("notebook.ipynb");
    }

    private protected Task<RunOutcome> RunAsync(string path, Dictionary<string, string>? parameters = null) =>
        new NotebookRunner(new Silent()).RunAsync(path, Options with { Parameters = parameters ?? [] });
}
