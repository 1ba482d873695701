using System.Diagnostics;
using System.Globalization;
using System.Text.Json.Nodes;
using LoraNotebooks.Kernel.Jupyter;

namespace LoraNotebooks.Kernel.Tests.Jupyter;

/// <summary>What stops a kernel, what it survives, and how it ends.</summary>
public sealed class KernelLifeTests
{
    [Theory]
    [InlineData("an endless loop", "var kept = 5; while (true) { kept = 6; }", "6")]
    [InlineData("an endless loop after an await", "var kept = 5; await Task.Delay(1); while (true) { kept = 7; }", "7")]
    [InlineData("a loop that catches everything", "var kept = 8; while (true) { try { Thread.Sleep(1); } catch { } }", "8")]
    [InlineData("a sleep", "var kept = 9; Thread.Sleep(60_000);", "9")]
    [InlineData("an awaited task", "var kept = 10; await Task.Delay(60_000);", "10")]
    [InlineData("a task that is waited for", "var kept = 11; Task.Delay(60_000).Wait();", "11")]
    [InlineData("work that watches the token", "var kept = 12; while (true) { Cancellation.ThrowIfCancellationRequested(); Thread.Sleep(5); }", "12")]
    [InlineData("native code in a loop", "var kept = 13; var m = torch.ones(300, 300); while (true) { using var p = m.mm(m); }", "13")]
    [InlineData("a question to the front end", "var kept = 14; Console.ReadLine();", "14")]
    public void Interrupt_WhateverRuns_StopsAndTheSessionLivesOn(string what, string code, string kept)
    {
        using var kernel = new KernelClient();
        kernel.Execute("var before = 3; torch.ones(1).ToString();");
        Stopwatch? clock = null;
        var told = code.Insert(code.IndexOf(';', StringComparison.Ordinal) + 1, " Console.Write(\"running\");");
        var cell = kernel.Ask("execute_request", new JsonObject { ["code"] = told, ["allow_stdin"] = true }, meanwhile: () =>
        {
            // However long the cell is compiled: it has begun, and comes to what it stays in.
            kernel.Hear(message => message.Type == "stream");
            Thread.Sleep(1_000);
            clock = Stopwatch.StartNew();
            kernel.Send("interrupt_request", channel: Channel.Control);
        });
        Assert.Equal("error", cell.Status);
        Assert.Equal("Canceled", Assert.Single(cell.Outputs, output => output.Type == "error").Text("ename"));

        // Below the 30 s after which a cell that took the token is ended: whether it stops is tested here, how fast is measured by the benchmark.
        Assert.True(clock!.Elapsed < TimeSpan.FromSeconds(25), $"{what} took {clock.Elapsed}");
        Assert.Equal("3", kernel.Execute("before").Result);
        Assert.Equal(kept, kernel.Execute("kept").Result);
    }

    [Fact]
    public void Interrupt_CellsThatWereWaiting_AreAborted()
    {
        using var kernel = new KernelClient();
        var running = kernel.Send("execute_request", new JsonObject { ["code"] = "Console.Write(\"running\"); while (true) { }" });
        var waiting = kernel.Send("execute_request", new JsonObject { ["code"] = "\"waited\"" });
        kernel.Hear(message => message.Type == "stream");
        kernel.Send("interrupt_request", channel: Channel.Control);
        Assert.Equal("error", kernel.Await(running).Status);
        Assert.Equal("aborted", kernel.Await(waiting).Status);
        Assert.Equal("1", kernel.Execute("1").Result);
    }

    [Fact]
    public void Interrupt_WhenNothingRuns_IsAnsweredAndStopsNothingLater()
    {
        using var kernel = new KernelClient();
        Assert.Equal("ok", kernel.Ask("interrupt_request", channel: Channel.Control).Status);
        Assert.Equal("2", kernel.Execute("Thread.Sleep(50); 2").Result);
    }

    [Fact]
    public void Shutdown_WhileACellRuns_IsAnsweredAndEndsTheProcess()
    {
        using var kernel = new KernelClient();
        kernel.Send("execute_request", new JsonObject
        {
            ["code"] = "new Thread(() => Thread.Sleep(Timeout.Infinite)).Start(); Console.Write(\"running\"); while (true) { }",
        });
        kernel.Hear(message => message.Type == "stream");
        var shutdown = kernel.Ask("shutdown_request", new JsonObject { ["restart"] = false }, Channel.Control);
        Assert.Equal("shutdown_reply", shutdown.Reply.Type);
        Assert.False(shutdown.Reply.Flag("restart", whenMissing: true));
        Assert.True(kernel.Process.WaitForExit(20_000));
        Assert.Equal(0, kernel.Process.ExitCode);
    }

    [Fact]
    public void Shutdown_ForARestart_SaysSoAndANewKernelKnowsNothing()
    {
        using (var kernel = new KernelClient())
        {
            kernel.Execute("var remembered = 1;");
            Assert.True(kernel.Ask("shutdown_request", new JsonObject { ["restart"] = true }, Channel.Control).Reply.Flag("restart", whenMissing: false));
            Assert.True(kernel.Process.WaitForExit(20_000));
        }

        using var next = new KernelClient();
        Assert.Equal("error", next.Execute("remembered").Status);
    }

    [Theory]
    [InlineData("Console.Write(\"before\"); Environment.Exit(0);")]
    [InlineData("Console.Write(\"before\"); new Thread(() => Environment.Exit(4)).Start(); Thread.Sleep(60_000);")]
    public void Execute_CellThatEndsTheProcess_GivesItsOutputAndTheReasonBefore(string code)
    {
        using var kernel = new KernelClient();
        var ids = new[] { code, "\"waiting\"" }.Select(cell => kernel.Send("execute_request", new JsonObject { ["code"] = cell })).ToArray();
        var cell = kernel.Await(ids[0]);
        Assert.Equal("before", cell.Stream("stdout"));
        Assert.Equal("error", cell.Status);
        Assert.Contains("Environment.Exit", Assert.Single(cell.Outputs, output => output.Type == "error").Text("evalue"), StringComparison.Ordinal);
        Assert.Equal("aborted", kernel.Await(ids[1]).Status);
        Assert.True(kernel.Process.WaitForExit(20_000));
    }

    [Fact]
    public void Execute_AThousandCells_StaysSmall()
    {
        using var kernel = new KernelClient();
        for (var i = 0; i < 50; i++)
        {
            kernel.Execute($"{i} + 1");
        }

        var before = Memory(kernel);
        for (var i = 0; i < 1_000; i++)
        {
            Assert.Equal((i + 1).ToString(CultureInfo.InvariantCulture), kernel.Execute($"{i} + 1").Result);
        }

        Assert.InRange((Memory(kernel) - before) / 1_000, double.MinValue, 50 * 1024);
    }

    private static double Memory(KernelClient kernel) =>
        double.Parse(kernel.Execute("GC.GetTotalMemory(forceFullCollection: true)").Result!, CultureInfo.InvariantCulture);
}
