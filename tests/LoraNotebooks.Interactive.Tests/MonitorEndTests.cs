using LoraNotebooks.Comparison;
using LoraNotebooks.Training;
using Microsoft.Extensions.Time.Testing;

namespace LoraNotebooks.Interactive.Tests;

/// <summary>How a run ended: every kind of monitor, every way to end, the end shown once.</summary>
public class MonitorEndTests
{
    private static readonly XyzGrid Grid = new(new XyzSettings { Prompt = "a cat" }, XyzAxis.Seed(1, 2));

    private readonly RecordingHost _host = new();
    private readonly FakeTimeProvider _time = new();

    public enum Kind
    {
        Training,
        Grid,
        Preparation,
    }

    public enum End
    {
        Completed,
        Disposed,
        Failed,
        Canceled,
        StoppedAndCompleted,
        CellStoppedAndCanceled,
    }

    public static TheoryData<Kind, int, End> Ends
    {
        get
        {
            var data = new TheoryData<Kind, int, End>();
            foreach (var kind in Enum.GetValues<Kind>())
            {
                foreach (var end in Enum.GetValues<End>())
                {
                    data.Add(kind, 0, end);
                    data.Add(kind, 1, end);
                    data.Add(kind, 2, end);
                }
            }

            return data;
        }
    }

    [Theory]
    [MemberData(nameof(Ends))]
    public void End_OfTwoPieces_IsNamedByWhatWasDoneAndShownOnce(Kind kind, int done, End end)
    {
        var monitor = Make(kind);
        monitor.Begin();
        for (var piece = 1; piece <= done; piece++)
        {
            _time.Advance(TimeSpan.FromSeconds(1));
            Report(monitor, piece);
        }

        _time.Advance(TimeSpan.FromSeconds(1));
        Finish(monitor, end);
        var ended = Counts();
        var word = done == 2 ? "finished" : end == End.Failed ? "failed" : "stopped";
        Assert.Equal(word, monitor is XyzMonitor ? Some.Words(monitor.ToHtml())[1] : Some.Words(Last(0).Text(MimeTypes.Html)!)[1]);
        Assert.Equal(word == "failed", Some.Words(monitor.ToHtml()).Contains("out of memory"));
        Assert.Equal(word == "failed", Last(0).Text(MimeTypes.PlainText)!.Contains("out of memory", StringComparison.Ordinal));

        // What is not the end is marked, so that the page can ask for the run.
        Assert.All(_host.Displays, display => Assert.Same(display[^1], Assert.Single(display, bundle => !bundle.Types.Contains(MimeTypes.Run))));
        Assert.All(_host.Displays, display => Assert.DoesNotContain(MimeTypes.Stop, display[^1].Types));
        Assert.Empty(_host.Offers);

        Report(monitor, done + 1);
        monitor.Complete();
        monitor.Fail(new InvalidOperationException("too late"));
        monitor.Dispose();
        _time.Advance(TimeSpan.FromMinutes(1));
        Assert.Equal(ended, Counts());
        Assert.DoesNotContain("too late", monitor.ToHtml(), StringComparison.Ordinal);
        Assert.Equal(word, Some.Words(monitor.ToHtml())[1]);
    }

    [Theory]
    [InlineData(End.Completed)]
    [InlineData(End.Canceled)]
    [InlineData(End.StoppedAndCompleted)]
    [InlineData(End.CellStoppedAndCanceled)]
    [InlineData(End.Failed)]
    public void End_DuringTheFinalSamples_LeavesARunFinishedAndShowsTheSamplesThatThereAre(End end)
    {
        var monitor = (TrainingMonitor)Make(Kind.Training);
        Report(monitor, 1);
        Report(monitor, 2);
        monitor.Report(new PictureSample(1, "first of the last", 0, Some.Image()));
        monitor.Report(new PictureSample(1, "second of the last", 1, Some.Image()));
        Finish(monitor, end);
        Assert.Equal("mika: finished at step 2 of 2 after 1.0 s, smoothed loss 0.5", monitor.ToText());
        Assert.Equal(3, _host.Displays.Count);
        Assert.Equal([2, 2, 2], Counts());
        Assert.Equal(2, Last(2).Text(MimeTypes.Html)!.Split("<img ").Length - 1);
        monitor.Report(new PictureSample(1, "too late", 2, Some.Image()));
        _time.Advance(TimeSpan.FromMinutes(1));
        Assert.Equal([2, 2, 2], Counts());
        Assert.DoesNotContain("too late", monitor.ToHtml(), StringComparison.Ordinal);
    }

    [Fact]
    public void Stop_WhileWorkGoesOn_IsSaidAtOnceAndReportsStillCount()
    {
        var monitor = (TrainingMonitor)Make(Kind.Training);
        Report(monitor, 1);
        _time.Advance(TimeSpan.FromSeconds(1));
        _host.StopCell();
        _time.Advance(TimeSpan.Zero);
        Assert.Equal(["mika", "stopping", "50 %"], Some.Words(Last(0).Text(MimeTypes.Html)!)[..3]);
        Assert.Contains(MimeTypes.Run, Last(0).Types);
        Assert.DoesNotContain(MimeTypes.Stop, Last(0).Types);
        Report(monitor, 2);
        Assert.Equal(["mika", "finished", "100 %"], Some.Words(Last(0).Text(MimeTypes.Html)!)[..3]);
    }

    [Fact]
    public void Stop_BeforeAnythingIsShown_ShowsNothing()
    {
        _host.StopCell();
        using var monitor = Make(Kind.Training);
        Assert.True(monitor.Cancellation.IsCancellationRequested);
        Assert.Empty(_host.Displays);
        var other = Make(Kind.Grid);
        Assert.Empty(_host.Displays);
        other.Dispose();
        Assert.Equal("stopped", Some.Words(other.ToHtml())[1]);
    }

    [Fact]
    public void Follow_MonitorThatIsShownAlready_ShowsNothingBesideIts()
    {
        var monitor = (TrainingMonitor)Make(Kind.Training);
        Report(monitor, 1);
        Assert.Equal(7, monitor.Follow(m =>
        {
            _time.Advance(TimeSpan.FromSeconds(1));
            Assert.Equal([1, 1], Counts());
            return 7;
        }));
        Assert.Equal([2, 2], Counts());
        Assert.Equal("mika: stopped at step 1 of 2 after 0.5 s, smoothed loss 0.5", Last(0).Text(MimeTypes.PlainText));
    }

    [Fact]
    public void Follow_NoMonitorOrNoWork_IsRefused()
    {
        Assert.Throws<ArgumentNullException>(() => ((TrainingMonitor)null!).Follow(_ => 0));
        Assert.Throws<ArgumentNullException>(() => ((TrainingMonitor)Make(Kind.Training)).Follow<TrainingMonitor, int>(null!));
        Assert.Throws<ArgumentNullException>(() => Make(Kind.Training).Fail(null!));
        Assert.Throws<ArgumentNullException>(() => new TrainingMonitor(null!));
        Assert.Throws<ArgumentNullException>(() => new XyzMonitor(null!));
        Assert.Empty(_host.Displays);
    }

    [Theory]
    [InlineData(Kind.Grid, 0, 0.01)]
    [InlineData(Kind.Preparation, 0, 0.01)]
    [InlineData(Kind.Training, 0, 0.001)]
    [InlineData(Kind.Training, 1, 0.007)]
    public void Report_HostThatTakesTime_CostsTheMonitorNoMoreThanItsShare(Kind kind, int output, double share)
    {
        var host = new SlowHost(_time, TimeSpan.FromMilliseconds(10));
        var monitor = Make(kind, host);
        var done = 0;
        for (var i = 0; i < 7 * (0.01 / share) / 0.1 + 20; i++)
        {
            Report(monitor, 1, ref done);
            _time.Advance(TimeSpan.FromMilliseconds(100));
        }

        // The first three drawings load code; from the fourth on each waits for 10 ms divided by the share.
        var waits = host.Updates[output].Zip(host.Updates[output].Skip(1), (one, next) => (next - one).TotalSeconds).Skip(3).ToArray();
        Assert.InRange(waits.Length, 4, 12);
        Assert.All(waits, wait => Assert.InRange(wait, 0.01 / share, 0.01 / share + 0.5));
    }

    private LiveMonitor Make(Kind kind, INotebookHost? host = null)
    {
        using (NotebookHost.Use(host ?? _host))
        {
            return kind switch
            {
                Kind.Training => new TrainingMonitor("mika", _time),
                Kind.Grid => new XyzMonitor(Grid, "grid", _time),
                _ => new PreparationMonitor("preparation", _time),
            };
        }
    }

    private static void Report(LiveMonitor monitor, int piece)
    {
        switch (monitor)
        {
            case TrainingMonitor training:
                training.Report(Some.Step(piece, 2, 1, 1, 0.5));
                break;
            case XyzMonitor grid:
                var x = Math.Min(piece, 2) - 1;
                grid.Report(new(piece, 2, new(x, 0, 0, Grid.At(x, 0, 0), Some.Image(), false)));
                break;
            case PreparationMonitor preparation:
                preparation.Report(new(piece, 2, 0, "a.png"));
                break;
        }
    }

    // A grid that is reported nothing changes all the same.
    private static void Report(LiveMonitor monitor, int piece, ref int done)
    {
        if (monitor is XyzMonitor grid)
        {
            grid.Report(new(done++, 2, null));
            return;
        }

        Report(monitor, piece);
    }

    private void Finish(LiveMonitor monitor, End end)
    {
        switch (end)
        {
            case End.Completed:
                monitor.Complete();
                break;
            case End.Disposed:
                monitor.Dispose();
                break;
            case End.Failed:
                monitor.Fail(new InvalidOperationException("out of memory"));
                break;
            case End.Canceled:
                monitor.Fail(new OperationCanceledException("not a fault"));
                break;
            case End.StoppedAndCompleted:
                foreach (var offer in _host.Offers.ToArray())
                {
                    _host.Press(offer);
                }

                monitor.Complete();
                break;
            case End.CellStoppedAndCanceled:
                _host.StopCell();
                monitor.Fail(new TaskCanceledException());
                break;
        }
    }

    private MimeBundle Last(int output) => _host.Displays[output][^1];

    private int[] Counts() => [.. _host.Displays.Select(display => display.Count)];

    private sealed class SlowHost(FakeTimeProvider time, TimeSpan takes) : INotebookHost
    {
        public List<List<DateTimeOffset>> Updates { get; } = [];

        public IDisplayHandle Display(MimeBundle bundle)
        {
            var handle = new Handle(time, takes);
            Updates.Add(handle.At);
            handle.Update(bundle);
            return handle;
        }

        private sealed class Handle(FakeTimeProvider time, TimeSpan takes) : IDisplayHandle
        {
            public List<DateTimeOffset> At { get; } = [];

            public void Update(MimeBundle bundle)
            {
                At.Add(time.GetUtcNow());
                time.Advance(takes);
            }
        }
    }
}
