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
}
