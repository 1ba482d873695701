using System.Text.Json.Nodes;
using LoraNotebooks.Kernel.Notebooks;

namespace LoraNotebooks.Kernel.Tests.Notebooks;

public sealed class NotebookDriftTests
{
    [Fact]
    public void FaultsOf_OutputsOfThisCode_AreNone() => Assert.Empty(NotebookDrift.FaultsOf(Executed()));

    [Fact]
    public void FaultsOf_NoOutputs_SaysSo()
    {
        var notebook = Executed();
        notebook.Cells[0].SetOutputs([]);
        Assert.Equal(["It has no stored outputs."], NotebookDrift.FaultsOf(notebook));
    }

    [Fact]
    public void FaultsOf_ChangedCode_SaysSo()
    {
        var notebook = Executed();
        notebook.Cells[0].Source += " // changed";
        Assert.Contains("code has changed", Assert.Single(NotebookDrift.FaultsOf(notebook)), StringComparison.Ordinal);
    }

    [Fact]
    public void FaultsOf_UnfinishedRun_SaysSo()
    {
        var notebook = Executed();
        notebook.ExecutedCode = null;
        Assert.Contains("complete run", Assert.Single(NotebookDrift.FaultsOf(notebook)), StringComparison.Ordinal);
    }

    [Fact]
    public void FaultsOf_StoredError_NamesTheCellUnlessItMayFail()
    {
        var notebook = Executed();
        JsonObject error = new() { ["output_type"] = "error", ["ename"] = "E", ["evalue"] = "e", ["traceback"] = new JsonArray() };
        notebook.Add(CellKind.Code, "throw null;", "raises-exception").SetOutputs([(JsonObject)error.DeepClone()]);
        notebook.Add(CellKind.Code, "throw null;").SetOutputs([error]);
        notebook.ExecutedCode = NotebookDrift.HashOf(notebook);
        Assert.Equal(["Cell 3 has an error among its outputs."], NotebookDrift.FaultsOf(notebook));
    }

    [Fact]
    public void FaultsOf_NoCode_IsNone() => Assert.Empty(NotebookDrift.FaultsOf(Notebook.Create()));

    [Fact]
    public void HashOf_InjectedParametersProseAndOutputs_DoNotCount()
    {
        var notebook = Executed();
        var before = NotebookDrift.HashOf(notebook);
        notebook.Add(CellKind.Code, "steps = 2;", CellTags.InjectedParameters);
        notebook.Add(CellKind.Code, "  ");
        notebook.Add(CellKind.Markdown, "prose");
        notebook.Cells[0].SetOutputs([]);
        Assert.Equal(before, NotebookDrift.HashOf(notebook));
        notebook.Add(CellKind.Code, "more");
        Assert.NotEqual(before, NotebookDrift.HashOf(notebook));
    }

    [Fact]
    public void Compare_OtherContentAndSplitStreams_IsTheSameStructure()
    {
        var fresh = Executed();
        fresh.Cells[0].SetOutputs(
            [Stream("stdout", "other"), Stream("stderr", "about the machine"), Stream("stdout", "words"), Display("image/png", "text/plain")]);
        fresh.Insert(0, CellKind.Code, "steps = 2;", CellTags.InjectedParameters);
        Assert.Empty(NotebookDrift.Compare(Executed(), fresh));
    }

    public static TheoryData<string> Differences => ["fewer", "stream", "types", "kind", "error"];

    [Theory]
    [MemberData(nameof(Differences))]
    public void Compare_OtherStructure_NamesTheCell(string difference)
    {
        var fresh = Executed();
        fresh.Cells[0].SetOutputs(difference switch
        {
            "fewer" => [Stream("stdout", "x")],
            "stream" => [Stream("stderr", "x"), Display("image/png", "text/plain")],
            "types" => [Stream("stdout", "x"), Display("text/plain")],
            "kind" => [Stream("stdout", "x"), With(Display("image/png", "text/plain"), "execute_result")],
            _ => [Stream("stdout", "x"), Display("image/png", "text/plain"), With(new JsonObject(), "error")],
        });
        Assert.StartsWith(
            "Cell 1: stored are [stdout, display_data of image/png + text/plain], a fresh run gives [",
            Assert.Single(NotebookDrift.Compare(Executed(), fresh)),
            StringComparison.Ordinal);
    }

    [Fact]
    public void Compare_OtherNumberOfCells_SaysSo()
    {
        var fresh = Executed();
        fresh.Add(CellKind.Code, "more");
        Assert.Contains("1 cells of code, the fresh one 2", Assert.Single(NotebookDrift.Compare(Executed(), fresh)), StringComparison.Ordinal);
    }

    private static Notebook Executed()
    {
        var notebook = Notebook.Create();
        notebook.Add(CellKind.Code, "Console.WriteLine(1);").SetOutputs([Stream("stdout", "1\n"), Display("text/plain", "image/png")]);
        notebook.ExecutedCode = NotebookDrift.HashOf(notebook);
        return notebook;
    }

    private static JsonObject Stream(string name, string text) => new() { ["name"] = name, ["output_type"] = "stream", ["text"] = text };

    private static JsonObject Display(params string[] types) =>
        With(
            new JsonObject
            {
                ["data"] = new JsonObject(types.Select(type => KeyValuePair.Create(type, (JsonNode?)"x"))),
                ["metadata"] = new JsonObject(),
            },
            "display_data");

    private static JsonObject With(JsonObject output, string type)
    {
        output["output_type"] = type;
        return output;
    }
}
