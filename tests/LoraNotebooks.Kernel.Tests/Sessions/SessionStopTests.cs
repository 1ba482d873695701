using LoraNotebooks.Kernel.Sessions;

namespace LoraNotebooks.Kernel.Tests.Sessions;

/// <summary>Cells that are stopped, and what is left of them.</summary>
public sealed class SessionStopTests : SessionRunning
{
    [Fact]
    public async Task RunAsync_TimeLimit_StopsACellThatWatchesTheToken()
    {
        var result = await RunAsync("await Task.Delay(60_000, Cancellation);", TimeSpan.FromMilliseconds(200));
        Assert.Equal(CellStatus.TimedOut, result.Status);
        Assert.False(result.StillRunning);
        Assert.Equal(3, await ValueAsync("1 + 2"));
    }

    [Theory]
    [InlineData("while (true) { }")]
    [InlineData("Thread.Sleep(60_000);")]
    [InlineData("await Task.Delay(60_000);")]
    [InlineData("await Task.Yield(); while (true) { try { Thread.Sleep(1); } catch { } }")]
    [InlineData("Task.Delay(60_000).Wait();")]
    public async Task RunAsync_CellThatDoesNotWatchTheToken_IsEndedAndItsVariablesStay(string code)
    {
        var result = await StopAsync("var kept = 4; " + code);
        Assert.Equal(CellStatus.Canceled, result.Status);
        Assert.False(result.StillRunning);
        Assert.Equal(4, await ValueAsync("kept"));
    }

    [Fact]
    public async Task RunAsync_CellThatHandlesTheStop_IsGivenTimeAndItsWorkIsKept()
    {
        var result = await StopAsync(
            "var saved = false; var token = Cancellation; var kept = 4; try { await Task.Delay(60_000, token); } "
                + "catch (OperationCanceledException) { await Task.Delay(20); saved = true; }");
        Assert.Equal(CellStatus.Canceled, result.Status);
        Assert.Equal(true, await ValueAsync("saved"));
    }

    [Fact]
    public async Task Interrupt_ACellThatWatchesTheTokenButGoesOn_EndsItTheSecondTime()
    {
        using var session = new CSharpSession(new CSharpSessionOptions { StopGrace = TimeSpan.FromMinutes(5) });
        var running = session.RunAsync("var token = Cancellation; var kept = 4; while (true) { Thread.Sleep(5); }", "cell 1");
        while (session.Variables.GetValueOrDefault("kept") is not 4)
        {
            await Task.Delay(20);
        }

        session.Interrupt();
        await Task.Delay(500);
        Assert.False(running.IsCompleted);
        session.Interrupt();
        Assert.Equal(CellStatus.Canceled, (await running).Status);
        Assert.Equal(5, (await session.RunAsync("5", "cell 2")).Value);
    }

    [Fact]
    public async Task RunAsync_CellThatTookTheTokenAndGoesOn_IsEndedAfterTheGrace()
    {
        using var session = new CSharpSession(new CSharpSessionOptions { StopGrace = TimeSpan.FromMilliseconds(100) });
        await session.WarmUpAsync();
        var result = await session.RunAsync("var token = Cancellation; while (true) { Thread.Sleep(5); }", "cell 1", TimeSpan.FromSeconds(1));
        Assert.Equal(CellStatus.TimedOut, result.Status);
        Assert.False(result.StillRunning);
    }

    [Theory]
    [InlineData("while (true) { }")]
    [InlineData("await Task.Yield(); while (true) { }")]
    public async Task RunAsync_EndlessLoopsOneAfterAnother_AreAllEnded(string code)
    {
        for (var i = 0; i < 4; i++)
        {
            var result = await StopAsync($"var kept = 4; {code}");
            Assert.Equal(CellStatus.Canceled, result.Status);
            Assert.False(result.StillRunning, $"loop {i + 1} goes on");
            Assert.Equal(0, await ValueAsync("var kept = 0; kept"));
        }
    }

    [Fact]
    public async Task RunAsync_StoppedCell_RunsNothingMoreWhenWhatItWaitedForIsDone()
    {
        await ValueAsync("var gate = new TaskCompletionSource(); var ran = false;");
        await StopAsync("var kept = 4; await gate.Task; ran = true;");
        await ValueAsync("gate.SetResult(); await Task.Delay(200);");
        Assert.Equal(false, await ValueAsync("ran"));
    }

    [Fact]
    public async Task RunAsync_FinallyBlockOfAStoppedCell_IsRun()
    {
        await StopAsync("var cleaned = false; var kept = 4; try { while (true) { Thread.SpinWait(10); } } finally { cleaned = true; }");
        Assert.Equal(true, await ValueAsync("cleaned"));
    }

    [Fact]
    public async Task RunAsync_Cancellation_EndsTheCellAsCanceled()
    {
        using var source = new CancellationTokenSource();
        var running = Session.RunAsync("await Task.Delay(60_000, Cancellation);", "cell 1", cancellation: source.Token);
        source.CancelAfter(100);
        Assert.Equal(CellStatus.Canceled, (await running).Status);
    }

    /// <summary>Runs a cell that declares <c>kept</c> and stops it once that has its value.</summary>
    private async Task<CellResult> StopAsync(string code)
    {
        using var stop = new CancellationTokenSource();
        var running = RunAsync(code, cancellation: stop.Token);
        while (!running.IsCompleted && Session.Variables.GetValueOrDefault("kept") is not 4)
        {
            await Task.Delay(20);
        }

        stop.CancelAfter(100);
        return await running;
    }
}
