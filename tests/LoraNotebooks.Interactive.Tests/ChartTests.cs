using LoraNotebooks.Training;
using SkiaSharp;

namespace LoraNotebooks.Interactive.Tests;

public class ChartTests
{
    [Fact]
    public void Smooth_ConstantSeries_StaysConstantFromTheStart() =>
        Assert.All(Series.Smooth([3, 3, 3, 3], 0.9), value => Assert.Equal(3, value, 12));

    [Fact]
    public void Smooth_TwoValues_FollowsTheFormula()
    {
        var smoothed = Series.Smooth([1, 2], 0.5);
        // s2 = 0.5 (0.5·1) + 0.5·2 = 1.25, over 1 − 0.5² = 0.75.
        Assert.Equal([1, 1.25 / 0.75], smoothed, (a, b) => Math.Abs(a - b) < 1e-12);
    }

    [Fact]
    public void Smooth_NotANumber_LeavesTheAverage() => Assert.Equal([1, 1, 1], Series.Smooth([1, double.NaN, 1], 0.5), (a, b) => Math.Abs(a - b) < 1e-12);

    [Theory]
    [InlineData(5_000, 2_000)]
    [InlineData(12_345, 100)]
    [InlineData(101, 100)]
    [InlineData(7, 4)]
    public void Thin_LongSeries_KeepsEndsAndExtremesAndOrder(int count, int most)
    {
        var random = new Random(count);
        double[] values = [.. Enumerable.Range(0, count).Select(_ => random.NextDouble())];
        values[count / 3] = 50;
        values[count / 2] = -50;
        var kept = Series.Thin(values, most);
        Assert.InRange(kept.Length, 2, most);
        Assert.Equal(kept.Order().Distinct(), kept);
        Assert.Equal(0, kept[0]);
        Assert.Equal(count - 1, kept[^1]);
        Assert.Contains(count / 3, kept);
        Assert.Contains(count / 2, kept);
    }

    [Fact]
    public void Figure_LongRun_HasAtMostTwoThousandPointsInAll()
    {
        double[] steps = [.. Enumerable.Range(1, 50_000).Select(i => (double)i)];
        var bundle = new LossChart(steps, [.. steps.Select(Math.Sin)], [.. steps.Select(s => 1 / s)], [10_000, 50_000]).ToMimeBundle();
        var figure = bundle.Node(MimeTypes.Plotly)!;
        var traces = figure["data"]!.AsArray();
        Assert.Equal(3, traces.Count);
        Assert.InRange(traces.Sum(t => t!["x"]!.AsArray().Count), 100, LineChart.MostPoints);
        Assert.All(traces, t => Assert.Equal(t!["x"]!.AsArray().Count, t["y"]!.AsArray().Count));
        Assert.Equal(50_000, traces[1]!["x"]!.AsArray()[^1]!.GetValue<double>());
        Assert.Equal("y2", traces[0]!["yaxis"]!.GetValue<string>());
        Assert.NotNull(figure["layout"]!["yaxis2"]);
        Assert.Equal(2, figure["layout"]!["shapes"]!.AsArray().Count);
    }

    [Fact]
    public void Figure_ManyEpochsAndTwoRates_LimitsPointsAndMarks()
    {
        TrainingStep[] steps =
        [
            .. Enumerable.Range(1, 6_000)
                .Select(i => Some.Step(i, 6_000, 1 + (i - 1) / 10, 600, Math.Sin(i)) with { LearningRates = Some.Rates(1e-4, 1e-5) }),
        ];
        var figure = new LossChart(steps).ToMimeBundle().Node(MimeTypes.Plotly)!;
        Assert.Equal(4, figure["data"]!.AsArray().Count);
        Assert.InRange(figure["data"]!.AsArray().Sum(t => t!["x"]!.AsArray().Count), 1_000, LineChart.MostPoints);
        Assert.InRange(figure["layout"]!["shapes"]!.AsArray().Count, 30, LineChart.MostMarks);
        var labels = figure["layout"]!["annotations"]!.AsArray().Select(a => a!["text"]!.GetValue<string>()).ToArray();
        Assert.InRange(labels.Length, 6, 12);
        Assert.Equal("epoch 600", labels[^1]);
    }

    [Theory]
    [InlineData(5)]
    [InlineData(49)]
    [InlineData(50)]
    [InlineData(1_234)]
    [InlineData(100_000)]
    public void Growing_SeriesOfAnyLength_KeepsEndsExtremesAndOrderWithinItsLimit(int count)
    {
        const int most = 100;
        var series = new GrowingSeries(most);
        for (var i = 0; i < count; i++)
        {
            series.Add(i, i == count / 3 ? 50 : i == count / 2 ? -50 : Math.Sin(i));
        }

        var kept = series.ToSeries("s");
        Assert.InRange(kept.X.Count, Math.Min(count, most / 4), most);
        Assert.Equal(kept.X.Order().Distinct(), kept.X);
        Assert.Equal((0, count - 1), (kept.X[0], kept.X[^1]));
        Assert.Equal(50, kept.Y.Max());
        Assert.Equal(-50, kept.Y.Min());
        Assert.All(kept.X.Zip(kept.Y), p => Assert.Equal(p.First == count / 3 ? 50 : p.First == count / 2 ? -50 : Math.Sin(p.First), p.Second));
    }

    [Fact]
    public void Growing_ShortRun_DrawsWhatTheWholeChartDraws()
    {
        TrainingStep[] steps = [.. Enumerable.Range(1, 90).Select(i => Some.Step(i, 100, 1 + (i - 1) / 20, 5, i % 7 == 0 ? double.NaN : Math.Cos(i)))];
        var growing = new GrowingLossChart();
        foreach (var step in steps)
        {
            growing.Add(step);
        }

        Assert.Equal(
            PlotlyJson.Of(new LossChart(steps).Chart.ToFigure()).ToJsonString(),
            PlotlyJson.Of(growing.ToChart().Chart.ToFigure()).ToJsonString());
    }

    [Fact]
    public void Growing_ManyEpochs_KeepsAFewMarksEvenlySpread()
    {
        var growing = new GrowingLossChart();
        for (var i = 1; i <= 5_000; i++)
        {
            growing.Add(Some.Step(i, 5_000, i, 5_000, 0.5));
        }

        double[] marks = [.. growing.ToChart().Chart.Marks.Select(mark => mark.X)];
        Assert.InRange(marks.Length, LineChart.MostMarks / 2 - 1, LineChart.MostMarks);
        Assert.Single(marks.Zip(marks.Skip(1), (a, b) => b - a).Distinct());
    }

    [Theory]
    [InlineData(60, 1, 59)]
    [InlineData(61, 1, 60)]      // the last epoch has not ended
    [InlineData(62, 2, 30)]      // 61 ends are too many: every second stays
    [InlineData(121, 2, 60)]
    [InlineData(123, 4, 30)]
    public void Growing_Epochs_HaveAMarkForEachThenForEverySecondThenForEveryFourth(int epochs, int every, int marks)
    {
        var growing = new GrowingLossChart();
        foreach (var epoch in Enumerable.Range(1, epochs))
        {
            growing.Add(Some.Step(2 * epoch - 1, 1_000, epoch, 500, 0.5));
            growing.Add(Some.Step(2 * epoch, 1_000, epoch, 500, 0.5));
        }

        Assert.Equal(
            Enumerable.Range(1, epochs - 1).Where(epoch => epoch % every == 0).Select(epoch => (2.0 * epoch, $"epoch {epoch}")),
            growing.ToChart().Chart.Marks.Select(mark => (mark.X, mark.Label)));
        Assert.Equal(marks, growing.ToChart().Chart.Marks.Count);
    }

    [Fact]
    public void Growing_Series_BearTheNumbersAndNamesOfTheRun()
    {
        static (string, string, string)[] Of(double? textRate)
        {
            var growing = new GrowingLossChart();
            foreach (var step in Enumerable.Range(1, 3))
            {
                growing.Add(Some.Step(10 * step, 40, 1, 1, 0.5 * step) with
                {
                    SmoothedLoss = 0.25 * step,
                    LearningRates = Some.Rates(2 * step, textRate * step),
                });
            }

            return [.. growing.ToChart().Chart.Series.Select(series => (series.Name, string.Join(' ', series.X), string.Join(' ', series.Y)))];
        }

        (string, string, string)[] losses = [("loss", "10 20 30", "0.5 1 1.5"), ("loss, smoothed", "10 20 30", "0.25 0.5 0.75")];
        Assert.Equal([("learning rate", "10 20 30", "2 4 6"), .. losses], Of(null));
        Assert.Equal([("learning rate, UNet", "10 20 30", "2 4 6"), ("text encoder", "10 20 30", "3 6 9"), .. losses], Of(3));
    }

    [Fact]
    public void Loss_WhatATaskNoted_IsDrawnBesideTheLossWhereItIsOne()
    {
        TrainingStep[] steps =
        [
            .. Enumerable.Range(1, 4).Select(static i => Some.Step(10 * i, 40, 1, 1, i) with
            {
                LearningRates = new OrderedDictionary<string, double> { ["model"] = i, ["head"] = 2 * i, ["router"] = 3 * i },
                Metrics = i % 2 == 0
                    ? new Dictionary<string, double> { ["accuracy"] = 0.5, ["validation loss"] = 7 * i }
                    : new Dictionary<string, double> { ["accuracy"] = 0.25 },
            }),
        ];
        var growing = new GrowingLossChart();
        Array.ForEach(steps, growing.Add);

        var whole = new LossChart(steps).Chart.Series;
        string[] names = ["learning rate, model", "head", "router", "validation loss", "loss", "loss, smoothed"];
        Assert.Equal(names, whole.Select(static series => series.Name));
        Assert.Equal(names, growing.ToChart().Chart.Series.Select(static series => series.Name));
        Assert.Equal([3, 6, 9, 12], whole[2].Y);
        foreach (var noted in (ChartSeries[])[whole[3], growing.ToChart().Chart.Series[3]])
        {
            Assert.Equal([20, 40], noted.X);
            Assert.Equal([14, 28], noted.Y);
        }

        Assert.Equal(5, whole.SkipLast(1).Select(static series => series.Colour).Distinct().Count());
        Assert.Equal([true, true, true, false, false, false], whole.Select(static series => series.OnSecondAxis));
    }

    [Fact]
    public void Figure_LossThatIsNotANumber_IsAGap()
    {
        var figure = new LossChart([1, double.NaN, 2]).ToMimeBundle().Node(MimeTypes.Plotly)!;
        Assert.Equal(["1", "null", "2"], figure["data"]![0]!["y"]!.AsArray().Select(v => v?.GetValue<double>().ToString() ?? "null"));
    }

    public static TheoryData<double[]> OddSeries => [[], [1.0], [double.NaN], [2, 2, 2], [0, 0], [1e-9, 1e9], [double.PositiveInfinity, 1]];

    [Theory]
    [MemberData(nameof(OddSeries))]
    public void Png_AnySeries_IsDrawnAtItsSize(double[] losses)
    {
        using var picture = SKBitmap.Decode(Convert.FromBase64String(new LossChart(losses).ToMimeBundle().Text(MimeTypes.Png)!));
        Assert.Equal((2 * LineChart.Width, 2 * LineChart.Height), (picture.Width, picture.Height));
    }

    [Fact]
    public void Png_Labels_AreDrawnWithoutSystemFonts()
    {
        // The embedded typeface itself has these; nothing is asked of the system.
        using var letters = new Lettering(12, SKColors.Black);
        Assert.InRange(letters.Measure("learning rate 0.5 — Größe"), 100, 250);
        using var surface = SKSurface.Create(new SKImageInfo(100, 20));
        letters.Draw(surface.Canvas, "loss", 2, 15);
        using var pixels = SKBitmap.FromImage(surface.Snapshot());
        Assert.Contains(pixels.Pixels, p => p.Alpha > 128);
    }

    [Fact]
    public void Wrap_LongText_FitsAndEndsInAnEllipsis()
    {
        using var letters = new Lettering(12, SKColors.Black);
        var lines = letters.Wrap("a very long caption that needs several lines 😀 averyveryveryverylongwordwithoutanyspace", 80, 3);
        Assert.Equal(3, lines.Count);
        Assert.All(lines, line => Assert.True(letters.Measure(line) <= 81, line));
        Assert.EndsWith("…", lines[^1]);
    }

    [Theory]
    [InlineData(0.000123456, "1.23e-4")]
    [InlineData(0.0009996, "1e-3")]
    [InlineData(0, "0")]
    [InlineData(12345.6, "12,345.6")]
    [InlineData(0.123456, "0.1235")]
    [InlineData(double.NaN, "NaN")]
    public void Short_Number_ReadsWell(double value, string expected) => Assert.Equal(expected, Numbers.Short(value));

    [Fact]
    public void LineChart_UnequalLengths_SaysSo()
    {
        var fault = Assert.Throws<ArgumentException>(() => new LineChart(new ChartSeries("s", [1, 2], [1])));
        Assert.Contains("2 positions and 1 values", fault.Message);
    }
}
