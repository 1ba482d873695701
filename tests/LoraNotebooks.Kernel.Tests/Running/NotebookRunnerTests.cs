using System.Text.Json.Nodes;
using LoraNotebooks.Kernel.Notebooks;
using LoraNotebooks.Kernel.Running;
using LoraNotebooks.Tensors;
using LoraNotebooks.Tensors.Convolutions;
using TorchSharp;

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
        var cells = Notebook.Load(outcome.Executed!).Cells;
        Assert.Equal(1, cells[1].ExecutionCount);
        Assert.Equal(["stream", "stream", "execute_result"], cells[1].Outputs.Select(output => (string?)output!["output_type"]));
        Assert.Equal("hello", Notebook.JoinText(cells[1].Outputs[0]!["text"]).Trim());
        Assert.Equal("stderr", (string?)cells[1].Outputs[1]!["name"]);
        Assert.Equal("2", (string?)cells[1].Outputs[2]!["data"]!["text/plain"]);
        Assert.Contains(">Rank</th>", (string?)cells[2].Outputs[0]!["data"]!["text/html"], StringComparison.Ordinal);
        var page = await File.ReadAllTextAsync(outcome.Page!);
        Assert.Contains("<title>Title</title>", page, StringComparison.Ordinal);
        Assert.Contains("hello", page, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("set_num_threads(1); randn(2).sum().item<float>() > -1000", RunExit.Ok)]
    [InlineData("set_num_threads(1); throw new Exception(\"broken\");", RunExit.CellFailed)]
    public async Task RunAsync_Notebook_TellsTheMachineThatMadeItsOutputs(string code, RunExit exit)
    {
        var notebook = Notebook.Load(Make("# t", code));
        notebook.Machine = new() { ["processor"] = "of an earlier run" };
        var before = torch.get_num_threads();
        try
        {
            var outcome = await RunAsync(Save(notebook));
            Assert.Equal(exit, outcome.Exit);
            var machine = Notebook.Load(outcome.Executed!).Machine!;
            Assert.Equal(Processor.Current.ToString(), (string?)machine["processor"]);
            Assert.Equal(Processor.Current.Instructions, machine["instructions"]!.AsArray().Select(static name => (string?)name));
            Assert.Equal((NativeRuntime.LibTorchVersion, 1, CheckedConvolution.Describe()), ((string?)machine["libtorch"], (int?)machine["threads"], (string?)machine["kernels"]));
            Assert.Contains($" on {Processor.Current}, 1 thread, libtorch {NativeRuntime.LibTorchVersion}, kernels: {CheckedConvolution.Describe()}, with LoraNotebooks", await File.ReadAllTextAsync(outcome.Page!), StringComparison.Ordinal);
        }
        finally
        {
            torch.set_num_threads(before);
        }
    }

    [Fact]
    public async Task RunAsync_DisplayUpdatedInALaterCell_IsOneOutputWithTheLastContent()
    {
        var outcome = await RunAsync(Make("# t", "var handle = display(\"first\");", "handle.Update(\"last\");"));
        var cells = Notebook.Load(outcome.Executed!).Cells;
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
        var cells = Notebook.Load(outcome.Executed!).Cells;
        Assert.Equal("error", (string?)cells[2].Outputs[0]!["output_type"]);
        Assert.Null(cells[3].ExecutionCount);
        Assert.Contains("CS0103", await File.ReadAllTextAsync(outcome.Page!), StringComparison.Ordinal);
    }

    [Fact]
    public async Task RunAsync_CellsOfMarkupByTheirMetadata_AreShown()
    {
        var outcome = await RunAsync(Polyglot(("csharp", "var x = 3; x"), ("markdown", "# A heading"), ("html", "<b>bold</b>"), ("mermaid", "graph TD"), ("csharp", "x + 1")));
        Assert.Equal(RunExit.Ok, outcome.Exit);
        var cells = Notebook.Load(outcome.Executed!).Cells;
        Assert.Equal("# A heading", (string?)Assert.Single(cells[1].Outputs)!["data"]!["text/markdown"]);
        Assert.Equal("<b>bold</b>", (string?)Assert.Single(cells[2].Outputs)!["data"]!["text/html"]);
        Assert.Contains("```mermaid", (string?)Assert.Single(cells[3].Outputs)!["data"]!["text/markdown"], StringComparison.Ordinal);
        Assert.Equal("# A heading", cells[1].Source);
        Assert.Equal("4", (string?)Assert.Single(cells[4].Outputs)!["data"]!["text/plain"]);
    }

    [Fact]
    public async Task RunAsync_CellsOfOtherLanguages_AreRefusedByNameBeforeAnythingRuns()
    {
        var path = Polyglot(("csharp", "File.WriteAllText(\"ran\", \"\");"), ("fsharp", "let y = 5"), ("javascript", "console.log(1)"), ("csharp", "1\n#!pwsh\nGet-Date"), ("mystery", "?"));
        var error = await Assert.ThrowsAsync<InvalidDataException>(() => RunAsync(path));
        Assert.EndsWith(
            ": Cell 2 is F#, cell 3 is JavaScript, cell 4 is PowerShell, cell 5 is mystery; only C# runs here, and Markdown, HTML and Mermaid are shown. Tag such cells \"skip\" to run the others.",
            error.Message, StringComparison.Ordinal);
        Assert.False(File.Exists(_folder.File("ran")));
    }

    [Theory]
    [InlineData("skip")]
    [InlineData("raises-exception")]
    public async Task RunAsync_TaggedCellOfAnotherLanguage_DoesNotStopTheOthers(string tag)
    {
        var outcome = await RunAsync(Polyglot(("csharp", "1"), ("fsharp " + tag, "let y = 5"), ("csharp", "2")));
        Assert.Equal(RunExit.Ok, outcome.Exit);
        Assert.Single(Notebook.Load(outcome.Executed!).Cells[2].Outputs);
    }

    [Theory]
    [InlineData("""{"dotnet_interactive": {"language": "fsharp"}}""", "fsharp")]
    [InlineData("""{"polyglot_notebook": {"kernelName": "html"}, "dotnet_interactive": {"language": "csharp"}}""", "html")]
    [InlineData("""{"vscode": {"languageId": "dotnet-interactive.pwsh"}}""", "pwsh")]
    [InlineData("""{"vscode": {"languageId": "polyglot-notebook"}}""", null)]
    [InlineData("""{"dotnet_interactive": "x", "polyglot_notebook": {"kernelName": 3}}""", null)]
    public void LanguageName_Metadata_AreReadAsOtherHostsWriteThem(string metadata, string? expected)
    {
        var path = _folder.Write("language.ipynb", $$"""{"cells": [{"cell_type": "code", "metadata": {{metadata}}, "source": "1", "outputs": [], "execution_count": null}], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}""");
        Assert.Equal(expected, Notebook.Load(path).Cells[0].LanguageName);
    }

    [Fact]
    public async Task RunAsync_Exception_KeepsTheOutputsBeforeIt()
    {
        var outcome = await RunAsync(Make("# t", "Console.Write(\"so far\");\nthrow new InvalidOperationException(\"broken\");"));
        Assert.Equal(RunExit.CellFailed, outcome.Exit);
        Assert.Equal(["stream", "error"], Notebook.Load(outcome.Executed!).Cells[1].Outputs.Select(output => (string?)output!["output_type"]));
    }

    [Fact]
    public async Task RunAsync_ExecutedNotebookRunAgain_ReplacesTheInjectedCell()
    {
        var notebook = Notebook.Create();
        notebook.Add(CellKind.Code, "var steps = 400;", "parameters");
        notebook.Add(CellKind.Code, "steps");
        var first = await RunAsync(Save(notebook), new() { ["steps"] = "1" });
        var second = await RunAsync(first.Executed!, new() { ["steps"] = "2" });
        var cells = Notebook.Load(second.Executed!).Cells;
        Assert.Equal(3, cells.Count);
        Assert.Equal("2", (string?)cells[2].Outputs[0]!["data"]!["text/plain"]);
    }

    [Fact]
    public async Task RunAsync_Timeout_KeepsWhatWasMade()
    {
        var path = Make("# t", "display(\"kept\");\nawait Task.Delay(60_000, Cancellation);", "1");
        var outcome = await new NotebookRunner(new Silent()).RunAsync(path, Options with { Timeout = TimeSpan.FromSeconds(8) });
        Assert.Equal(RunExit.TimedOut, outcome.Exit);
        Assert.Equal(1, outcome.FailedCell?.Number);
        Assert.Contains("all cells together", outcome.Error!.Message, StringComparison.Ordinal);
        Assert.Equal(["display_data", "error"], Notebook.Load(outcome.Executed!).Cells[1].Outputs.Select(output => (string?)output!["output_type"]));
        Assert.True(File.Exists(outcome.Page));
    }

    [Fact]
    public async Task RunAsync_CellTimeout_EndsTheCellThatTakesTooLong()
    {
        var path = Make("# t", "await Task.Delay(10, Cancellation);", "await Task.Delay(60_000, NotebookHost.Current.Cancellation);");
        var outcome = await new NotebookRunner(new Silent()).RunAsync(path, Options with { CellTimeout = TimeSpan.FromSeconds(8), Timeout = TimeSpan.FromMinutes(5) });
        Assert.Equal(RunExit.TimedOut, outcome.Exit);
        Assert.Equal(2, outcome.FailedCell?.Number);
        Assert.Contains("the limit for each cell (--cell-timeout)", outcome.Error!.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task RunAsync_TimeoutInACellThatMayFail_EndsTheRun()
    {
        var notebook = Notebook.Create();
        notebook.Add(CellKind.Code, "try { await Task.Delay(60_000, Cancellation); } catch (OperationCanceledException e) { throw new InvalidOperationException(\"wrapped\", e); }", "raises-exception");
        var outcome = await new NotebookRunner(new Silent()).RunAsync(Save(notebook), Options with { CellTimeout = TimeSpan.FromSeconds(5) });
        Assert.Equal(RunExit.TimedOut, outcome.Exit);
        Assert.Contains(outcome.Error!.Traceback, line => line.Contains("wrapped", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("throw new InvalidOperationException(\"as told\");", "error")]
    [InlineData("int wrong = \"text\";", "error")]
    [InlineData("\"no failure\"", "execute_result")]
    public async Task RunAsync_CellThatMayFail_LetsTheRunGoOn(string code, string output)
    {
        var notebook = Notebook.Create();
        notebook.Add(CellKind.Code, code, "raises-exception");
        notebook.Add(CellKind.Code, "\"after\"");
        var outcome = await RunAsync(Save(notebook));
        Assert.Equal(RunExit.Ok, outcome.Exit);
        Assert.Null(outcome.Error);
        var cells = Notebook.Load(outcome.Executed!).Cells;
        Assert.Equal(output, (string?)Assert.Single(cells[0].Outputs)!["output_type"]);
        Assert.Equal("after", (string?)cells[1].Outputs[0]!["data"]!["text/plain"]);
        Assert.DoesNotContain("did not finish", await File.ReadAllTextAsync(outcome.Page!), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("skip")]
    [InlineData("skip-execution")]
    public async Task RunAsync_SkippedCell_KeepsItsOutputs(string tag)
    {
        var notebook = Notebook.Create();
        var skipped = notebook.Add(CellKind.Code, "throw new Exception(\"never\");", tag);
        skipped.ExecutionCount = 7;
        skipped.SetOutputs([new JsonObject { ["name"] = "stdout", ["output_type"] = "stream", ["text"] = "from before" }]);
        notebook.Add(CellKind.Code, "1");
        var progress = new Silent();
        var outcome = await new NotebookRunner(progress).RunAsync(Save(notebook), Options);
        Assert.Equal(RunExit.Ok, outcome.Exit);
        var cell = Notebook.Load(outcome.Executed!).Cells[0];
        Assert.Equal(7, cell.ExecutionCount);
        Assert.Equal("from before", (string?)Assert.Single(cell.Outputs)!["text"]);
        Assert.Equal(["skipped 1/2", "2/2 1"], progress.Cells);
    }

    [Fact]
    public async Task RunAsync_LongCell_IsWrittenWhileItRuns()
    {
        // The cell ends only once it has seen its own output in the file.
        var path = Make("# t", """
            var shown = display("sho" + "wn");
            while (!File.Exists("out/notebook.ipynb") || !File.ReadAllText("out/notebook.ipynb").Contains("shown\"")) await Task.Delay(50, Cancellation);
            shown.Update("upda" + "ted");
            while (!File.ReadAllText("out/notebook.ipynb").Contains("updated\"")) await Task.Delay(50, Cancellation);
            """);
        var outcome = await new NotebookRunner(new Silent()).RunAsync(path, Options with { Timeout = TimeSpan.FromSeconds(60) });
        Assert.True(outcome.Exit == RunExit.Ok, outcome.Error?.Message);
    }

    [Fact]
    public async Task RunAsync_ClearedOutput_IsNotStored()
    {
        var outcome = await RunAsync(Make("# t", """
            Console.Write("first");
            var gone = display("second");
            NotebookHost.Current.Clear();
            gone.Update("nowhere");
            Console.Write("third");
            NotebookHost.Current.Clear(wait: true);
            Console.Write("fourth");
            """, "Console.Write(\"stays\");\nNotebookHost.Current.Clear(wait: true);"));
        var cells = Notebook.Load(outcome.Executed!).Cells;
        Assert.Equal("fourth", Notebook.JoinText(Assert.Single(cells[1].Outputs)!["text"]));
        Assert.Equal("stays", Notebook.JoinText(Assert.Single(cells[2].Outputs)!["text"]));
    }

    [Fact]
    public async Task RunAsync_ProgressBar_IsStoredInItsLastState()
    {
        var outcome = await RunAsync(Make("# t", "for (var i = 0; i <= 100; i++) Console.Write($\"\\r{i,3} %\");\nConsole.Write(\"\\r\\nend\");"));
        Assert.Equal("100 %\nend", Notebook.JoinText(Notebook.Load(outcome.Executed!).Cells[1].Outputs.Single()!["text"]));
    }

    [Fact]
    public async Task RunAsync_StopButton_IsNotStored()
    {
        var outcome = await RunAsync(Make("# t", "var h = NotebookHost.Current.Display(MimeBundle.FromText(\"a\").With(MimeTypes.Stop, \"id\"));\nh.Update(MimeBundle.FromText(\"b\").With(MimeTypes.Stop, \"id\"));"));
        Assert.Equal(["text/plain"], ((JsonObject)Notebook.Load(outcome.Executed!).Cells[1].Outputs.Single()!["data"]!).Select(form => form.Key));
    }

    [Theory]
    [InlineData(RunFormats.Notebook, true, false)]
    [InlineData(RunFormats.Page, false, true)]
    public async Task RunAsync_OneFormat_WritesOnlyThat(RunFormats formats, bool notebook, bool page)
    {
        var outcome = await new NotebookRunner(new Silent()).RunAsync(Make("# t", "\"shown\""), Options with { Formats = formats });
        Assert.Equal((notebook, page), (File.Exists(_folder.File("out/notebook.ipynb")), File.Exists(_folder.File("out/notebook.html"))));
        Assert.Equal((notebook, page), (outcome.Executed is not null, outcome.Page is not null));
        Assert.Contains("shown", await File.ReadAllTextAsync((outcome.Executed ?? outcome.Page)!), StringComparison.Ordinal);
    }

    [Fact]
    public async Task RunAsync_InPlace_ChangesNothingButOutputs()
    {
        var path = Make("# t é", "Console.Write(\"x\");\n1 + 1");
        var before = await File.ReadAllBytesAsync(path);
        var outcome = await new NotebookRunner(new Silent()).RunAsync(path, Options with { OutputFolder = _folder.Path, Formats = RunFormats.Notebook });
        Assert.Equal(path, outcome.Executed);
        var after = await File.ReadAllBytesAsync(path);
        Assert.NotEqual(before, after);
        Assert.Empty(NotebookDrift.FaultsOf(Notebook.Load(path)));
        Assert.Equal(before, NotebookStripper.Strip(after));
        Assert.Equal(["notebook.ipynb"], Directory.GetFiles(_folder.Path).Select(Path.GetFileName));
    }

    [Fact]
    public async Task RunAsync_InPlaceWithParameters_IsRefused()
    {
        var notebook = Notebook.Create();
        notebook.Add(CellKind.Code, "var steps = 400;", "parameters");
        var path = Save(notebook);
        var before = await File.ReadAllBytesAsync(path);
        var options = Options with { OutputFolder = _folder.Path, Parameters = new Dictionary<string, string> { ["steps"] = "1" } };
        var error = await Assert.ThrowsAsync<RunParameterException>(() => new NotebookRunner(new Silent()).RunAsync(path, options));
        Assert.Contains("--output", error.Message, StringComparison.Ordinal);
        Assert.Equal(before, await File.ReadAllBytesAsync(path));
    }

    [Fact]
    public async Task RunAsync_FailedRun_RecordsNoExecutedCode()
    {
        var path = Make("# t", "Console.WriteLine(1);", "2");
        await new NotebookRunner(new Silent()).RunAsync(path, Options with { OutputFolder = _folder.Path });
        Assert.NotNull(Notebook.Load(path).ExecutedCode);
        var notebook = Notebook.Load(path);
        notebook.Cells[2].Source = "throw new Exception();";
        notebook.Save(path);
        await new NotebookRunner(new Silent()).RunAsync(path, Options with { OutputFolder = _folder.Path });
        Assert.Null(Notebook.Load(path).ExecutedCode);
    }

    [Fact]
    public async Task RunAsync_Cancellation_StopsAndWrites()
    {
        using var source = new CancellationTokenSource();
        var running = new NotebookRunner(new Silent()).RunAsync(Make("# t", "try { await Task.Delay(60_000, Cancellation); } catch (OperationCanceledException) { throw new Exception(\"stopped\"); }"), Options, source.Token);
        source.CancelAfter(4000);
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
        Assert.Equal("beside the notebook", (string?)Notebook.Load(outcome.Executed!).Cells[1].Outputs[0]!["data"]!["text/plain"]);
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
        await new NotebookRunner(progress).RunAsync(Make("# Heading `code`", "1", "// A comment\n2", "3 + 4"), Options);
        Assert.Equal(["1/3 Heading code", "2/3 A comment", "3/3 3 + 4"], progress.Cells);
    }

    private RunOptions Options => new() { OutputFolder = _folder.File("out") };

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
        new NotebookRunner(new Silent()).RunAsync(path, Options with { Parameters = parameters ?? [] });

    private string Polyglot(params (string Language, string Source)[] cells)
    {
        var json = new JsonObject
        {
            ["cells"] = new JsonArray([.. cells.Select(cell => (JsonNode)new JsonObject
            {
                ["cell_type"] = "code",
                ["metadata"] = new JsonObject
                {
                    ["polyglot_notebook"] = new JsonObject { ["kernelName"] = cell.Language.Split(' ')[0] },
                    ["tags"] = new JsonArray([.. cell.Language.Split(' ')[1..].Select(tag => (JsonNode)tag)]),
                },
                ["source"] = cell.Source,
                ["outputs"] = new JsonArray(),
                ["execution_count"] = null,
            })]),
            ["metadata"] = new JsonObject { ["kernelspec"] = new JsonObject { ["name"] = ".net-csharp", ["language"] = "C#", ["display_name"] = ".NET (C#)" } },
            ["nbformat"] = 4,
            ["nbformat_minor"] = 5,
        };
        return _folder.Write("polyglot.ipynb", json.ToJsonString());
    }
}
