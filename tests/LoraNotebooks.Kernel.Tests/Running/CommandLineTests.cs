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
        var (exit, text) = await ToolProcess.RunAsync(_folder.Path, "run", "bad.ipynb", "--output", "out");
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

        var (exit, text) = await ToolProcess.RunHereAsync(_folder.Path, "run", "a.ipynb", "b.ipynb");
        Assert.True(exit == 0, text);
        Assert.True(File.Exists(_folder.File("artifacts/a.html")));
        Assert.True(File.Exists(_folder.File("artifacts/b.html")));
    }

    [Theory]
    [InlineData(3, "There is no file", "run", "missing.ipynb")]
    [InlineData(5, "--timeout", "run", "missing.ipynb", "--timeout", "soon")]
    [InlineData(5, "--cell-timeout", "run", "missing.ipynb", "--cell-timeout", "0s")]
    [InlineData(5, "name=value", "run", "missing.ipynb", "-p", "steps")]
    [InlineData(5, "\"pdf\", \"\" cannot be written; expected ipynb, html", "run", "missing.ipynb", "--format", "pdf,html,")]
    [InlineData(5, "-p steps: expected name=value", "run", "missing.ipynb", "--format", "pdf", "-p", "steps", "--timeout", "soon")]
    [InlineData(5, "--timeout soon", "run", "missing.ipynb", "--format", "pdf", "-p", "steps", "--timeout", "soon")]
    [InlineData(3, "There is no file", "check", "missing.ipynb")]
    [InlineData(3, "There is no file", "strip", "missing.ipynb")]
    [InlineData(1, "Unrecognized command", "launch")]
    public async Task Program_BadArguments_SaysWhatIsWrong(int expected, string message, params string[] arguments)
    {
        var (exit, text) = await ToolProcess.RunHereAsync(_folder.Path, arguments);
        Assert.Equal(expected, exit);
        Assert.Contains(message, text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Run_NotANotebook_ExitsWithFour()
    {
        _folder.Write("text.ipynb", "plain text");
        var (exit, text) = await ToolProcess.RunHereAsync(_folder.Path, "run", "text.ipynb");
        Assert.Equal((int)RunExit.NotANotebook, exit);
        Assert.Contains("text.ipynb is not a notebook", text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Run_CellTimeout_ExitsWithTwoAndNamesTheLimit()
    {
        Make("slow", "await Task.Delay(60_000, Cancellation);");
        var (exit, text) = await ToolProcess.RunHereAsync(_folder.Path, "run", "slow.ipynb", "--cell-timeout", "1s", "--timeout", "5m", "--format", "html");
        Assert.Equal((int)RunExit.TimedOut, exit);
        Assert.Contains("did not end within 1.0 s, the limit for each cell", text, StringComparison.Ordinal);
        Assert.Equal(["slow.html"], Directory.GetFiles(_folder.File("artifacts")).Select(Path.GetFileName));
    }

    [Fact]
    public async Task Run_NegativeParameterAndSkippedCell_AreTakenFromTheCommandLine()
    {
        var notebook = Notebook.Create();
        notebook.Add(CellKind.Code, "var offset = 1;\nvar prompt = \"x\";", "parameters");
        notebook.Add(CellKind.Code, "throw new Exception();", "skip");
        notebook.Add(CellKind.Code, "Console.WriteLine($\"offset {offset}, prompt <{prompt}>\");");
        notebook.Save(_folder.File("p.ipynb"));
        var (exit, text) = await ToolProcess.RunAsync(_folder.Path, "run", "-p", "offset=-3", "-p", "prompt=", "p.ipynb");
        Assert.True(exit == 0, text);
        Assert.Contains("offset -3, prompt <>", text, StringComparison.Ordinal);
        Assert.Matches("cell 3 of 4 .* skipped", text);
    }

    [Fact]
    public async Task Check_SeveralNotebooks_ReportsAllErrorsOfAllCells()
    {
        Make("good", "var a = 1;", "a");
        Make("bad", "var a = one;", "var b = two;", "3");
        var (exit, text) = await ToolProcess.RunHereAsync(_folder.Path, "check", "good.ipynb", "bad.ipynb");
        Assert.Equal(1, exit);
        Assert.Contains("good.ipynb: 2 cells compile.", text, StringComparison.Ordinal);
        Assert.Contains("bad.ipynb: 2 of 3 cells do not compile.", text, StringComparison.Ordinal);
        Assert.Contains("'one'", text, StringComparison.Ordinal);
        Assert.Contains("'two'", text, StringComparison.Ordinal);
        Assert.Contains("compiled without the faulty ones", text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Check_TaggedCells_NeedNotCompile()
    {
        var notebook = Notebook.Create();
        notebook.Add(CellKind.Code, "int wrong = \"text\";", "raises-exception");
        notebook.Add(CellKind.Code, "neither = this;", "skip");
        notebook.Save(_folder.File("tagged.ipynb"));
        var (exit, text) = await ToolProcess.RunHereAsync(_folder.Path, "check", "tagged.ipynb");
        Assert.True(exit == 0, text);
    }

    [Fact]
    public async Task Check_Outputs_ReportsWhatIsMissingAndAcceptsARun()
    {
        Make("n", "Console.WriteLine(1);");
        var (missing, text) = await ToolProcess.RunHereAsync(_folder.Path, "check", "--outputs", "n.ipynb");
        Assert.Equal(1, missing);
        Assert.Contains("It has no stored outputs.", text, StringComparison.Ordinal);
        Assert.Contains("run n.ipynb --output . --format ipynb", text, StringComparison.Ordinal);
        Assert.Equal(0, (await ToolProcess.RunAsync(_folder.Path, "run", "n.ipynb", "--output", ".", "--format", "ipynb")).Exit);
        Assert.Equal(0, (await ToolProcess.RunHereAsync(_folder.Path, "check", "--outputs", "n.ipynb")).Exit);

        // What computes nothing needs no libtorch, and tells of none.
        Assert.Equal(["processor", "instructions"], Notebook.Load(_folder.File("n.ipynb")).Machine!.Select(static fact => fact.Key));
    }

    [Fact]
    public async Task Strip_ExecutedNotebook_IsStrippedOnceAndThenLeftAlone()
    {
        var path = Make("n", "Console.WriteLine(1);");
        var before = await File.ReadAllBytesAsync(path);
        Assert.Equal(0, (await ToolProcess.RunHereAsync(_folder.Path, "run", "n.ipynb", "--output", ".", "--format", "ipynb")).Exit);
        Assert.Equal(1, (await ToolProcess.RunHereAsync(_folder.Path, "strip", "--check", "n.ipynb")).Exit);
        Assert.NotEqual(before, await File.ReadAllBytesAsync(path));
        Assert.Equal(0, (await ToolProcess.RunHereAsync(_folder.Path, "strip", "n.ipynb")).Exit);
        Assert.Equal(before, await File.ReadAllBytesAsync(path));
        var written = File.GetLastWriteTimeUtc(path);
        var (exit, text) = await ToolProcess.RunHereAsync(_folder.Path, "strip", "n.ipynb");
        Assert.Equal((0, written), (exit, File.GetLastWriteTimeUtc(path)));
        Assert.Contains("nothing to strip", text, StringComparison.Ordinal);
        Assert.Equal(0, (await ToolProcess.RunHereAsync(_folder.Path, "strip", "--check", "n.ipynb")).Exit);
    }

    private string Make(string name, params string[] cells)
    {
        var notebook = Notebook.Create();
        foreach (var cell in cells)
        {
            notebook.Add(CellKind.Code, cell);
        }

        notebook.Save(_folder.File(name + ".ipynb"));
        return _folder.File(name + ".ipynb");
    }
}
