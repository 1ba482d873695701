using LoraNotebooks.Kernel.Notebooks;
using LoraNotebooks.Kernel.Running;

namespace LoraNotebooks.Kernel.Tests.Running;

public sealed class NotebookRunnerTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task RunAsync_WorkingNotebook_WritesNotebookAndPage()
    {
        var outcome = await RunAsync(Make("# Title", "Console.WriteLine(\"hello\");\nConsole.Error.WriteLine(\"careful\");\n1 + 1", "new[] { new { Rank = 4 } }"));
        Assert.Equal(RunExit.Ok, outcome.Exit);
        Assert.Null(outcome.Error);
        var cells = Notebook.Load(outcome.Executed).Cells;
        Assert.Equal(1, cells[1].ExecutionCount);
        Assert.Equal(["stream", "stream", "execute_result"], cells[1].Outputs.Select(output => (string?)output!["output_type"]));
        Assert.Equal("hello", Notebook.JoinText(cells[1].Outputs[0]!["text"]).Trim());
        Assert.Equal("stderr", (string?)cells[1].Outputs[1]!["name"]);
        Assert.Equal("2", (string?)cells[1].Outputs[2]!["data"]!["text/plain"]);
        Assert.Contains(">Rank</th>", (string?)cells[2].Outputs[0]!["data"]!["text/html"], StringComparison.Ordinal);
        var page = await File.ReadAllTextAsync(outcome.Page);
        Assert.Contains("<title>Title</title>", page, StringComparison.Ordinal);
        Assert.Contains("hello", page, StringComparison.Ordinal);
    }

    [Fact]
    public async Task RunAsync_DisplayUpdatedInALaterCell_IsOneOutputWithTheLastContent()
    {
        var outcome = await RunAsync(Make("# t", "var handle = display(\"first\");", "handle.Update(\"last\");"));
        var cells = Notebook.Load(outcome.Executed).Cells;
        var output = Assert.Single(cells[1].Outputs);
        Assert.Equal("display_data", (string?)output!["output_type"]);
        Assert.Equal("last", (string?)output["data"]!["text/plain"]);
        Assert.Empty(cells[2].Outputs);
    }

    [Fact]
    public async Task RunAsync_CompileError_NamesTheCellAndWritesBothFiles()
    {
        var outcome = await RunAsync(Make("# t", "// fine\nvar a = 1;", "// The broken one\nvar b = nothing;", "Console.WriteLine(\"never\");"));
        Assert.Equal(RunExit.CellFailed, outcome.Exit);
        Assert.Equal((2, "The broken one"), outcome.FailedCell);
        Assert.Contains("cell 2, line 2", outcome.Error!.Message, StringComparison.Ordinal);
        var cells = Notebook.Load(outcome.Executed).Cells;
        Assert.Equal("error", (string?)cells[2].Outputs[0]!["output_type"]);
        Assert.Null(cells[3].ExecutionCount);
        Assert.Contains("CS0103", await File.ReadAllTextAsync(outcome.Page), StringComparison.Ordinal);
    }

    [Fact]
    public async Task RunAsync_Exception_KeepsTheOutputsBeforeIt()
    {
        var outcome = await RunAsync(Make("# t", "Console.Write(\"so far\");\nthrow new InvalidOperationException(\"broken\");"));
        Assert.Equal(RunExit.CellFailed, outcome.Exit);
        Assert.Equal(["stream", "error"], Notebook.Load(outcome.Executed).Cells[1].Outputs.Select(output => (string?)output!["output_type"]));
    }

    [Theory]
    [InlineData("steps", "20", "20", "System.Int32")]
    [InlineData("rate", "1e-3", "0.001", "System.Double")]
    [InlineData("weight", "0.25", "0.25", "System.Single")]
    [InlineData("prompt", "a \"quoted\" face", "a \"quoted\" face", "System.String")]
    [InlineData("prompt", "\"literal\"", "literal", "System.String")]
    [InlineData("fast", "true", "true", "System.Boolean")]
    [InlineData("ranks", "[2, 4]", "[2, 4]", "System.Int32[]")]
    public async Task RunAsync_Parameter_TakesTheDefaultsType(string name, string value, string shown, string type)
    {
        var notebook = Notebook.Create();
        notebook.Add(CellKind.Code, "var steps = 400;\nvar rate = 1e-4;\nfloat weight = 1f;\nvar prompt = \"x\";\nvar fast = false;\nint[] ranks = [1];", "parameters");
        notebook.Add(CellKind.Code, $"Console.Write({name}.GetType());\n{name}");
        var outcome = await RunAsync(Save(notebook), new() { [name] = value });
        Assert.True(outcome.Error is null, outcome.Error?.Message);
        var cells = Notebook.Load(outcome.Executed).Cells;
        Assert.Equal(["injected-parameters"], cells[1].Tags);
        Assert.Equal(type, Notebook.JoinText(cells[2].Outputs[0]!["text"]));
        Assert.Equal(shown, (string?)cells[2].Outputs[1]!["data"]!["text/plain"]);
    }

    [Fact]
    public async Task RunAsync_ExecutedNotebookRunAgain_ReplacesTheInjectedCell()
    {
        var notebook = Notebook.Create();
        notebook.Add(CellKind.Code, "var steps = 400;", "parameters");
        notebook.Add(CellKind.Code, "steps");
        var first = await RunAsync(Save(notebook), new() { ["steps"] = "1" });
        var second = await RunAsync(first.Executed, new() { ["steps"] = "2" });
        var cells = Notebook.Load(second.Executed).Cells;
        Assert.Equal(3, cells.Count);
        Assert.Equal("2", (string?)cells[2].Outputs[0]!["data"]!["text/plain"]);
    }

    [Fact]
    public async Task RunAsync_ParameterFaults_AreRefusedAllAtOnce()
    {
        var notebook = Notebook.Create();
        notebook.Add(CellKind.Code, "var steps = 400;\nvar rate = 0.1;", "parameters");
        var error = await Assert.ThrowsAsync<RunParameterException>(() => RunAsync(Save(notebook), new() { ["step"] = "20", ["rate"] = "System.IO.File.Delete(\"x\")" }));
        Assert.Contains("no parameter step", error.Message, StringComparison.Ordinal);
        Assert.Contains("rate, steps", error.Message, StringComparison.Ordinal);
        Assert.Contains("expected a C# literal of type double", error.Message, StringComparison.Ordinal);
        Assert.False(File.Exists(_folder.File("out/notebook.ipynb")));
    }

    [Fact]
    public async Task RunAsync_ParameterWithoutTaggedCell_SaysHowToTag()
    {
        var error = await Assert.ThrowsAsync<RunParameterException>(() => RunAsync(Make("# t", "var steps = 1;"), new() { ["steps"] = "2" }));
        Assert.Contains("tagged \"parameters\"", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task RunAsync_Timeout_KeepsWhatWasMade()
    {
        var path = Make("# t", "display(\"kept\");\nawait Task.Delay(60_000, Cancellation);", "1");
        var outcome = await new NotebookRunner(new Silent()).RunAsync(path, new RunOptions { OutputFolder = _folder.File("out"), Timeout = TimeSpan.FromSeconds(8) });
        Assert.Equal(RunExit.TimedOut, outcome.Exit);
        Assert.Equal(1, outcome.FailedCell?.Number);
        Assert.Equal(["display_data", "error"], Notebook.Load(outcome.Executed).Cells[1].Outputs.Select(output => (string?)output!["output_type"]));
        Assert.True(File.Exists(outcome.Page));
    }

    [Fact]
    public async Task RunAsync_Cancellation_StopsAndWrites()
    {
        using var source = new CancellationTokenSource();
        var running = new NotebookRunner(new Silent()).RunAsync(Make("# t", "await Task.Delay(60_000, Cancellation);"), new RunOptions { OutputFolder = _folder.File("out") }, source.Token);
        source.CancelAfter(2000);
        var outcome = await running;
        Assert.Equal(RunExit.Canceled, outcome.Exit);
        Assert.True(File.Exists(outcome.Executed));
    }

    [Fact]
    public async Task RunAsync_RelativePath_IsTheNotebooksFolder()
    {
        var before = Environment.CurrentDirectory;
        _folder.Write("data.txt", "beside the notebook");
        var outcome = await RunAsync(Make("# t", "File.ReadAllText(\"data.txt\")"));
        Assert.Equal("beside the notebook", (string?)Notebook.Load(outcome.Executed).Cells[1].Outputs[0]!["data"]!["text/plain"]);
        Assert.Equal(before, Environment.CurrentDirectory);
    }

    [Fact]
    public async Task RunAsync_DisplayThatFails_FailsTheCell()
    {
        var outcome = await RunAsync(Make("# t", "class Bad : IRichDisplay { public MimeBundle ToMimeBundle() => throw new InvalidOperationException(\"bad\"); }\nnew Bad()"));
        Assert.Equal(RunExit.CellFailed, outcome.Exit);
        Assert.Contains("could not be shown", outcome.Error!.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task RunAsync_MissingFile_IsNamed() =>
        Assert.Contains("missing.ipynb", (await Assert.ThrowsAsync<FileNotFoundException>(() => RunAsync(_folder.File("missing.ipynb")))).Message, StringComparison.Ordinal);

    [Fact]
    public async Task RunAsync_NotebookInAnotherLanguage_IsRefused()
    {
        var path = _folder.Write("python.ipynb", """{"cells": [], "metadata": {"kernelspec": {"language": "python", "name": "python3"}}, "nbformat": 4, "nbformat_minor": 5}""");
        Assert.Contains("python", (await Assert.ThrowsAsync<InvalidDataException>(() => RunAsync(path))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task RunAsync_Progress_NamesEachCell()
    {
        var progress = new Silent();
        await new NotebookRunner(progress).RunAsync(Make("# Heading `code`", "1", "// A comment\n2", "3 + 4"), new RunOptions { OutputFolder = _folder.File("out") });
        Assert.Equal(["1/3 Heading code", "2/3 A comment", "3/3 3 + 4"], progress.Cells);
    }

    private string Make(string markdown, params string[] code)
    {
        var notebook = Notebook.Create();
        notebook.Add(CellKind.Markdown, markdown);
        foreach (var cell in code)
        {
            notebook.Add(CellKind.Code, cell);
        }

        return Save(notebook);
    }

    private string Save(Notebook notebook)
    {
        notebook.Save(_folder.File("notebook.ipynb"));
        return _folder.File("notebook.ipynb");
    }

    private Task<RunOutcome> RunAsync(string path, Dictionary<string, string>? parameters = null) =>
        new NotebookRunner(new Silent()).RunAsync(path, new RunOptions { OutputFolder = _folder.File("out"), Parameters = parameters ?? [] });

    private sealed class Silent : IRunProgress
    {
        public List<string> Cells { get; } = [];

        public void NotebookStarted(string path, int cells)
        {
        }

        public void CellStarted(int number, int cells, string title) => Cells.Add($"{number}/{cells} {title}");

        public void Output(string text, bool isError)
        {
        }

        public void Status(string text)
        {
        }

        public void CellEnded(bool succeeded, TimeSpan elapsed)
        {
        }

        public void NotebookEnded(RunOutcome outcome, TimeSpan elapsed)
        {
        }
    }
}
