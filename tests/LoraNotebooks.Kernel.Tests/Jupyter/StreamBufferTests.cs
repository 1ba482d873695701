using LoraNotebooks.Kernel.Jupyter;
using LoraNotebooks.Kernel.Notebooks;

namespace LoraNotebooks.Kernel.Tests.Jupyter;

public sealed class StreamBufferTests
{
    [Theory]
    [InlineData("plain", "plain")]
    [InlineData("a\r\nb\r\n", "a\r\nb\r\n")]
    [InlineData("\r1 %\r2 %\r3 %", "\r3 %")]
    [InlineData("goes on\r1 %\r2 %\r3 %\r", "goes on\r3 %\r")]
    [InlineData("\rlonger one\rlong\rs", "\rlonger one\rs")]
    [InlineData("\r1\r2\nnext\r3\r4\n", "\r2\nnext\r4\n")]
    [InlineData("\r\u001b[31m1\r2\r3", "\r\u001b[31m1\r2\r3")]
    public void WithoutOverwritten_Piece_KeepsWhatIsSeen(string piece, string expected) => Assert.Equal(expected, StreamBuffer.WithoutOverwritten(piece));

    [Fact]
    public void WithoutOverwritten_AnyPieces_LeaveTheSameText()
    {
        const string letters = "ab\r\rc\n";
        var random = new Random(1);
        for (var n = 0; n < 2_000; n++)
        {
            var (whole, thinned) = (new TerminalText(), new TerminalText());
            for (var piece = 0; piece < 4; piece++)
            {
                var text = string.Concat(Enumerable.Range(0, random.Next(12)).Select(_ => letters[random.Next(letters.Length)]));
                whole.Append(text);
                thinned.Append(StreamBuffer.WithoutOverwritten(text));
            }

            Assert.Equal(whole.ToString(), thinned.ToString());
        }
    }

    [Fact]
    public void Write_ProgressBar_SendsLittle()
    {
        var sent = 0;
        var buffer = new StreamBuffer((_, text) => sent += text.Length);
        for (var i = 0; i < 16_000; i++)
        {
            buffer.Write("stdout", $"\r[{new string('#', 40)}] step {i}/16000");
        }

        // A piece every 64,000 letters, or 20 times a second; all of it is a million.
        buffer.Flush();
        Assert.InRange(sent, 50, 200_000);
    }
}
