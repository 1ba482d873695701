using LoraNotebooks.Training;
using Microsoft.Extensions.Time.Testing;
using SkiaSharp;

namespace LoraNotebooks.Interactive.Tests;

public class TrainingMonitorTests
{
    private readonly RecordingHost _host = new();
    private readonly FakeTimeProvider _time = new();

    private TrainingMonitor Monitor()
    {
        using (NotebookHost.Use(_host))
        {
            return new TrainingMonitor("mika", time: _time);
        }
    }

    [Fact]
    public void Reports_HundredASecond_AreShownFourTimesASecondWithTrailingFlush()
    {
        var monitor = Monitor();
        for (var step = 1; step <= 300; step++)
        {
            monitor.Report(Some.Step(step, 1000, 1 + step / 100, 10, 0.5));
            _time.Advance(TimeSpan.FromMilliseconds(10));
        }

        // At once, then at most one in each of the twelve quarters of three seconds.
        Assert.InRange(_host.Displays[0].Count, 10, 13);
        Assert.InRange(_host.Displays[1].Count, 10, 13);
        _time.Advance(TimeSpan.FromSeconds(1));
        Assert.Contains("300 of 1,000", _host.Displays[0][^1].Text(MimeTypes.Html));
        var updates = _host.Displays[0].Count;
        _time.Advance(TimeSpan.FromMinutes(1));
        Assert.Equal(updates, _host.Displays[0].Count);
    }

    [Fact]
    public void Dispose_AfterAnException_ShowsOneFinalCompleteBundle()
    {
        Assert.Throws<InvalidOperationException>((Action)(() =>
        {
            using var monitor = Monitor();
            monitor.Report(Some.Step(1, 100, 1, 10, 0.7));
            monitor.Report(Some.Step(2, 100, 1, 10, 0.6));
            throw new InvalidOperationException("out of memory");
        }));

        Assert.Equal(2, _host.Displays.Count);
        Assert.Equal(2, _host.Displays[0].Count);
        Assert.Contains("stopped", _host.Displays[0][^1].Text(MimeTypes.Html));
        Assert.Contains("2 of 100", _host.Displays[0][^1].Text(MimeTypes.Html));
        AssertIsWholeChart(_host.Displays[1], points: 2);
    }

    [Fact]
    public void Complete_AllSteps_IsFinalOnceAndLaterReportsAreIgnored()
    {
        var monitor = Monitor();
        for (var step = 1; step <= 20; step++)
        {
            monitor.Report(Some.Step(step, 20, 1 + (step - 1) / 10, 2, 1.0 / step));
        }

        monitor.Report(new PictureSample(2, "a prompt", 0, Some.Image()));
        monitor.Complete();
        var counts = _host.Displays.Select(d => d.Count).ToArray();
        monitor.Complete();
        monitor.Report(Some.Step(21, 20, 3, 2, 0));
        monitor.Dispose();
        _time.Advance(TimeSpan.FromMinutes(1));

        Assert.Equal(counts, _host.Displays.Select(d => d.Count));
        Assert.Equal(3, _host.Displays.Count);
        Assert.Contains("finished", _host.Displays[0][^1].Text(MimeTypes.Html));
        AssertIsWholeChart(_host.Displays[1], points: 20);
        Assert.Equal(2, _host.Displays[1][^1].Node(MimeTypes.Plotly)!["layout"]!["shapes"]!.AsArray().Count);
        Assert.Contains("a prompt", _host.Displays[2][^1].Text(MimeTypes.Html));
    }

    [Fact]
    public void Fail_Exception_ShowsItsMessage()
    {
        var monitor = Monitor();
        monitor.Report(Some.Step(1, 10, 1, 1, double.NaN));
        monitor.Fail(new InvalidOperationException("the loss is not a number"));
        Assert.Contains("the loss is not a number", _host.Displays[0][^1].Text(MimeTypes.Html));
        Assert.Contains("failed", _host.Displays[0][^1].Text(MimeTypes.PlainText));
    }

    [Fact]
    public void Report_SampleBeforeTheFirstStep_StandsUnderTheChart()
    {
        var monitor = Monitor();
        monitor.Report(new PictureSample(0, "a prompt", 1, Some.Image()));
        Assert.Single(_host.Displays);
        monitor.Report(Some.Step(1, 10, 1, 1, 0.5));
        Assert.Equal(3, _host.Displays.Count);
        Assert.Contains("before", _host.Displays[2][^1].Text(MimeTypes.Html));
    }

    [Fact]
    public void Dispose_BeforeAnyReport_SaysSo()
    {
        Monitor().Dispose();
        Assert.Contains("stopped before the first step", Assert.Single(Assert.Single(_host.Displays)).Text(MimeTypes.PlainText));
    }

    [Fact]
    public async Task Report_FromManyThreads_ShowsTheLastState()
    {
        TrainingMonitor monitor;
        using (NotebookHost.Use(_host))
        {
            monitor = new TrainingMonitor("mika");
        }

        await Task.WhenAll(Enumerable.Range(0, 4).Select(t => Task.Run(() =>
        {
            for (var i = 1; i <= 100; i++)
            {
                monitor.Report(Some.Step(100 * t + i, 500, 1, 1, 0.5));
            }
        })));
        monitor.Complete();
        Assert.Equal(2, _host.Displays.Count);
        Assert.Equal(400, _host.Displays[1][^1].Node(MimeTypes.Plotly)!["data"]![0]!["x"]!.AsArray().Count);
    }

    [Fact]
    public void Report_LastStep_MakesFiguresAndChartFinalAlthoughNobodyDisposes()
    {
        var monitor = Monitor();
        for (var step = 1; step <= 20; step++)
        {
            monitor.Report(Some.Step(step, 20, 1, 1, 0.5));
        }

        Assert.Contains("finished", _host.Displays[0][^1].Text(MimeTypes.PlainText));
        AssertIsWholeChart(_host.Displays[1], points: 20);

        // The samples of the last epoch come after its last step.
        monitor.Report(new PictureSample(1, "late", 0, Some.Image()));
        Assert.Contains("late", _host.Displays[2][^1].Text(MimeTypes.Html));
    }

    [Fact]
    public void Follow_WorkThatThrows_ShowsTheFaultAndOneFinalChart()
    {
        TrainingMonitor monitor;
        using (NotebookHost.Use(_host))
        {
            monitor = new TrainingMonitor("mika", _time);
        }

        var fault = Assert.Throws<InvalidOperationException>((Action)(() => monitor.Follow(m =>
        {
            m.Report(Some.Step(1, 100, 1, 10, 0.7));
            return m.Title == "mika" ? throw new InvalidOperationException("out of memory") : 1;
        })));

        Assert.Equal("out of memory", fault.Message);
        Assert.Contains("starting", _host.Displays[0][0].Text(MimeTypes.PlainText));
        Assert.Contains("out of memory", _host.Displays[0][^1].Text(MimeTypes.Html));
        AssertIsWholeChart(_host.Displays[1], points: 1);
    }

    [Fact]
    public void Chart_WhileARunGoesOn_HasFewPointsAndOnePicture()
    {
        var monitor = Monitor();
        for (var step = 1; step <= 5_000; step++)
        {
            monitor.Report(Some.Step(step, 10_000, 1, 10, Math.Sin(step)) with { LearningRates = Some.Rates(1e-4, 1e-5) });
        }

        _time.Advance(TimeSpan.FromMinutes(1));
        var live = _host.Displays[1][^1];
        var traces = live.Node(MimeTypes.Plotly)!["data"]!.AsArray();
        Assert.Equal(4, traces.Count);
        Assert.All(traces, trace => Assert.InRange(trace!["x"]!.AsArray().Count, 50, GrowingLossChart.MostPoints));
        Assert.All(traces, trace => Assert.Equal(5_000, trace!["x"]!.AsArray()[^1]!.GetValue<double>()));
        Assert.Null(live.Text(MimeTypes.Png));
        Assert.Contains("<img src=\"data:image/png;base64,", live.Text(MimeTypes.Html));
        monitor.Complete();
        Assert.InRange(
            _host.Displays[1][^1].Node(MimeTypes.Plotly)!["data"]!.AsArray().Sum(trace => trace!["x"]!.AsArray().Count),
            1_000,
            LineChart.MostPoints);
    }

    [Fact]
    public void Text_WhileRunning_ChangesAtTenthsOnly()
    {
        var output = new StringWriter();
        using (NotebookHost.Use(new ConsoleHost(output)))
        {
            using var monitor = new TrainingMonitor("mika", time: _time);
            for (var step = 1; step <= 40; step++)
            {
                monitor.Report(Some.Step(step, 40, 1, 1, 0.5));
                _time.Advance(TimeSpan.FromSeconds(1));
            }
        }

        Assert.InRange(output.ToString().Split('\n').Length, 5, 16);
    }

    private static void AssertIsWholeChart(IReadOnlyList<MimeBundle> updates, int points)
    {
        var final = updates[^1];
        Assert.Equal(points, final.Node(MimeTypes.Plotly)!["data"]![0]!["x"]!.AsArray().Count);
        using var picture = SKBitmap.Decode(Convert.FromBase64String(final.Text(MimeTypes.Png)!));
        Assert.Equal(2 * LineChart.Width, picture.Width);
        // Only the final picture is fine, so it is there exactly once.
        Assert.Single(updates, update =>
            update.Text(MimeTypes.Png) is { } png && SKBitmap.DecodeBounds(Convert.FromBase64String(png)).Width == 2 * LineChart.Width);
    }
}
