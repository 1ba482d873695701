using Microsoft.Extensions.Time.Testing;

namespace LoraNotebooks.Interactive.Tests;

public class LiveDisplayTests
{
    private readonly FakeTimeProvider _time = new();

    [Theory]
    [InlineData(0, 0.01, 230, 242)]    // free drawings: four a second
    [InlineData(10, 0.01, 55, 65)]     // 10 ms each: one a second is a hundredth
    [InlineData(10, 0.001, 7, 12)]     // a thousandth: one in ten seconds, after the first ones
    public void Invalidate_DrawingsThatTakeTime_TakeNoMoreThanTheirShare(int milliseconds, double share, int fewest, int most)
    {
        var drawings = 0;
        var display = new LiveDisplay(new RecordingHost(), _ => Draw(), _time, share);
        for (var i = 0; i < 6_000; i++)
        {
            display.Invalidate();
            _time.Advance(TimeSpan.FromMilliseconds(10));
        }

        Assert.InRange(drawings, fewest, most);

        MimeBundle Draw()
        {
            drawings++;
            _time.Advance(TimeSpan.FromMilliseconds(milliseconds));
            return MimeBundle.FromText("");
        }
    }

    [Fact]
    public void Invalidate_DuringADrawing_IsFollowedByAnother()
    {
        var host = new RecordingHost();
        var (state, drawings) = (1, 0);
        LiveDisplay? display = null;
        display = new LiveDisplay(host, _ => Draw(), _time);
        display.Invalidate();
        _time.Advance(TimeSpan.FromSeconds(1));
        Assert.Equal(["1", "2"], host.Displays[0].Select(bundle => bundle.Text(MimeTypes.PlainText)));

        MimeBundle Draw()
        {
            var shown = MimeBundle.FromText($"{state}");
            if (drawings++ == 0)
            {
                state = 2;
                display!.Invalidate();
            }

            return shown;
        }
    }

    [Fact]
    public void Invalidate_FromATaskWhileTheNextCellRuns_UpdatesTheCellThatMadeIt()
    {
        var (first, second) = (new RecordingHost(), new RecordingHost());
        TrainingMonitor monitor;
        using (NotebookHost.Use(first))
        {
            monitor = new TrainingMonitor("of cell 1", _time);
            monitor.Report(Some.Step(1, 10, 1, 1, 0.5));
        }

        using (NotebookHost.Use(second))
        {
            monitor.Report(Some.Step(2, 10, 1, 1, 0.5));
            _time.Advance(TimeSpan.FromSeconds(1));
            monitor.Report(new LoraNotebooks.Training.PictureSample(1, "a prompt", 0, Some.Image()));
            monitor.Complete();
        }

        Assert.Empty(second.Displays);
        Assert.Equal(3, first.Displays.Count);
        Assert.Contains("2 of 10", first.Displays[0][1].Text(MimeTypes.Html));
        Assert.Contains("step 2 of 10", first.Displays[0][^1].Text(MimeTypes.PlainText));
    }

    [Fact]
    public void Complete_DrawingThatFailsWhileLive_EndsNothingButTheFinalOneSpeaks()
    {
        var display = new LiveDisplay(new RecordingHost(), isFinal => throw new InvalidOperationException($"final: {isFinal}"), _time);
        display.Invalidate();
        _time.Advance(TimeSpan.FromSeconds(1));
        Assert.Equal("final: True", Assert.Throws<InvalidOperationException>(display.Complete).Message);
    }

    [Fact]
    public void Invalidate_AtOnceAndSoonAfter_DrawsAtOnceAndWhenAQuarterOfASecondIsOver()
    {
        var (display, starts) = Timed(_ => 0);
        Assert.False(display.IsShown);
        display.Invalidate();
        Assert.True(display.IsShown);
        Wait(100);
        display.Invalidate();
        display.Invalidate();
        Wait(149);
        Assert.Equal([0], starts);
        Wait(1);
        Assert.Equal([0, 250], starts);

        // Nothing changed: nothing is drawn. What changes later is drawn without waiting.
        Wait(60_000);
        display.Invalidate();
        Wait(0);
        Assert.Equal([0, 250, 60_250], starts);
        display.Invalidate();
        Wait(249);
        Assert.Equal(3, starts.Count);
        Wait(1);
        Assert.Equal(60_500, starts[^1]);
    }

    [Fact]
    public void Invalidate_DrawingsOfTenMilliseconds_WaitAHundredTimesAsLongOnceTheFirstThreeAreOver()
    {
        var (display, starts) = Timed(_ => 10);
        InvalidateAlways(display, 3_000);
        // A quarter of a second after the end of each of the first three; then 10 ms / 0.01 = 1 s.
        Assert.Equal([0, 260, 520, 780, 1_790, 2_800], starts);
        Assert.Equal(TimeSpan.FromMilliseconds(10 * starts.Count), display.DrawingTime);
        display.Complete();
        Assert.Equal(TimeSpan.FromMilliseconds(10 * (starts.Count - 1)), display.DrawingTime);
    }

    [Fact]
    public void Invalidate_OneDrawingThatTookLongerThanItsNeighbours_DoesNotHoldUpTheNext()
    {
        var (display, starts) = Timed(i => i == 4 ? 500 : 10);
        InvalidateAlways(display, 5_000);
        // The fifth ends at 2,290; of it and the one before the quicker counts, so that the sixth comes 1 s later.
        Assert.Equal([0, 260, 520, 780, 1_790, 3_290, 4_300], starts);
    }

    [Fact]
    public void Complete_OfWhatIsToBeDrawn_DrawsTheEndOnceAndNothingAfterIt()
    {
        var host = new RecordingHost();
        var state = 1;
        var display = new LiveDisplay(host, isFinal => MimeBundle.FromText($"{state}{(isFinal ? " end" : "")}"), _time);
        display.Invalidate();
        state = 2;
        display.Invalidate();
        display.Complete();
        state = 3;
        display.Complete();
        display.Invalidate();
        Wait(60_000);
        Assert.Equal(["1", "2 end"], Assert.Single(host.Displays).Select(bundle => bundle.Text(MimeTypes.PlainText)));
    }

    [Fact]
    public void Complete_OfWhatWasNeverShown_ShowsTheEndAlone()
    {
        var host = new RecordingHost();
        var display = new LiveDisplay(host, isFinal => MimeBundle.FromText($"{isFinal}"), _time);
        display.Complete();
        display.Invalidate();
        Wait(60_000);
        Assert.Equal("True", Assert.Single(Assert.Single(host.Displays)).Text(MimeTypes.PlainText));
    }

    [Fact]
    public void Complete_TimerThatRingsAllTheSame_DrawsNothingOverTheEnd()
    {
        var (host, time) = (new RecordingHost(), new ManualTimers());
        var display = new LiveDisplay(host, isFinal => MimeBundle.FromText($"{isFinal}"), time);
        display.Invalidate();
        display.Invalidate();
        Assert.Equal(1, time.Alive);
        time.RingAll();
        display.Invalidate();
        display.Complete();
        Assert.Equal(0, time.Alive);
        time.RingAll();
        Assert.Equal(["False", "False", "True"], Assert.Single(host.Displays).Select(bundle => bundle.Text(MimeTypes.PlainText)));
    }

    [Fact]
    public void Invalidate_AfterDrawingsThatFailed_IsDrawnAsSoonAsOneSucceeds()
    {
        var host = new RecordingHost();
        var drawings = 0;
        var display = new LiveDisplay(host, _ => ++drawings is 1 or 3 ? throw new InvalidOperationException() : MimeBundle.FromText($"{drawings}"), _time);
        for (var i = 0; i < 4; i++)
        {
            display.Invalidate();
            Wait(250);
        }

        Assert.Equal(["2", "4"], Assert.Single(host.Displays).Select(bundle => bundle.Text(MimeTypes.PlainText)));
    }

    private void Wait(int milliseconds) => _time.Advance(TimeSpan.FromMilliseconds(milliseconds));

    private void InvalidateAlways(LiveDisplay display, int milliseconds)
    {
        for (var end = _time.GetUtcNow().AddMilliseconds(milliseconds); _time.GetUtcNow() < end;)
        {
            display.Invalidate();
            Wait(1);
        }
    }

    /// <summary>A display of whose drawings it is known how long each takes, and the milliseconds at which they begin.</summary>
    private (LiveDisplay Display, List<double> Starts) Timed(Func<int, int> milliseconds)
    {
        var started = _time.GetUtcNow();
        var starts = new List<double>();
        return (new LiveDisplay(new RecordingHost(), _ => Draw(), _time), starts);

        MimeBundle Draw()
        {
            starts.Add((_time.GetUtcNow() - started).TotalMilliseconds);
            Wait(milliseconds(starts.Count - 1));
            return MimeBundle.FromText("");
        }
    }
}
