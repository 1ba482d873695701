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
            monitor.Report(new LoraNotebooks.Training.TrainingSample(1, "a prompt", 0, Some.Image()));
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
}
