using System.Diagnostics;
using LoraNotebooks.Kernel.Notebooks;
using LoraNotebooks.Kernel.Running;

namespace LoraNotebooks.Kernel.Tests.Running;

/// <summary>The program as users start it: exit codes and what it says.</summary>
public sealed class CommandLineTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task Run_FailingCell_ExitsWithOneAndNamesIt()
    {
        var notebook = Notebook.Create();
        notebook.Add(CellKind.Markdown, "## Train the adapter");
        notebook.Add(CellKind.Code, "throw new InvalidOperationException(\"the [reason]\");");
        notebook.Save(_folder.File("bad.ipynb"));
        var (exit, text) = await ProgramAsync("run", "bad.ipynb", "--output", "out");
        Assert.Equal((int)RunExit.CellFailed, exit);
        Assert.Contains("Cell 1 (Train the adapter) failed", text, StringComparison.Ordinal);
        Assert.Contains("the [reason]", text, StringComparison.Ordinal);
        Assert.True(File.Exists(_folder.File("out/bad.ipynb")));
        Assert.True(File.Exists(_folder.File("out/bad.html")));
    }

    [Fact]
    public async Task Run_SeveralNotebooks_WritesEach()
    {
        foreach (var name in (string[])["a", "b"])
        {
            var notebook = Notebook.Create();
            notebook.Add(CellKind.Code, $"\"{name}\"");
            notebook.Save(_folder.File(name + ".ipynb"));
        }

        var (exit, text) = await ProgramAsync("run", "a.ipynb", "b.ipynb");
        Assert.True(exit == 0, text);
        Assert.True(File.Exists(_folder.File("artifacts/a.html")));
        Assert.True(File.Exists(_folder.File("artifacts/b.html")));
    }

    [Theory]
    [InlineData(3, "There is no file", "run", "missing.ipynb")]
    [InlineData(5, "--timeout", "run", "missing.ipynb", "--timeout", "soon")]
    [InlineData(5, "name=value", "run", "missing.ipynb", "-p", "steps")]
    [InlineData(1, "Unrecognized command", "launch")]
    public async Task Program_BadArguments_SaysWhatIsWrong(int expected, string message, params string[] arguments)
    {
        var (exit, text) = await ProgramAsync(arguments);
        Assert.Equal(expected, exit);
        Assert.Contains(message, text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Run_NotANotebook_ExitsWithFour()
    {
        _folder.Write("text.ipynb", "plain text");
        var (exit, text) = await ProgramAsync("run", "text.ipynb");
        Assert.Equal((int)RunExit.NotANotebook, exit);
        Assert.Contains("text.ipynb is not a notebook", text, StringComparison.Ordinal);
    }

    private async Task<(int Exit, string Text)> ProgramAsync(params string[] arguments)
    {
        var program = typeof(NotebookRunner).Assembly.Location;
        var start = new ProcessStartInfo("dotnet", ["exec", program, .. arguments])
        {
            WorkingDirectory = _folder.Path,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        using var process = Process.Start(start)!;
        var output = process.StandardOutput.ReadToEndAsync();
        var error = process.StandardError.ReadToEndAsync();
        await process.WaitForExitAsync();
        return (process.ExitCode, await output + await error);
    }
}
