using LoraNotebooks.Interactive;
using LoraNotebooks.Kernel.Running;
using LoraNotebooks.Kernel.Sessions;

namespace LoraNotebooks.Kernel.Tests.Sessions;

/// <summary>The small parts that a session is put together of, each alone.</summary>
public sealed class SessionPartsTests
{
    [Fact]
    public void Globals_Token_IsKnownToHaveBeenTakenUntilTheNextCell()
    {
        using var source = new CancellationTokenSource();
        var globals = new CellGlobals();
        globals.Begin(source.Token);
        Assert.False(globals.CancellationWasTaken);
        Assert.Equal(source.Token, globals.Cancellation);
        Assert.True(globals.CancellationWasTaken);
        globals.Begin(CancellationToken.None);
        Assert.False(globals.CancellationWasTaken);
    }

    [Fact]
    public void Globals_LastValues_AreThoseFromTheEnd()
    {
        var globals = new CellGlobals();
        Assert.Null((object?)globals.Last);
        for (var i = 1; i <= 4; i++)
        {
            globals.Out.Add(i, $"v{i}");
        }

        Assert.Equal(("v4", "v3", "v2"), ((string)globals.Last!, (string)globals.__!, (string)globals.___!));
    }

    [Fact]
    public void Globals_Markup_ReachesThePageAsItIs()
    {
        var globals = new CellGlobals();
        Assert.Equal(("<b>", "<b>", null), Forms(globals.HTML("<b>")));
        Assert.Equal(("*m*", null, "*m*"), Forms(globals.Markdown("*m*")));
        Assert.Equal("<b>", globals.HTML("<b>").ToString());

        static (string?, string?, string?) Forms(RawMarkup markup)
        {
            var bundle = markup.ToMimeBundle();
            return (bundle.Text(MimeTypes.PlainText), bundle.Text(MimeTypes.Html), bundle.Text(MimeTypes.Markdown));
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Globals_ClearOutput_ClearsAtOnceOrWithTheNextOutput(bool wait)
    {
        var host = new Host();
        using var use = NotebookHost.Use(host);
        new CellGlobals().ClearOutput(wait);
        Assert.Equal([wait], host.Cleared);
    }

    [Fact]
    public void Shown_Value_IsNothingForAHandleAndAFailureWhereItCannotBeShown()
    {
        var result = new CellResult(CellStatus.Succeeded, 7, null, TimeSpan.Zero);
        Assert.Equal("7", result.Shown("cell 1").Shown!.Text(MimeTypes.PlainText));
        Assert.Null((result with { Value = null }).Shown("cell 1").Shown);
        Assert.Null((result with { Value = new Host() }).Shown("cell 1").Shown);
        var (failed, shown) = (result with { Value = new Bad() }).Shown("cell 3");
        Assert.Null(shown);
        Assert.Equal(CellStatus.Failed, failed.Status);
        Assert.Equal("The value of cell 3, a " + typeof(Bad) + ", could not be shown: no", failed.Error!.Message);
        Assert.Equal(("System.InvalidOperationException", failed.Error.Message), (failed.Error.Name, Assert.Single(failed.Error.Traceback)));
        var error = new CellError("first", "", []);
        Assert.Same(error, (result with { Value = new Bad(), Error = error, Status = CellStatus.TimedOut }).Shown("cell 3").Result.Error);
    }

    [Fact]
    public void AddAssembly_NameThatIsTaken_NamesTheFileThatStays()
    {
        using var folder = new TemporaryFolder();
        var name = $"Taken{Guid.NewGuid():N}.dll";
        Directory.CreateDirectory(folder.File("other"));
        Assert.Null(RuntimeFiles.AddAssembly(folder.File(name)));
        Assert.Null(RuntimeFiles.AddAssembly(folder.File(name)));
        Assert.Equal(
            folder.File(name),
            RuntimeFiles.AddAssembly(folder.File("other/" + name.ToUpperInvariant().Replace(".DLL", ".dll", StringComparison.Ordinal))));
    }

    [Fact]
    public async Task CellThread_Work_RunsOnOneThreadAndItsErrorsComeBack()
    {
        using var thread = new CellThread();
        var first = await thread.Run(() => Task.FromResult(Environment.CurrentManagedThreadId));
        Assert.Equal(first, await thread.Run(() => Task.FromResult(Environment.CurrentManagedThreadId)));
        Assert.NotEqual(Environment.CurrentManagedThreadId, first);
        Assert.Equal("now", (await Assert.ThrowsAsync<IOException>(() => thread.Run<int>(() => throw new IOException("now")))).Message);
        Assert.Equal(
            "later",
            (await Assert.ThrowsAsync<IOException>(() => thread.Run(async () => await Task.FromException<int>(new IOException("later"))))).Message);
        var flowing = new AsyncLocal<int> { Value = 5 };
        Assert.Equal(5, await thread.Run(() => Task.FromResult(flowing.Value)));
        Task<int> without;
        using (ExecutionContext.SuppressFlow())
        {
            without = thread.Run(() => Task.FromResult(flowing.Value));
        }

        Assert.Equal(0, await without);
    }

    [Fact]
    public void Context_Piece_RunsWithinItAndNoneAfterTheEnd()
    {
        var context = new InterruptibleContext();
        var outer = SynchronizationContext.Current;
        var seen = new List<bool>();
        context.Run(() => seen.AddRange([SynchronizationContext.Current == context, context.IsOnAThread]));
        Assert.Equal([true, true], seen);
        Assert.Same(outer, SynchronizationContext.Current);
        Assert.False(context.IsOnAThread);
        Assert.Throws<IOException>(() => context.Run(() => throw new IOException()));
        Assert.False(context.IsOnAThread);
        Assert.False(context.IsEnded);
        Assert.Same(context, context.CreateCopy());
        context.Send(_ => seen.Add(true), null);
        using var posted = new ManualResetEventSlim();
        context.Post(_ => posted.Set(), null);
        Assert.True(posted.Wait(TimeSpan.FromSeconds(30)));
        Assert.True(SpinWait.SpinUntil(() => !context.IsOnAThread, TimeSpan.FromSeconds(30)));

        context.End();
        context.End();
        Assert.True(context.IsEnded);
        Assert.Throws<OperationCanceledException>(() => context.Run(() => seen.Add(false)));
        context.Post(_ => seen.Add(false), null);
        Thread.Sleep(20);
        Assert.Equal([true, true, true], seen);
    }

    [Fact]
    public void Context_PieceThatWaits_IsWokenByTheEnd()
    {
        var context = new InterruptibleContext();
        using var begun = new ManualResetEventSlim();
        Exception? thrown = null;
        var thread = new Thread(() =>
        {
            try
            {
                context.Run(() =>
                {
                    begun.Set();
                    Thread.Sleep(Timeout.Infinite);
                });
            }
            catch (Exception error)
            {
                thrown = error;
            }
        });
        thread.Start();
        Assert.True(begun.Wait(TimeSpan.FromSeconds(30)));
        Assert.True(context.IsOnAThread);
        context.End();
        Assert.True(thread.Join(TimeSpan.FromSeconds(30)));
        Assert.True(CellErrors.IsStop(thrown!), thrown?.ToString());
        Assert.False(context.IsOnAThread);
    }

    [Theory]
    [InlineData(RunExit.Ok, 0)]
    [InlineData(RunExit.CellFailed, 1)]
    [InlineData(RunExit.TimedOut, 2)]
    [InlineData(RunExit.FileNotFound, 3)]
    [InlineData(RunExit.NotANotebook, 4)]
    [InlineData(RunExit.BadParameters, 5)]
    [InlineData(RunExit.Canceled, 130)]
    public void RunExit_Value_IsTheProgramsExitCode(RunExit exit, int code)
    {
        Assert.Equal(code, (int)exit);
        Assert.Equal(7, Enum.GetValues<RunExit>().Length);
    }

    private sealed class Bad : IRichDisplay
    {
        public MimeBundle ToMimeBundle() => throw new InvalidOperationException("no");
    }

    private sealed class Host : INotebookHost, IDisplayHandle
    {
        public List<bool> Cleared { get; } = [];

        public IDisplayHandle Display(MimeBundle bundle) => this;

        public void Update(MimeBundle bundle)
        {
        }

        public void Clear(bool wait = false) => Cleared.Add(wait);
    }
}
