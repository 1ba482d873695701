using LoraNotebooks.Kernel.Notebooks;
using LoraNotebooks.Kernel.Running;

namespace LoraNotebooks.Kernel.Tests.Running;

/// <summary>Cells in other languages than C#.</summary>
public sealed class CellCodeTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("csharp", "text")]
    [InlineData("C#", "text")]
    [InlineData("html", "#!html\ntext")]
    [InlineData("markdown", "#!markdown\ntext")]
    [InlineData("mermaid", "#!mermaid\ntext")]
    [InlineData("fsharp", "#!fsharp\ntext")]
    [InlineData("mystery", "#!mystery\ntext")]
    [InlineData("", "text")]
    public void Of_CellOfALanguage_HasTheMagicOfIt(string language, string expected) => Assert.Equal(expected, CellCode.Of(Make((language, "text")).Cells[0]));

    [Theory]
    [InlineData(1, "Cell 1 is F#; only C# runs here, and Markdown, HTML and Mermaid are shown. Tag such cells \"skip\" to run the others.")]
    [InlineData(2, "Cell 1 is F#, cell 2 is F#; only C# runs here, and Markdown, HTML and Mermaid are shown. Tag such cells \"skip\" to run the others.")]
    [InlineData(10, null)]
    [InlineData(11, ". So it is with 1 more. Tag such cells \"skip\" to run the others.")]
    [InlineData(13, ". So it is with 3 more. Tag such cells \"skip\" to run the others.")]
    public void Refusal_CellsOfAnotherLanguage_NamesTenAtMost(int count, string? end)
    {
        var refusal = CellCode.Refusal(Make([.. Enumerable.Repeat(("fsharp", "1"), count)]))!;
        Assert.EndsWith(end ?? "are shown. Tag such cells \"skip\" to run the others.", refusal, StringComparison.Ordinal);
        Assert.Equal(Math.Min(count, 10), refusal.Split(" is F#").Length - 1);
        Assert.Equal(1, refusal.Split("; only C# runs here").Length - 1);
        Assert.StartsWith("Cell 1 is F#", refusal, StringComparison.Ordinal);
    }

    [Fact]
    public void Refusal_WhatRunsOrIsShownOrIsNotRun_IsNone() =>
        Assert.Null(CellCode.Refusal(Make(
            ("csharp", "1"),
            ("html", "#!fsharp"),
            ("markdown", "m"),
            ("", "1"),
            ("fsharp skip", "1"),
            ("fsharp raises-exception", "1"),
            ("fsharp", "  "))));

    [Theory]
    [InlineData("1\n#!fsharp\nlet x = 1", "Cell 2 is F#;")]
    [InlineData("#!js\n1\n#!pwsh\n2", "Cell 2 is JavaScript;")]
    [InlineData("#!html\n<b>", null)]
    [InlineData("#!who", null)]
    [InlineData("#i \"nuget: x\"", null)]
    public void Refusal_PartOfACell_IsNamedByItsLanguage(string code, string? expected)
    {
        var refusal = CellCode.Refusal(Make(("", "1"), ("", code)));
        Assert.Equal(expected, refusal?[..expected!.Length]);
    }

    private Notebook Make(params (string Language, string Source)[] cells) => Notebook.Load(PolyglotNotebook.Write(_folder, cells));
}
