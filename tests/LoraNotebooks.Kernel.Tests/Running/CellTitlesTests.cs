using LoraNotebooks.Kernel.Notebooks;
using LoraNotebooks.Kernel.Running;

namespace LoraNotebooks.Kernel.Tests.Running;

public sealed class CellTitlesTests
{
    [Theory]
    [InlineData("# One", "One")]
    [InlineData("text\n###### Six levels ##", "Six levels")]
    [InlineData("####### seven", null)]
    [InlineData("#no room", null)]
    [InlineData("## `code` and **bold**", "code and bold")]
    [InlineData("  ## Indented", "Indented")]
    [InlineData("```\n# a comment of a shell\n```\n# The heading", "The heading")]
    [InlineData("```\n# a comment of a shell", null)]
    [InlineData("#", null)]
    [InlineData("", null)]
    [InlineData("# First\n# Second", "First")]
    public void Heading_Markdown_IsItsFirst(string markdown, string? expected)
    {
        var notebook = Notebook.Create();
        notebook.Add(CellKind.Code, "# not this");
        notebook.Add(CellKind.Raw, "# nor this");
        notebook.Add(CellKind.Markdown, markdown);
        Assert.Equal(expected, CellTitles.Heading(notebook));
        notebook.Add(CellKind.Markdown, "# Later");
        Assert.Equal(expected ?? "Later", CellTitles.Heading(notebook));
    }

    [Fact]
    public void Of_Cells_AreNamedByTheHeadingBeforeThemElseTheirFirstCommentElseTheirFirstLine()
    {
        (CellKind Kind, string Source)[] cells =
        [
            (CellKind.Markdown, "# Once"), (CellKind.Markdown, "no heading"), (CellKind.Code, "1"),
            (CellKind.Code, "\n  2 + 2  \n// a comment"), (CellKind.Code, "3\n4"), (CellKind.Code, "   \n"),
            (CellKind.Markdown, "# Twice"), (CellKind.Raw, "raw"), (CellKind.Markdown, "# Thrice"),
            (CellKind.Code, "// not this\n5"), (CellKind.Code, "//\n6"), (CellKind.Code, "/// <doc/>\n7"),
        ];
        var notebook = Notebook.Create();
        Assert.All(cells, cell => notebook.Add(cell.Kind, cell.Source));
        var titles = CellTitles.Of(notebook);
        Assert.Equal(["Once", "a comment", "3", "Thrice", "//", "<doc/>"], titles.Select(title => title.Title));
        Assert.Equal(["1", "\n  2 + 2  \n// a comment", "3\n4", "// not this\n5", "//\n6", "/// <doc/>\n7"], titles.Select(title => title.Cell.Source));
    }

    [Theory]
    [InlineData(60, "x*60")]
    [InlineData(61, "x*59…")]
    public void Of_LongTitle_IsCutAtSixtyLetters(int length, string expected)
    {
        var notebook = Notebook.Create();
        notebook.Add(CellKind.Code, new string('x', length));
        Assert.Equal(new string('x', int.Parse(expected[2..4])) + expected[4..], Assert.Single(CellTitles.Of(notebook)).Title);
    }
}
