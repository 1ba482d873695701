using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using LoraNotebooks.Interactive;
using LoraNotebooks.Kernel.Notebooks;
using LoraNotebooks.Kernel.Running;
using LoraNotebooks.Kernel.Sessions;

namespace LoraNotebooks.Kernel.Tests.Running;

/// <summary>What a notebook keeps of a cell.</summary>
public sealed class CellOutputsTests
{
    private readonly List<string> _heard = [];
    private readonly CellOutputs _outputs;

    public CellOutputsTests() => _outputs = new CellOutputs(3, (text, isError) => _heard.Add($"{(isError ? "!" : "")}{text}"), text => _heard.Add($"<{text}>"));

    [Fact]
    public void Outputs_OfEveryKind_AreLaidOutAsNbformatAsks()
    {
        _outputs.Write("a", isError: false);
        _outputs.Write("b\nc", isError: false);
        _outputs.Write("d", isError: true);
        _outputs.Write("e", isError: false);
        var shown = _outputs.Display(MimeBundle.FromText("f").With(MimeTypes.Html, "<b>f</b>").With(MimeTypes.Stop, "id").With(MimeTypes.Run, "id"));
        _outputs.AddResult(MimeBundle.FromText("g"), 7);
        _outputs.AddError(new CellError("Name", "message", ["line"]));
        shown.Update(MimeBundle.FromText("h"));
        _outputs.Write("i", isError: false);
        Assert.Equal(
            """
            {"name":"stdout","output_type":"stream","text":["ab\n","c"]}
            {"name":"stderr","output_type":"stream","text":["d"]}
            {"name":"stdout","output_type":"stream","text":["e"]}
            {"data":{"text/plain":"h"},"metadata":{},"output_type":"display_data"}
            {"data":{"text/plain":"g"},"execution_count":7,"metadata":{},"output_type":"execute_result"}
            {"ename":"Name","evalue":"message","traceback":["line"],"output_type":"error"}
            {"name":"stdout","output_type":"stream","text":["i"]}
            """.ReplaceLineEndings("\n"),
            Text());
        Assert.Equal(["a", "b\nc", "!d", "e", "<f>", "<h>", "i"], _heard);
        Assert.Equal(3, _outputs.Number);
        Assert.False(_outputs.Cancellation.CanBeCanceled);
        Assert.Throws<ArgumentNullException>(() => _outputs.Display(null!));
        Assert.Throws<ArgumentNullException>(() => shown.Update(null!));
    }

    [Fact]
    public void Display_WhatStopsTheWork_IsNotKept()
    {
        var shown = _outputs.Display(MimeBundle.FromText("f").With(MimeTypes.Stop, "id").With(MimeTypes.Run, "id"));
        Assert.Equal("""{"data":{"text/plain":"f"},"metadata":{},"output_type":"display_data"}""", Text());
        shown.Update(MimeBundle.Empty.With(MimeTypes.Html, "x").With(MimeTypes.Stop, "id"));
        Assert.Equal("""{"data":{"text/html":"x"},"metadata":{},"output_type":"display_data"}""", Text());
        Assert.Equal(["<f>", "<>"], _heard);
    }

    [Fact]
    public void TakeChanges_NothingNew_IsNull()
    {
        Assert.Empty(_outputs.TakeChanges()!);
        Assert.Null(_outputs.TakeChanges());
        _outputs.Write("a", isError: false);
        Assert.Single(_outputs.TakeChanges()!);
        Assert.Null(_outputs.TakeChanges());
        var shown = _outputs.Display(MimeBundle.FromText("b"));
        Assert.Equal(2, _outputs.TakeChanges()!.Count);
        shown.Update(MimeBundle.FromText("c"));
        Assert.NotNull(_outputs.TakeChanges());
        _outputs.Clear(wait: true);
        Assert.Null(_outputs.TakeChanges());
        _outputs.Clear();
        Assert.Empty(_outputs.TakeChanges()!);
        _outputs.AddError(new CellError("", "", []));
        Assert.Single(_outputs.TakeChanges()!);
        Assert.Null(_outputs.TakeChanges());
    }

    [Fact]
    public void TakeChanges_WhatItGives_ChangesNoMore()
    {
        _outputs.Write("a", isError: false);
        var before = _outputs.TakeChanges()!;
        before[0]["text"] = "changed";
        _outputs.Write("b", isError: false);
        Assert.Equal("""{"name":"stdout","output_type":"stream","text":["ab"]}""", Text());
        Assert.Equal("changed", (string?)before[0]["text"]);
    }

    [Fact]
    public void Clear_BeforeTheNextOutput_WaitsForItWhateverItIs()
    {
        Action[] next =
        [
            () => _outputs.Write("b", isError: false),
            () => _outputs.Display(MimeBundle.FromText("b")),
            () => _outputs.AddResult(MimeBundle.FromText("b"), 1),
        ];
        Assert.All(next, add =>
        {
            _outputs.Clear();
            _outputs.Write("a", isError: false);
            Assert.Contains("\"a\"", Text(), StringComparison.Ordinal);
            _outputs.Clear(wait: true);
            Assert.Null(_outputs.TakeChanges());
            add();
            Assert.Contains("\"b\"", Assert.Single(Kept()).ToJsonString(), StringComparison.Ordinal);
        });
    }

    [Theory]
    [InlineData(1_000_000, 0)]
    [InlineData(999_999, 1)]
    [InlineData(600_000, 400_000)]
    public void Write_AMillionCharacters_AreKeptAndTheRestIsSaidToBeMissing(int first, int second)
    {
        _outputs.Write(new string('x', first), isError: false);
        _outputs.Write(new string('y', second + 10), isError: second > 1);
        _outputs.Write("z", isError: false);
        _outputs.Display(MimeBundle.FromText("shown all the same"));
        var texts = Kept().Select(output => Notebook.JoinText(output["text"])).ToArray();
        Assert.Equal(new string('x', first) + (second <= 1 ? new string('y', second) + "\n… the rest is not kept in the notebook.\n" : ""), texts[0]);
        Assert.Equal(second > 1 ? 3 : 2, texts.Length);
        if (second > 1)
        {
            Assert.Equal(new string('y', second) + "\n… the rest is not kept in the notebook.\n", texts[1]);
        }

        Assert.Equal(3, _heard.Count(text => !text.StartsWith('<')));
        _outputs.Clear();
        _outputs.Write("again", isError: false);
        Assert.Equal("again", Notebook.JoinText(Assert.Single(Kept())["text"]));
    }

    [Fact]
    public void Write_ProgressBar_CostsWhatIsLeftOfIt()
    {
        for (var i = 0; i < 200_000; i++)
        {
            _outputs.Write($"\r{i % 10} of it", isError: false);
        }

        Assert.Equal("9 of it", Notebook.JoinText(Assert.Single(Kept())["text"]));
    }

    private IReadOnlyList<JsonObject> Kept() => _outputs.TakeChanges()!;

    private string Text() => string.Join(
        '\n',
        Kept().Select(output => output.ToJsonString(new JsonSerializerOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping })));
}
