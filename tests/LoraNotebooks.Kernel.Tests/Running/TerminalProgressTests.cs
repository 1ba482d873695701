using LoraNotebooks.Kernel.Running;
using LoraNotebooks.Kernel.Sessions;
using Microsoft.Extensions.Time.Testing;
using Spectre.Console;

namespace LoraNotebooks.Kernel.Tests.Running;

public sealed class TerminalProgressTests : IDisposable
{
    private readonly StringWriter _written = new();
    private readonly FakeTimeProvider _time = new();
    private readonly TerminalProgress _progress;

    public TerminalProgressTests() => _progress = Make(AnsiSupport.No);

    public void Dispose() => _written.Dispose();

    [Fact]
    public void Output_ProgressBar_LeavesItsLastState()
    {
        _progress.CellStarted(1, 1, "bar");
        _progress.Output("before\r\n\r 1 %", isError: false);
        _progress.Output("\r 2 %", isError: false);
        _progress.Output("\r 3 %\nafter", isError: false);
        _progress.CellEnded(succeeded: true, TimeSpan.FromSeconds(1));
        Assert.Equal(["  │ before", "  │  3 %", "  │ after", "  ✓  cell 1 of 1 · bar  1.0 s"], Lines());
    }

    [Fact]
    public void Output_ColourCodesAndBrackets_AreNotPrintedAsText()
    {
        _progress.Output("\u001b[31m[red]\u001b[0m \u001b[1mbold\u001b[0m a\tb\u0007c\n", isError: false);
        Assert.Equal(["  │ [red] bold a\tbc"], Lines());
    }

    [Fact]
    public void Output_Lines_AreShownOnceTheyEndAndAnUnfinishedOneWithItsCell()
    {
        _progress.CellStarted(2, 3, "t");
        _progress.Output("one\n\ntw", isError: false);
        Assert.Equal(["  │ one", "  │ "], Lines());
        _progress.Output("o\nthree", isError: true);
        Assert.Equal(["  │ one", "  │ ", "  │ two"], Lines());
        _progress.CellEnded(succeeded: false, TimeSpan.FromSeconds(75));
        Assert.Equal(["  │ one", "  │ ", "  │ two", "  │ three", "  ✗  cell 2 of 3 · t  1 min 15 s"], Lines());
        _progress.CellEnded(succeeded: false, TimeSpan.Zero);
        Assert.Equal(6, Lines().Length);
    }

    [Fact]
    public void Output_LineWithoutAnEnd_IsShownInPieces()
    {
        _progress.CellStarted(1, 1, "t");
        _progress.Output(new string('x', (1 << 16) - 1), isError: false);
        Assert.Empty(Lines());
        _progress.Output("y", isError: false);
        _progress.Output("z\n", isError: false);
        Assert.Equal(["  │ " + new string('x', (1 << 16) - 1) + "y", "  │ z"], Lines());
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

    [Fact]
    public void Status_OfALongCell_IsNewsEveryFifteenSeconds()
    {
        _progress.NotebookStarted("folder/n.ipynb", 2);
        _progress.CellStarted(1, 2, "first");
        _progress.Status("too soon");
        _time.Advance(TimeSpan.FromSeconds(14.9));
        _progress.Status("still too soon");
        Assert.Equal(["n.ipynb  2 cells"], Lines());
        _time.Advance(TimeSpan.FromSeconds(0.1));
        _progress.Status("  \n");
        _progress.Status("  50 % [of it]\nsecond line");
        _progress.Status("again too soon");
        _time.Advance(TimeSpan.FromSeconds(15));
        _progress.Status(new string('x', 101));
        _time.Advance(TimeSpan.FromSeconds(15));
        _progress.Output("\rby output " + new string('x', 90), isError: false);
        Assert.Equal(
            [
                "n.ipynb  2 cells", "  …  cell 1 of 2 · first · 50 % [of it]", "  …  cell 1 of 2 · first · " + new string('x', 100) + "…",
                "  …  cell 1 of 2 · first · by output " + new string('x', 90),
            ],
            Lines());
    }

    [Fact]
    public void Output_LineThatIsOverwritten_IsLookedAtTenTimesASecond()
    {
        _progress.CellStarted(1, 1, "t");
        _progress.Output("\rone", isError: false);
        _time.Advance(TimeSpan.FromSeconds(15) - TimeSpan.FromMilliseconds(99));
        _progress.Output("\rtwo", isError: false); // a look, too soon for news
        _time.Advance(TimeSpan.FromMilliseconds(99));
        _progress.Output("\rthree", isError: false);
        Assert.Empty(Lines());
        _time.Advance(TimeSpan.FromMilliseconds(1));
        _progress.Output("\rfourth", isError: false);
        Assert.Equal(["  …  cell 1 of 1 · t · fourth"], Lines());
    }

    [Fact]
    public void Status_BeforeTheFirstCell_StandsAlone()
    {
        _progress.Status("Restoring A …");
        Assert.Equal(["  …  Restoring A …"], Lines());
    }

    [Theory]
    [InlineData(RunExit.CellFailed, "failed")]
    [InlineData(RunExit.TimedOut, "ran out of time")]
    [InlineData(RunExit.Canceled, "was stopped")]
    public void NotebookEnded_CellThatEndedIt_IsShownWithItsError(RunExit exit, string word)
    {
        _progress.NotebookEnded(
            new RunOutcome(
                exit,
                "out/n.ipynb",
                "out/n.html",
                (2, "a [title]"),
                new CellError("E", "m", ["one [x]", "\u001b[31mtwo\u001b[0m"]),
                StillRunning: false),
            TimeSpan.FromSeconds(62));
        Assert.Equal(
            [
                "", $"Cell 2 (a [title]) {word}:", "  one [x]", "  two", "",
                "Not finished after 1 min 02 s.", "  page      out/n.html", "  notebook  out/n.ipynb",
            ],
            Lines());
    }

    [Fact]
    public void NotebookEnded_WithoutAFault_NamesWhatWasWritten()
    {
        _progress.NotebookStarted("n.ipynb", 1);
        _progress.CellSkipped(1, 1, "left [out]");
        _progress.NotebookEnded(new RunOutcome(RunExit.Ok, null, "p [1].html", null, null, StillRunning: false), TimeSpan.FromSeconds(1));
        _progress.NotebookEnded(new RunOutcome(RunExit.Ok, "n.ipynb", null, null, null, StillRunning: false), TimeSpan.FromSeconds(1));
        Assert.Equal(
            [
                "n.ipynb  1 cell", "  –  cell 1 of 1 · left [out]  skipped",
                "Done after 1.0 s.", "  page      p [1].html", "Done after 1.0 s.", "  notebook  n.ipynb",
            ],
            Lines());
    }

    [Fact]
    public void Refused_Lines_AreShownOneByOne()
    {
        _progress.Refused("one [x]\r\ntwo");
        _progress.Say("three [y]");
        Assert.Equal(["one [x]", "two", "three [y]"], Lines());
    }

    [Fact]
    public void Line_LongerThanAnyTerminal_IsNotBrokenInAFile()
    {
        _progress.Say(string.Join(' ', Enumerable.Repeat("word", 800)));
        Assert.Single(Lines());
    }

    [Fact]
    public void Output_OnATerminalWithColours_HasItsOwnElseTheStreams()
    {
        var progress = Make(AnsiSupport.Yes);
        progress.Output("usual \u001b[31mred\u001b[0m \u001b[1mbold\u001b[0m\n", isError: false);
        progress.Output("error\n", isError: true);
        progress.CellEnded(succeeded: true, TimeSpan.Zero);
        var text = _written.ToString();
        Assert.Contains("\u001b[2musual \u001b[0m", text, StringComparison.Ordinal);
        Assert.Contains("\u001b[38;5;1mred\u001b[0m", text, StringComparison.Ordinal);
        Assert.Contains("\u001b[1mbold\u001b[0m", text, StringComparison.Ordinal);
        Assert.Contains("\u001b[38;5;11merror\u001b[0m", text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task RunAsync_WithoutATerminal_GivesWhatTheWorkGives() => Assert.Equal(7, await _progress.RunAsync(() => Task.FromResult(7)));

    private TerminalProgress Make(AnsiSupport ansi) => new(
        AnsiConsole.Create(new AnsiConsoleSettings
        {
            Ansi = ansi,
            ColorSystem = ColorSystemSupport.EightBit,
            Interactive = InteractionSupport.No,
            Out = new AnsiConsoleOutput(_written),
        }),
        _time);

    private string[] Lines() => _written.ToString().ReplaceLineEndings("\n").Split('\n')[..^1];
}
