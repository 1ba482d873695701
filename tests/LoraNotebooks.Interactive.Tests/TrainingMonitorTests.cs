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
            monitor.Add(step, 1000, 1 + step / 100, 10, 0.5, 1e-4);
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
            monitor.Add(1, 100, 1, 10, 0.7, 1e-4);
            monitor.Add(2, 100, 1, 10, 0.6, 1e-4);
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
            monitor.Add(step, 20, 1 + (step - 1) / 10, 2, 1.0 / step, 1e-4);
        }

        monitor.Add(2, "a prompt", Some.Image());
        monitor.Complete();
        var counts = _host.Displays.Select(d => d.Count).ToArray();
        monitor.Complete();
        monitor.Add(21, 20, 3, 2, 0, 0);
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
        monitor.Add(1, 10, 1, 1, double.NaN, 1e-4);
        monitor.Fail(new InvalidOperationException("the loss is not a number"));
        Assert.Contains("the loss is not a number", _host.Displays[0][^1].Text(MimeTypes.Html));
        Assert.Contains("failed", _host.Displays[0][^1].Text(MimeTypes.PlainText));
    }

    [Fact]
    public void Figures_SteadySpeed_TellTheTimeLeft()
    {
        var monitor = Monitor();
        for (var step = 1; step <= 20; step++)
        {
            monitor.Add(step, 220, 1, 3, 0.5, 1e-4);
            _time.Advance(TimeSpan.FromMilliseconds(500));
        }

        var html = monitor.ToHtml().ToString();
        Assert.Contains("2 steps/s", html);
        Assert.Contains("1 min 40 s", html);
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
                monitor.Add(step, 40, 1, 1, 0.5, 1e-4);
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
        Assert.Single(updates, update => update.Text(MimeTypes.Png) is { } png && SKBitmap.DecodeBounds(Convert.FromBase64String(png)).Width == 2 * LineChart.Width);
    }
}
