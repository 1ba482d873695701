using System.Text.Json.Nodes;
using LoraNotebooks.Kernel.Notebooks;
using LoraNotebooks.Kernel.Running;
using LoraNotebooks.Tensors;
using LoraNotebooks.Tensors.Convolutions;
using TorchSharp;

namespace LoraNotebooks.Kernel.Tests.Running;

public sealed class NotebookRunnerTests : NotebookRunning
{
    [Fact]
    public async Task RunAsync_WorkingNotebook_WritesNotebookAndPage()
    {
        var outcome = await RunAsync(Make(
            "# Title",
            "Console.WriteLine(\"hello\");\nConsole.Error.WriteLine(\"careful\");\n1 + 1",
            "new[] { new { Rank = 4 } }"));
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
            Assert.Equal(
                (NativeRuntime.LibTorchVersion, 1, CheckedConvolution.Describe()),
                ((string?)machine["libtorch"], (int?)machine["threads"], (string?)machine["kernels"]));
            Assert.Contains(
                $" on {Processor.Current}, 1 thread, libtorch {NativeRuntime.LibTorchVersion}, kernels: {CheckedConvolution.Describe()}, "
                    + "with LoraNotebooks",
                await File.ReadAllTextAsync(outcome.Page!),
                StringComparison.Ordinal);
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
        var outcome = await RunAsync(Make(
            "# t",
            "var h = NotebookHost.Current.Display(MimeBundle.FromText(\"a\").With(MimeTypes.Stop, \"id\"));\n"
                + "h.Update(MimeBundle.FromText(\"b\").With(MimeTypes.Stop, \"id\"));"));
        Assert.Equal(["text/plain"], ((JsonObject)Notebook.Load(outcome.Executed!).Cells[1].Outputs.Single()!["data"]!).Select(form => form.Key));
    }

    [Theory]
    [InlineData(RunFormats.Notebook, true, false)]
    [InlineData(RunFormats.Page, false, true)]
    public async Task RunAsync_OneFormat_WritesOnlyThat(RunFormats formats, bool notebook, bool page)
    {
        var outcome = await new NotebookRunner(new Silent()).RunAsync(Make("# t", "\"shown\""), Options with { Formats = formats });
        Assert.Equal((notebook, page), (File.Exists(Folder.File("out/notebook.ipynb")), File.Exists(Folder.File("out/notebook.html"))));
        Assert.Equal((notebook, page), (outcome.Executed is not null, outcome.Page is not null));
        Assert.Contains("shown", await File.ReadAllTextAsync((outcome.Executed ?? outcome.Page)!), StringComparison.Ordinal);
    }

    [Fact]
    public async Task RunAsync_InPlace_ChangesNothingButOutputs()
    {
        var path = Make("# t é", "Console.Write(\"x\");\n1 + 1");
        var before = await File.ReadAllBytesAsync(path);
        var outcome = await new NotebookRunner(new Silent()).RunAsync(path, Options with { OutputFolder = Folder.Path, Formats = RunFormats.Notebook });
        Assert.Equal(path, outcome.Executed);
        var after = await File.ReadAllBytesAsync(path);
        Assert.NotEqual(before, after);
        Assert.Empty(NotebookDrift.FaultsOf(Notebook.Load(path)));
        Assert.Equal(before, NotebookStripper.Strip(after));
        Assert.Equal(["notebook.ipynb"], Directory.GetFiles(Folder.Path).Select(Path.GetFileName));
    }

    [Fact]
    public async Task RunAsync_InPlaceWithParameters_IsRefused()
    {
        var notebook = Notebook.Create();
        notebook.Add(CellKind.Code, "var steps = 400;", "parameters");
        var path = Save(notebook);
        var before = await File.ReadAllBytesAsync(path);
        var options = Options with { OutputFolder = Folder.Path, Parameters = new Dictionary<string, string> { ["steps"] = "1" } };
        var error = await Assert.ThrowsAsync<RunParameterException>(() => new NotebookRunner(new Silent()).RunAsync(path, options));
        Assert.Contains("--output", error.Message, StringComparison.Ordinal);
        Assert.Equal(before, await File.ReadAllBytesAsync(path));
    }

    [Fact]
    public async Task RunAsync_FailedRun_RecordsNoExecutedCode()
    {
        var path = Make("# t", "Console.WriteLine(1);", "2");
        await new NotebookRunner(new Silent()).RunAsync(path, Options with { OutputFolder = Folder.Path });
        Assert.NotNull(Notebook.Load(path).ExecutedCode);
        var notebook = Notebook.Load(path);
        notebook.Cells[2].Source = "throw new Exception();";
        notebook.Save(path);
        await new NotebookRunner(new Silent()).RunAsync(path, Options with { OutputFolder = Folder.Path });
        Assert.Null(Notebook.Load(path).ExecutedCode);
    }

    [Fact]
    public async Task RunAsync_RelativePath_IsTheNotebooksFolder()
    {
        var before = Environment.CurrentDirectory;
        Folder.Write("data.txt", "beside the notebook");
        var outcome = await RunAsync(Make("# t", "File.ReadAllText(\"data.txt\")"));
        Assert.Equal("beside the notebook", (string?)Notebook.Load(outcome.Executed!).Cells[1].Outputs[0]!["data"]!["text/plain"]);
        Assert.Equal(before, Environment.CurrentDirectory);
    }

    [Fact]
    public async Task RunAsync_DisplayThatFails_FailsTheCell()
    {
        var outcome = await RunAsync(Make(
            "# t",
            "class Bad : IRichDisplay { public MimeBundle ToMimeBundle() => throw new InvalidOperationException(\"bad\"); }\nnew Bad()"));
        Assert.Equal(RunExit.CellFailed, outcome.Exit);
        Assert.Contains("could not be shown", outcome.Error!.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task RunAsync_MissingFile_IsNamed() =>
        Assert.Contains(
            "missing.ipynb",
            (await Assert.ThrowsAsync<FileNotFoundException>(() => RunAsync(Folder.File("missing.ipynb")))).Message,
            StringComparison.Ordinal);

    [Fact]
    public async Task RunAsync_NotebookInAnotherLanguage_IsRefused()
    {
        var path = Folder.Write(
            "python.ipynb",
            """{"cells": [], "metadata": {"kernelspec": {"language": "python", "name": "python3"}}, "nbformat": 4, "nbformat_minor": 5}""");
        Assert.Contains("python", (await Assert.ThrowsAsync<InvalidDataException>(() => RunAsync(path))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task RunAsync_Progress_NamesEachCell()
    {
        var progress = new Silent();
        await new NotebookRunner(progress).RunAsync(Make("# Heading `code`", "1", "// A comment\n2", "3 + 4"), Options);
        Assert.Equal(["1/3 Heading code", "2/3 A comment", "3/3 3 + 4"], progress.Cells);
    }
}
