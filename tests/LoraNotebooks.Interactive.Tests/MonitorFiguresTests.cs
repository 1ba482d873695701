using LoraNotebooks.Comparison;
using LoraNotebooks.Data;
using LoraNotebooks.Training;
using Microsoft.Extensions.Time.Testing;

namespace LoraNotebooks.Interactive.Tests;

/// <summary>The numbers that monitors report, to the digit.</summary>
public class MonitorFiguresTests
{
    private readonly FakeTimeProvider _time = new();

    private static readonly TrainingStep Step = new()
    {
        Step = 1_250,
        TotalSteps = 5_000,
        Epoch = 2,
        TotalEpochs = 8,
        Loss = 0.5,
        SmoothedLoss = 0.12345,
        LearningRates = Some.Rates(1e-4, 5e-5),
        Unit = "image",
        GradientNorm = 0.4567,
        Seconds = 75.9,
        ExamplesPerSecond = 8.26,
        SecondsLeft = 3_725,
    };

    [Fact]
    public void Training_RunningStep_ShowsEveryFigure()
    {
        var progress = new TrainingProgress { Title = "mika", Last = Step };
        Assert.Equal(
            [
                "mika", "running", "25 %", "step", "1,250 of 5,000", "epoch", "2 of 8",
                "loss, smoothed", "0.1235", "learning rate", "1e-4", "gradient norm", "0.4567",
                "speed", "8.3 images/s", "elapsed", "1 min 15 s", "left", "1 h 02 min",
            ],
            Some.Words(progress.ToHtml()));
        Assert.Equal("mika: 20 % of 5000 steps", progress.ToText());
    }

    [Fact]
    public void Training_WhatATaskNoted_StandsAfterTheLossAndSpeedIsOfItsExamples()
    {
        var noted = Step with { Metrics = new Dictionary<string, double> { ["accuracy"] = 0.875, ["perplexity"] = 12.5 }, Unit = "text" };

        string[] words = Some.Words(new TrainingProgress { Title = "", Last = noted }.ToHtml());

        Assert.Equal(["0.1235", "accuracy", "0.875", "perplexity", "12.5", "learning rate"], words.SkipWhile(static word => word != "0.1235").Take(6));
        Assert.Contains("8.3 texts/s", words);
    }

    [Theory]
    [InlineData(1e-4, 5e-5, "1e-4")]
    [InlineData(1e-4, null, "1e-4")]
    [InlineData(null, 5e-5, "5e-5")]
    public void Training_LearningRate_IsTheUNetsUnlessOnlyTheTextEncoderLearns(double? unet, double? text, string expected)
    {
        string[] words = Some.Words(new TrainingProgress { Title = "", Last = Step with { LearningRates = Some.Rates(unet, text) } }.ToHtml());
        Assert.Equal(expected, words[Array.IndexOf(words, "learning rate") + 1]);
    }

    [Theory]
    [InlineData(1, 3, 33, "33.3 %", 30)]
    [InlineData(19, 200, 9, "9.5 %", 0)]
    [InlineData(20, 200, 10, "10 %", 10)]
    [InlineData(1_999, 2_000, 99, "99.9 %", 90)]
    [InlineData(9_999, 10_000, 99, "99.9 %", 90)] // never 100 % before the end
    [InlineData(2_000, 2_000, 100, "100 %", 100)]
    [InlineData(0, 0, 0, "0 %", 0)]
    public void Training_Share_IsRoundedDown(int step, int total, int bar, string percent, int tenth)
    {
        var progress = new TrainingProgress { Title = "t", Last = Step with { Step = step, TotalSteps = total } };
        Assert.Equal(percent, Some.Words(progress.ToHtml())[2]);
        Assert.Contains($"aria-valuenow=\"{bar}\"", progress.ToHtml());
        Assert.Equal($"t: {tenth} % of {total} steps", progress.ToText());
    }

    [Theory]
    [InlineData(nameof(RunState.Running), null, "t: 20 % of 5000 steps", "t: starting")]
    [InlineData(nameof(RunState.Stopping), null, "t: 20 % of 5000 steps", "t: starting")]
    [InlineData(
        nameof(RunState.Finished),
        null,
        "t: finished at step 1250 of 5000 after 1 min 15 s, smoothed loss 0.1235",
        "t: finished before the first step")]
    [InlineData(nameof(RunState.Stopped), null, "t: stopped at step 1250 of 5000 after 1 min 15 s, smoothed loss 0.1235", "t: stopped before the first step")]
    [InlineData(
        nameof(RunState.Failed),
        "no room",
        "t: failed at step 1250 of 5000 after 1 min 15 s, smoothed loss 0.1235: no room",
        "t: failed before the first step: no room")]
    public void Training_EveryState_HasItsWordAndOnlyARunningOneTimeLeft(string name, string? fault, string text, string textBefore)
    {
        var state = Enum.Parse<RunState>(name);
        var progress = new TrainingProgress { Title = "t", State = state, Fault = fault, Last = Step };
        Assert.Equal(text, progress.ToText());
        var words = Some.Words(progress.ToHtml());
        Assert.Equal(name.ToLowerInvariant(), words[1]);
        Assert.Equal(state is RunState.Running or RunState.Stopping, words.Contains("left"));
        Assert.Equal(fault ?? (words.Contains("left") ? "1 h 02 min" : "1 min 15 s"), words[^1]);

        var before = new TrainingProgress { Title = "t", State = state, Fault = fault };
        Assert.Equal(textBefore, before.ToText());
        Assert.Equal(["t", words[1], "0 %", .. fault is null ? [] : new[] { fault }], Some.Words(before.ToHtml()));
    }

    [Theory]
    [InlineData(nameof(RunState.Running), Look.Accent)]
    [InlineData(nameof(RunState.Stopping), Look.Second)]
    [InlineData(nameof(RunState.Finished), Look.Good)]
    [InlineData(nameof(RunState.Stopped), Look.Second)]
    [InlineData(nameof(RunState.Failed), Look.Bad)]
    public void Panel_EveryState_HasItsColourAndOnlyAPassingOneIsSaidToHaveBeenWhenStored(string name, string colour)
    {
        var state = Enum.Parse<RunState>(name);
        var html = ProgressPanel.Of("t", state, 0.5, [("name", "value")], null).ToString();
        Assert.Contains($"border:1px solid {colour};color:{colour}", html);
        Assert.Contains($"background:{colour};", html);
        var passes = state is RunState.Running or RunState.Stopping;
        Assert.Equal(passes, ProgressPanel.IsGoingOn(state));
        Assert.Equal(passes, html.Contains($"<span role=\"status\" data-lora-state=\"{ProgressPanel.Word(state)}\">", StringComparison.Ordinal));
        Assert.Equal(["t", passes ? MimeBundle.WhenSaved : ProgressPanel.Word(state), "50 %", "name", "value"], Some.Words(ProgressPanel.Stored(html)));
        Assert.Contains("margin-top:8px;color:#d9534f;white-space:pre-wrap\">why</div>", ProgressPanel.Of("t", state, 0, [], "why").ToString());
    }

    [Fact]
    public void Preparation_Reports_ShowSpeedAndTimeLeftAsOfTheLastOne()
    {
        var monitor = On(() => new PreparationMonitor("p", _time));
        Assert.Equal("p: starting", monitor.ToText());
        Assert.Equal(["p", "running", "0 %"], Some.Words(monitor.ToHtml()));
        Wait(90);
        monitor.Report(new(1_200, 3_000, 2, "a<b>.png"));
        Wait(30);

        // 1,200 images in 90 s are 13.3 a second; the 1,800 others take 135 s.
        Assert.Equal(
            [
                "p", "running", "40 %", "images", "1,200 of 3,000", "errors", "2", "speed", "13.3 images/s",
                "elapsed", "1 min 30 s", "left", "2 min 15 s", "file", "a<b>.png",
            ],
            Some.Words(monitor.ToHtml()));
        Assert.Equal("p: 40 % of 3,000 images", monitor.ToText());
        monitor.Report(new(1_201, 3_000, 0, "b.png"));
        Assert.DoesNotContain("errors", Some.Words(monitor.ToHtml()));
        monitor.Complete();
        Assert.Equal(["p", "stopped", "40 %", "images", "1,201 of 3,000", "speed", "10 images/s", "elapsed", "2 min 00 s"], Some.Words(monitor.ToHtml()));
        Assert.Equal("p: stopped after 1,201 images of 3000", monitor.ToText());
    }

    [Fact]
    public void Preparation_ReportAtOnce_HasAFiniteSpeed()
    {
        var monitor = On(() => new PreparationMonitor("p", _time));
        monitor.Report(new(0, 4, 0, "a.png"));
        Assert.Equal(["speed", "0 images/s", "elapsed", "0.0 s", "left", "–"], Some.Words(monitor.ToHtml())[5..11]);
        monitor.Report(new(2, 4, 0, "a.png"));
        Assert.Equal(["speed", "2,000 images/s", "elapsed", "0.0 s", "left", "0.0 s"], Some.Words(monitor.ToHtml())[5..11]);
    }

    [Fact]
    public void Preparation_ManyPictures_ShowsTheLastEight()
    {
        var monitor = On(() => new PreparationMonitor("p", _time));
        for (var i = 1; i <= 9; i++)
        {
            monitor.Report(new(i, 20, 0, $"{i}.png", new PreparedImage($"name {i}", Some.Image(200, 100, (byte)i), "", "")));
            var shown = monitor.ToHtml().Split("<img ")[1..];
            Assert.Equal(Enumerable.Range(1, i).TakeLast(8).Select(n => $"name {n}"), shown.Select(tag => tag.Split("alt=\"")[1].Split('"')[0]));
            Assert.All(shown, tag => Assert.Contains("width=\"84\" height=\"42\"", tag));
        }

        monitor.Report(new(10, 20, 0, "10.png"));
        Assert.Equal(9, monitor.ToHtml().Split("<img ").Length);
    }

    [Fact]
    public void Grid_Cells_ShowElapsedAndTimeLeftWhileTheyComeAndTheWholeTimeAfterwards()
    {
        var grid = new XyzGrid(new XyzSettings { Prompt = "a cat" }, XyzAxis.Seed(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11));
        var monitor = On(() => new XyzMonitor(grid, "g", _time));
        Assert.Equal(["g", "running", "0 %", "images", "0 of 11", "elapsed", "0.0 s", "left", "–"], Some.Words(monitor.ToHtml())[..9]);
        Wait(30);
        monitor.Report(new(1, 11, new(0, 0, 0, grid.At(0, 0, 0), Some.Image(), false)));
        monitor.Report(new(2, 11, null) { Failure = new(1, 0, 0, grid.At(1, 0, 0), "no") });
        monitor.Report(new(3, 11, new(2, 0, 0, grid.At(2, 0, 0), Some.Image(), false)));

        // Three of eleven in 30 s: the others take 80 s. 3 of 11 are 27.2 %.
        Assert.Equal(["g", "running", "27.2 %", "images", "3 of 11", "elapsed", "30 s", "left", "1 min 20 s"], Some.Words(monitor.ToHtml())[..9]);
        Assert.Equal("g: 20 % of 11 images", monitor.ToText());
        Wait(10);
        monitor.Fail(new InvalidOperationException("out of memory"));
        Wait(100);
        Assert.Equal(["g", "failed", "27.2 %", "images", "3 of 11", "elapsed", "40 s", "out of memory"], Some.Words(monitor.ToHtml())[..8]);
        Assert.Equal("g: failed after 3 of 11 images: out of memory", monitor.ToText());
    }

    [Fact]
    public void Grid_VacantPlaces_HaveTheSizeOfTheirPictures()
    {
        string Html(XyzSettings settings, RgbImage? first)
        {
            var grid = new XyzGrid(settings with { Prompt = "a cat" }, XyzAxis.Seed(1, 2));
            var host = new RecordingHost();
            using var use = NotebookHost.Use(host);
            var monitor = new XyzMonitor(grid, "g", _time);
            monitor.Begin();
            if (first is not null)
            {
                monitor.Report(new(1, 2, new(0, 0, 0, grid.At(0, 0, 0), first, false)));
                Wait(1);
            }

            return host.Displays[0][^1].Text(MimeTypes.Html)!;
        }

        Assert.Contains("width:48px;height:80px", Html(new XyzSettings { Prompt = "", Width = 24, Height = 40 }, Some.Image(8, 8)));
        Assert.Contains("width:24px;height:16px", Html(new XyzSettings { Prompt = "" }, Some.Image(12, 8)));
        Assert.Contains("width:192px;height:192px", Html(new XyzSettings { Prompt = "" }, null));
    }

    [Theory]
    [InlineData(0, "0.0 s")]
    [InlineData(9.94, "9.9 s")]
    [InlineData(10, "10 s")]
    [InlineData(59.99, "59 s")]
    [InlineData(60, "1 min 00 s")]
    [InlineData(3_599.9, "59 min 59 s")]
    [InlineData(3_600, "1 h 00 min")]
    [InlineData(93_784, "26 h 03 min")]
    [InlineData(999_999_999, "277777 h 46 min")]
    [InlineData(1e9, "–")]
    [InlineData(-0.1, "–")]
    [InlineData(double.NaN, "–")]
    [InlineData(double.PositiveInfinity, "–")]
    public void Time_Seconds_AreReadableAtEveryLength(double seconds, string expected) => Assert.Equal(expected, Numbers.Time(seconds));

    private void Wait(double seconds) => _time.Advance(TimeSpan.FromSeconds(seconds));

    private static T On<T>(Func<T> make)
    {
        using (NotebookHost.Use(new RecordingHost()))
        {
            return make();
        }
    }
}
