using System.Text.Json.Nodes;
using LoraNotebooks.Kernel.Notebooks;
using LoraNotebooks.Kernel.Running;

namespace LoraNotebooks.Kernel.Tests.Running;

/// <summary>Cells that are run in another way than most: in other languages, skipped, allowed to fail.</summary>
public sealed class UnusualCellTests : NotebookRunning
{
    [Fact]
    public async Task RunAsync_CellsOfMarkupByTheirMetadata_AreShown()
    {
        var outcome = await RunAsync(Polyglot(
            ("csharp", "var x = 3; x"),
            ("markdown", "# A heading"),
            ("html", "<b>bold</b>"),
            ("mermaid", "graph TD"),
            ("csharp", "x + 1")));
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
        var path = Polyglot(
            ("csharp", "File.WriteAllText(\"ran\", \"\");"),
            ("fsharp", "let y = 5"),
            ("javascript", "console.log(1)"),
            ("csharp", "1\n#!pwsh\nGet-Date"),
            ("mystery", "?"));
        var error = await Assert.ThrowsAsync<InvalidDataException>(() => RunAsync(path));
        Assert.EndsWith(
            ": Cell 2 is F#, cell 3 is JavaScript, cell 4 is PowerShell, cell 5 is mystery; "
                + "only C# runs here, and Markdown, HTML and Mermaid are shown. Tag such cells \"skip\" to run the others.",
            error.Message, StringComparison.Ordinal);
        Assert.False(File.Exists(Folder.File("ran")));
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
        var path = Folder.Write("language.ipynb", $$"""{"cells": [{"cell_type": "code", "metadata": {{metadata}}, "source": "1", "outputs": [], "execution_count": null}], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}""");
        Assert.Equal(expected, Notebook.Load(path).Cells[0].LanguageName);
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

    private string Polyglot(params (string Language, string Source)[] cells) => PolyglotNotebook.Write(Folder, cells);
}
