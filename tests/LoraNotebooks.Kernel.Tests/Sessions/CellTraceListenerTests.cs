using System.Diagnostics;
using LoraNotebooks.Kernel.Sessions;

namespace LoraNotebooks.Kernel.Tests.Sessions;

public sealed class CellTraceListenerTests
{
    [Fact]
    public void Install_ListenerOfNet_MakesRoomUntilTheEnd()
    {
        // Whether .NET's own is there depends on what hosts the tests.
        TraceListener[] before = [.. Trace.Listeners.Cast<TraceListener>()];
        using var other = new ConsoleTraceListener();
        TraceListener[] listeners = [new DefaultTraceListener(), other];
        Trace.Listeners.Clear();
        try
        {
            Trace.Listeners.AddRange(listeners);
            using var listener = new CellTraceListener();
            listener.Install();
            Assert.Equal([other, listener], Trace.Listeners.Cast<TraceListener>());
            listener.Remove();
            Assert.Equal(listeners, Trace.Listeners.Cast<TraceListener>());
            Trace.Listeners.RemoveAt(0);
            listener.Install();
            Assert.Equal([other, listener], Trace.Listeners.Cast<TraceListener>());
        }
        finally
        {
            Trace.Listeners.Clear();
            Trace.Listeners.AddRange(before);
        }
    }

    [Theory]
    [InlineData(null, null, "An assertion failed.")]
    [InlineData("", "", "An assertion failed.")]
    [InlineData("a", null, "An assertion failed: a")]
    [InlineData("a", "b", "An assertion failed: a b")]
    [InlineData("", "b", "An assertion failed: b")]
    public void Fail_Message_IsThatOfAnException(string? message, string? detail, string expected)
    {
        using var listener = new CellTraceListener();
        Assert.Equal(expected, Assert.Throws<InvalidOperationException>(() => listener.Fail(message, detail)).Message);
        if (detail is null)
        {
            Assert.Equal(expected, Assert.Throws<InvalidOperationException>(() => listener.Fail(message)).Message);
        }
    }

    [Fact]
    public void Write_Lines_AreIndentedOnceEach()
    {
        var before = Console.Out;
        using var written = new StringWriter { NewLine = "\n" };
        Console.SetOut(written);
        try
        {
            using var listener = new CellTraceListener { IndentLevel = 2, IndentSize = 3 };
            listener.Write("a");
            listener.Write("b");
            listener.WriteLine("c");
            listener.WriteLine(null);
            listener.Write("d");
        }
        finally
        {
            Console.SetOut(before);
        }

        Assert.Equal("      abc\n      \n      d", written.ToString().ReplaceLineEndings("\n"));
    }
}
