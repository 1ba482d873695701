using System.Collections.Concurrent;
using LoraNotebooks.Interactive;
using LoraNotebooks.Kernel.Sessions;

namespace LoraNotebooks.Kernel.Tests.Sessions;

/// <summary>Exceptions outside of a cell's own call, each of which would end the process.</summary>
public sealed class StrayErrorTests : IDisposable
{
    private readonly BlockingCollection<(CellError Error, INotebookHost Host)> _strays = [];
    private readonly CSharpSession _session;

    public StrayErrorTests() => _session = new CSharpSession(new CSharpSessionOptions { StrayError = error => _strays.Add((error, NotebookHost.Current)) });

    public void Dispose()
    {
        _session.Dispose();
        _strays.Dispose();
    }

    [Theory]
    [InlineData("a thread", "new Thread(() => Fail()).Start();")]
    [InlineData("a thread without the context", "using (ExecutionContext.SuppressFlow()) new Thread(() => Fail()).Start();")]
    [InlineData("async void at once", "async void Go() => Fail(); Go();")]
    [InlineData("async void after an await", "async void Go() { await Task.Delay(10); Fail(); } Go();")]
    [InlineData("async void in the pool", "async void Go() { await Task.Delay(10).ConfigureAwait(false); Fail(); } Go();")]
    [InlineData("a timer", "var timer = new Timer(_ => Fail(), null, 10, Timeout.Infinite);")]
    [InlineData(
        "a timer that raises an event",
        "var timer = new System.Timers.Timer(10) { AutoReset = false }; "
            + "timer.Elapsed += async (_, _) => { await Task.Yield(); Fail(); }; timer.Start();")]
    [InlineData("the thread pool", "ThreadPool.QueueUserWorkItem(_ => Fail());")]
    [InlineData("the thread pool without the context", "ThreadPool.UnsafeQueueUserWorkItem(_ => Fail(), null);")]
    [InlineData("a continuation", "Task.Delay(10).GetAwaiter().OnCompleted(() => Fail());")]
    public async Task RunAsync_WhateverThrowsElsewhere_IsShownAndTheSessionLivesOn(string what, string code)
    {
        var host = new Host();
        using (NotebookHost.Use(host))
        {
            await ValueAsync("var kept = 5; void Fail() => throw new InvalidOperationException(\"elsewhere\");", "cell 1");
            await ValueAsync(code, "cell 2");
        }

        Assert.True(_strays.TryTake(out var stray, TimeSpan.FromSeconds(30)), what);
        Assert.Equal("System.InvalidOperationException", stray.Error.Name);
        Assert.Equal("elsewhere", stray.Error.Message);
        Assert.Contains(stray.Error.Traceback, line => line.Contains("cell 1, line 1, in Fail", StringComparison.Ordinal));
        Assert.Same(host, stray.Host);
        Assert.Equal(5, await ValueAsync("kept", "cell 3"));
        Assert.False(_strays.TryTake(out _));
    }

    [Fact]
    public async Task RunAsync_ErrorOfAnEarlierCell_BelongsToThatOneWhileALaterOneRuns()
    {
        var (first, second) = (new Host(), new Host());
        using (NotebookHost.Use(first))
        {
            await ValueAsync("var go = new ManualResetEventSlim(); new Thread(() => { go.Wait(); throw new Exception(\"late\"); }).Start();", "cell 1");
        }

        using (NotebookHost.Use(second))
        {
            await ValueAsync("go.Set(); Thread.Sleep(200);", "cell 2");
        }

        Assert.True(_strays.TryTake(out var stray, TimeSpan.FromSeconds(30)));
        Assert.Same(first, stray.Host);
    }

    [Fact]
    public async Task RunAsync_TaskThatNobodyAwaits_IsShownOnceItIsCollected()
    {
        await ValueAsync("void Go() => _ = Task.Run(() => throw new InvalidOperationException(\"unobserved\")); Go(); Thread.Sleep(200);", "cell 1");
        for (var i = 0; i < 100 && _strays.Count == 0; i++)
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
        }

        Assert.True(_strays.TryTake(out var stray, TimeSpan.FromSeconds(30)));
        Assert.Equal("unobserved", stray.Error.Message);
        Assert.Contains("a task that nobody awaited", stray.Error.Traceback[0], StringComparison.Ordinal);
    }

    [Fact]
    public async Task RunAsync_Finalizer_IsShownInTheCellThatRuns()
    {
        var (first, second) = (new Host(), new Host());
        using (NotebookHost.Use(first))
        {
            await ValueAsync(
                "class Ends { ~Ends() => throw new Exception(\"finalized\"); } void Make() { for (var i = 0; i < 10; i++) new Ends(); } Make();",
                "cell 1");
        }

        using (NotebookHost.Use(second))
        {
            await ValueAsync("GC.Collect(); GC.WaitForPendingFinalizers();", "cell 2");
        }

        Assert.True(_strays.TryTake(out var stray, TimeSpan.FromSeconds(30)));
        Assert.Equal("finalized", stray.Error.Message);
        Assert.Same(second, stray.Host);
    }

    [Fact]
    public async Task RunAsync_WorkOfAStoppedCell_IsNoNews()
    {
        var running = _session.RunAsync("""
            var token = Cancellation;
            new Thread(() => { token.WaitHandle.WaitOne(); Thread.Sleep(200); token.ThrowIfCancellationRequested(); }).Start();
            token.WaitHandle.WaitOne();
            """, "cell 1");
        await Task.Delay(1_500);
        _session.Interrupt();
        await running;
        Assert.False(_strays.TryTake(out _, TimeSpan.FromSeconds(1)));
    }

    [Fact]
    public async Task RunAsync_FaultOfTheSessionItself_IsTheCellsErrorWithItsStack()
    {
        _session.Declared += (_, _) => throw new ArithmeticException("not the cell's fault");
        var result = await _session.RunAsync("var kept = 6;", "cell 1");
        Assert.Equal(CellStatus.Failed, result.Status);
        Assert.Equal("The kernel itself failed, not the cell: not the cell's fault", result.Error!.Message);
        Assert.Contains(
            result.Error.Traceback,
            line => line.Contains(nameof(RunAsync_FaultOfTheSessionItself_IsTheCellsErrorWithItsStack), StringComparison.Ordinal));
    }

    private async Task<object?> ValueAsync(string code, string name)
    {
        var result = await _session.RunAsync(code, name);
        Assert.True(result.Error is null, string.Join('\n', result.Error?.Traceback ?? []));
        return result.Value;
    }

    private sealed class Host : INotebookHost
    {
        public IDisplayHandle Display(MimeBundle bundle) => throw new NotSupportedException();
    }
}
