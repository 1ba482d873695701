using LoraNotebooks.Kernel.Running;
using Spectre.Console;

namespace LoraNotebooks.Kernel.Tests.Running;

public sealed class TerminalProgressTests : IDisposable
{
    private readonly StringWriter _written = new();
    private readonly TerminalProgress _progress;

    public TerminalProgressTests() =>
        _progress = new TerminalProgress(AnsiConsole.Create(new AnsiConsoleSettings
        {
            Ansi = AnsiSupport.No,
            Interactive = InteractionSupport.No,
            Out = new AnsiConsoleOutput(_written),
        }));

    public void Dispose() => _written.Dispose();

    [Fact]
    public void Output_ProgressBar_LeavesItsLastState()
    {
        _progress.CellStarted(1, 1, "bar");
        _progress.Output("before\r\n\r 1 %", isError: false);
        _progress.Output("\r 2 %", isError: false);
        _progress.Output("\r 3 %\nafter", isError: false);
        _progress.CellEnded(succeeded: true, TimeSpan.FromSeconds(1));
        var lines = _written.ToString().Split('\n', StringSplitOptions.TrimEntries);
        Assert.Equal(["│ before", "│  3 %", "│ after"], lines[..3]);
    }

    [Fact]
    public void Output_ColourCodesAndBrackets_AreNotPrintedAsText()
    {
        _progress.Output("\u001b[31m[red]\u001b[0m \u001b[1mbold\u001b[0m\n", isError: false);
        Assert.Equal("│ [red] bold", _written.ToString().Trim());
    }

    [Fact]
    public void Output_LineWithoutAnEnd_CostsWhatIsPrinted()
    {
        var before = GC.GetAllocatedBytesForCurrentThread();
        for (var i = 0; i < 16_000; i++)
        {
            _progress.Output($"\r[{new string('#', 40)}] step {i}/16000", isError: false);
        }

        for (var i = 0; i < 20_000; i++)
        {
            _progress.Output("some letters and no end of the line", isError: false);
        }

        // A copy of the whole line for each piece would be some 20 GB.
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 500_000_000);
    }
}
