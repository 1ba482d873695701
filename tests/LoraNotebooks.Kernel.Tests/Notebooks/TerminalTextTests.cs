using LoraNotebooks.Kernel.Notebooks;

namespace LoraNotebooks.Kernel.Tests.Notebooks;

public sealed class TerminalTextTests
{
    [Theory]
    [InlineData("plain\ntext", "plain\ntext")]
    [InlineData("one\r\ntwo\r\n", "one\ntwo\n")]
    [InlineData("10 %\r50 %\r100 %\n", "100 %\n")]
    [InlineData("100 %\rdone", "done%")]
    [InlineData("abc\r", "abc")]
    [InlineData("abc\r\r\rx\n", "xbc\n")]
    [InlineData("\u001b[32m100 %\u001b[0m\rok", "ok")]
    [InlineData("\u001b[31mred\u001b[0m\nlonger\rab", "\u001b[31mred\u001b[0m\nabnger")]
    [InlineData("ab\u001b[0mcd\rx\ry", "y")]
    [InlineData("a long line\r\u001b[Kshort", "\u001b[Kshort")]
    public void Fold_CarriageReturns_OverwriteTheLine(string text, string expected) => Assert.Equal(expected, TerminalText.Fold(text));

    [Fact]
    public void Append_PiecesOfAnySize_GiveTheSameText()
    {
        const string text = "start\n  1 %\r 50 %\r100 %\r\nend\rEND";
        for (var size = 1; size <= text.Length; size++)
        {
            var folded = new TerminalText();
            foreach (var piece in text.Chunk(size))
            {
                folded.Append(piece);
            }

            Assert.Equal("start\n100 %\nEND", folded.ToString());
            Assert.Equal("start\n100 %\nEND".Length, folded.Length);
        }
    }

    [Fact]
    public void Append_ManyPiecesToALongLine_CopiesEachLetterAFewTimes()
    {
        var folded = new TerminalText();
        var before = GC.GetAllocatedBytesForCurrentThread();
        for (var i = 0; i < 20_000; i++)
        {
            folded.Append("a hundred letters, more or less, none of which is the end of a line, and so on and on and on ......");
        }

        for (var i = 0; i < 20_000; i++)
        {
            folded.Append("\r 12 %");
        }

        // Twice the text and its doublings; one copy of the line for each piece would be 40 GB.
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 50_000_000);
        Assert.StartsWith(" 12 %dred letters", folded.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public void DropFinishedLines_InTheMiddleOfALine_KeepsThatAndItsColumn()
    {
        var folded = new TerminalText();
        folded.Append("one\ntwo\n\u001b[32m 10 %\r");
        Assert.Equal("one\ntwo\n", folded.FinishedLines);
        folded.DropFinishedLines();
        folded.Append("20 %");
        Assert.Equal("20 %", folded.ToString());
        folded.Append("\n");
        Assert.Equal("20 %\n", folded.FinishedLines);
        Assert.Equal("", folded.UnfinishedLine);
    }
}
