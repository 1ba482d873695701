using System.Collections.Concurrent;
using LoraNotebooks.Interactive;
using LoraNotebooks.Kernel.Sessions;

namespace LoraNotebooks.Kernel.Tests.Sessions;

/// <summary>What cells print, and by which ways.</summary>
public sealed class CellConsoleTests : IDisposable
{
    private readonly BlockingCollection<(string Text, INotebookHost Host)> _out = [];
    private readonly TextWriter _before = Console.Out;
    private readonly TextWriter _beforeError = Console.Error;
    private readonly CSharpSession _session;

    public CellConsoleTests() => _session = new CSharpSession(new CSharpSessionOptions
    {
        StandardOutput = text => _out.Add((text, NotebookHost.Current)),
        StandardError = text => _out.Add(($"<{text}>", NotebookHost.Current)),
    });

    public void Dispose()
    {
        _session.Dispose();
        _out.Dispose();
    }

    [Fact]
    public async Task Console_OfACell_GoesToTheSinksAndComesBackWithTheSessionsEnd()
    {
        await RunAsync("Console.WriteLine(\"to out\"); Console.Error.Write(\"to error\"); await Task.Run(() => Console.Write(\"from a task\"));");
        Assert.Equal($"to out{Environment.NewLine}<to error>from a task", Text());
        _session.Dispose();
        Assert.Same(_before, Console.Out);
        Assert.Same(_beforeError, Console.Error);
    }

    [Theory]
    [InlineData("a task", "_ = Task.Run(() => { go.Wait(); Console.Write(\"late\"); });")]
    [InlineData("a thread", "new Thread(() => { go.Wait(); Console.Write(\"late\"); }).Start();")]
    [InlineData("a thread without the context", "using (ExecutionContext.SuppressFlow()) new Thread(() => { go.Wait(); Console.Write(\"late\"); }).Start();")]
    [InlineData("a writer that was kept", "var kept = Console.Out; new Thread(() => { go.Wait(); kept.Write(\"late\"); }).Start();")]
    public async Task Console_OfWhatACellLeftBehind_ArrivesAtItWhenNoCellRuns(string what, string code)
    {
        var host = new Host();
        using (NotebookHost.Use(host))
        {
            await RunAsync("var go = new ManualResetEventSlim();");
            await RunAsync(code);
        }

        ((ManualResetEventSlim)_session.Variables["go"]!).Set();
        Assert.True(_out.TryTake(out var late, TimeSpan.FromSeconds(30)), what);
        Assert.Equal("late", late.Text);
        Assert.Same(host, late.Host);
    }

    [Fact]
    public async Task Console_Colours_BecomeCodesAndDoNotReachTheNextCell()
    {
        await RunAsync(
            "Console.ForegroundColor = ConsoleColor.DarkRed; Console.Write(\"red\"); Console.Write(\"still\"); "
                + "Console.ResetColor(); Console.Write(\"plain\");");
        Assert.Equal("\u001b[0m\u001b[31mredstill\u001b[0mplain", Text());
        await RunAsync("Console.ForegroundColor = ConsoleColor.Blue; Console.BackgroundColor = ConsoleColor.DarkYellow; Console.Write(\"x\");");
        Assert.Equal("\u001b[0m\u001b[94m\u001b[43mx", Text());
        await RunAsync("Console.Write(\"fresh\");");
        Assert.Equal("fresh", Text());
    }

    [Fact]
    public async Task Console_EveryColour_HasTheCodeOfATerminal()
    {
        // ConsoleColor counts in the order of DOS, a terminal by red, green and blue; the bright ones are 60 further.
        int[] order = [0, 4, 2, 6, 1, 5, 3, 7];
        await RunAsync("""
            foreach (var colour in Enum.GetValues<ConsoleColor>()) { Console.ForegroundColor = colour; Console.Write("l"); Console.ResetColor(); }
            foreach (var colour in Enum.GetValues<ConsoleColor>()) { Console.BackgroundColor = colour; Console.Write("g"); Console.ResetColor(); }
            """);
        IEnumerable<string> Codes(int first, string letter) =>
            Enumerable.Range(0, 16).Select(i => $"\u001b[0m\u001b[{first + order[i % 8] + (i < 8 ? 0 : 60)}m{letter}");
        Assert.Equal(string.Concat([.. Codes(30, "l"), .. Codes(40, "g")]), Text());
    }

    [Fact]
    public async Task Console_DebugAndTrace_ArriveIndented()
    {
        await RunAsync("""
            System.Diagnostics.Debug.WriteLine("debug");
            System.Diagnostics.Debug.Indent();
            System.Diagnostics.Trace.WriteLine("trace");
            System.Diagnostics.Debug.Unindent();
            System.Diagnostics.Debug.Write("a"); System.Diagnostics.Debug.WriteLine("b");
            """);
        Assert.Equal("debug\n    trace\nab\n", Text().ReplaceLineEndings("\n"));
    }

    [Fact]
    public async Task Console_FailedAssertion_IsAnErrorOfTheCell()
    {
        var result = await _session.RunAsync("System.Diagnostics.Debug.Assert(1 > 2, \"the sum\");", "cell 1");
        Assert.Equal("An assertion failed: the sum", result.Error!.Message);
    }

    [Fact]
    public async Task Console_ReadingLettersOfALongLine_CopiesItOnce()
    {
        var line = new string('x', 100_000);
        using var session = new CSharpSession(new CSharpSessionOptions { ReadLine = () => line });
        var result = await session.RunAsync(
            "var before = GC.GetAllocatedBytesForCurrentThread(); while (Console.Read() != '\\n') ; GC.GetAllocatedBytesForCurrentThread() - before",
            "cell 1");

        // A copy for each letter would be 10 GB.
        Assert.InRange((long)result.Value!, 0, 10_000_000);
    }

    private async Task RunAsync(string code)
    {
        var result = await _session.RunAsync(code, "cell 1");
        Assert.True(result.Error is null, string.Join('\n', result.Error?.Traceback ?? []));
    }

    private string Text()
    {
        var text = "";
        while (_out.TryTake(out var written))
        {
            text += written.Text;
        }

        return text;
    }

    private sealed class Host : INotebookHost
    {
        public IDisplayHandle Display(MimeBundle bundle) => throw new NotSupportedException();
    }
}
