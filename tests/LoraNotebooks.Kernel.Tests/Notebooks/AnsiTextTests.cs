using LoraNotebooks.Kernel.Notebooks;

namespace LoraNotebooks.Kernel.Tests.Notebooks;

public sealed class AnsiTextTests
{
    [Theory]
    [InlineData("plain", "plain")]
    [InlineData("\u001b[31mred\u001b[0m, not", "<1>red</>, not")]
    [InlineData("\u001b[0;32mgreen \u001b[1mand bold\u001b[22;39m end", "<2>green </><2!>and bold</> end")]
    [InlineData("\u001b[91mbright\u001b[mplain", "<9>bright</>plain")]
    [InlineData("\u001b[38;5;196m256\u001b[38;2;1;2;31mtrue\u001b[48;5;3mground\u001b[4munder", "256truegroundunder")]
    [InlineData("a\u001b[2Kb\u001b]0;title\u0007c", "abc")]
    public void Runs_Codes_BecomeStyles(string text, string expected)
    {
        var shown = string.Concat(AnsiText.Runs(text).Select(run =>
            run is { Letters: null, IsBold: false } ? run.Text : $"<{run.Letters}{(run.IsBold ? "!" : "")}>{run.Text}</>"));
        Assert.Equal(expected, shown);
        Assert.Equal(AnsiText.Plain(text), string.Concat(AnsiText.Runs(text).Select(run => run.Text)));
    }
}
