using LoraNotebooks.Comparison;
using LoraNotebooks.Data;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Training;
using LoraNotebooks.Training.Diffusion;
using Microsoft.Extensions.Time.Testing;

namespace LoraNotebooks.Interactive.Tests;

public class LiveMonitorTests
{
    private readonly RecordingHost _host = new();
    private readonly FakeTimeProvider _time = new();

    private T On<T>(Func<T> make)
    {
        using (NotebookHost.Use(_host))
        {
            return make();
        }
    }

    private string? Html => _host.Displays[0][^1].Text(MimeTypes.Html);

    [Fact]
    public void Button_Pressed_CancelsSaysSoAndIsGoneAtTheEnd()
    {
        var monitor = On(() => new TrainingMonitor("mika", _time));
        monitor.Report(Some.Step(1, 10, 1, 1, 0.5));
        Assert.Equal(Assert.Single(_host.Offers), _host.Displays[0][^1].Text(MimeTypes.Stop));
        Assert.All(_host.Displays, display => Assert.Equal(_host.Offers.Single(), display[^1].Text(MimeTypes.Run)));
        Assert.DoesNotContain(MimeTypes.Stop, _host.Displays[1][^1].Types);
        Assert.False(monitor.Cancellation.IsCancellationRequested);

        _host.Press(_host.Offers.Single());
        Assert.True(monitor.Cancellation.IsCancellationRequested);
        _time.Advance(TimeSpan.FromSeconds(1));
        Assert.Contains("stopping", Html);
        Assert.DoesNotContain(MimeTypes.Stop, _host.Displays[0][^1].Types);

        monitor.Complete();
        Assert.Contains("stopped", Html);
        Assert.Empty(_host.Offers);
        Assert.All(_host.Displays, display => Assert.DoesNotContain(MimeTypes.Run, display[^1].Types));
        Assert.DoesNotContain(MimeTypes.Stop, _host.Displays[0][^1].Types);
        Assert.True(monitor.Cancellation.IsCancellationRequested);
    }

    [Fact]
    public void Stored_WhileItGoesOn_WasRunningWhenSaved()
    {
        var monitor = On(() => new TrainingMonitor("is running <span role=\"status\">", _time));
        monitor.Report(Some.Step(1, 10, 1, 1, 0.5));
        var live = _host.Displays[0][^1];
        Assert.Contains(">running<", live.Text(MimeTypes.Html));
        var stored = live.Stored();
        Assert.DoesNotContain(">running<", stored.Text(MimeTypes.Html));
        Assert.Contains(">was running when saved<", stored.Text(MimeTypes.Html));
        Assert.Contains("is running &lt;span role=&quot;status&quot;&gt;", stored.Text(MimeTypes.Html));
        Assert.Equal([MimeTypes.Html, MimeTypes.PlainText], stored.Types);

        monitor.Complete();
        Assert.Equal(Html, _host.Displays[0][^1].Stored().Text(MimeTypes.Html));
    }

    [Fact]
    public void Cell_Stopped_CancelsItsMonitorsUntilTheyEnd()
    {
        var (running, done) = (On(() => new TrainingMonitor("a", _time)), On(() => new TrainingMonitor("b", _time)));
        done.Complete();
        _host.StopCell();
        Assert.True(running.Cancellation.IsCancellationRequested);
        Assert.False(done.Cancellation.IsCancellationRequested);
        Assert.True(On(() => new PreparationMonitor(time: _time)).Cancellation.IsCancellationRequested);
    }

    [Fact]
    public void Cancellation_OnAHostThatCannotStop_IsNeverCancelledAndShowsNoButton()
    {
        var output = new StringWriter();
        using var use = NotebookHost.Use(new ConsoleHost(output));
        using var monitor = new TrainingMonitor("mika", _time);
        monitor.Report(Some.Step(1, 10, 1, 1, 0.5));
        Assert.True(monitor.Cancellation.CanBeCanceled);
        Assert.False(monitor.Cancellation.IsCancellationRequested);
        Assert.DoesNotContain(MimeTypes.Stop, output.ToString());
    }

    [Fact]
    public void Follow_CancelledWork_IsStoppedNotFailed()
    {
        var monitor = On(() => new TrainingMonitor("mika", _time));
        Assert.Throws<OperationCanceledException>((Action)(() => monitor.Follow(m =>
        {
            _host.StopCell();
            m.Cancellation.ThrowIfCancellationRequested();
            return 0;
        })));
        Assert.Contains("stopped before the first step", _host.Displays[0][^1].Text(MimeTypes.PlainText));
    }

    [Fact]
    public void Button_PressedDuringTraining_KeepsTheCheckpointAndShowsWhereItStopped()
    {
        var folder = Directory.CreateTempSubdirectory("monitor").FullName;
        try
        {
            using var pipeline = StableDiffusionPipeline.FromFolder(BaseModel.Folder);
            var dataset = new PreparedDataset([new("a", Some.Image(64, 64), "a", "a.png"), new("b", Some.Image(64, 64, 7), "b", "b.png")]);
            var config = new DiffusionTrainingConfig { Name = "mika", OutputFolder = folder, Epochs = 50 };
            using var result = On(() => new TrainingMonitor("mika")).Follow(monitor =>
                new LoraTrainer().Train(config, pipeline, dataset, new Immediate<TrainingStep>(step =>
                {
                    monitor.Report(step);
                    if (step.Step == 2)
                    {
                        _host.Press(_host.Offers.Single());
                    }
                }), monitor.Cancellation));

            Assert.True(result.WasCancelled);
            Assert.Equal(2, result.Steps.Count);
            Assert.True(File.Exists(result.File) && File.Exists(result.StateFile));
            Assert.Contains("stopped at step 2 of 100", _host.Displays[0][^1].Text(MimeTypes.PlainText));
            Assert.Equal(2, _host.Displays[1][^1].Node(MimeTypes.Plotly)!["data"]![0]!["x"]!.AsArray().Count);
            Assert.NotNull(_host.Displays[1][^1].Text(MimeTypes.Png));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Fact]
    public void Grid_WhileItFills_KeepsPlacesForWhatIsToComeAndEndsAsTheFinishedDisplay()
    {
        var grid = new XyzGrid(new XyzSettings { Prompt = "a cat", Width = 8, Height = 8 }, XyzAxis.Seed(1, 2, 3), XyzAxis.LoraWeight(0, 1));
        var vacancies = new List<int>();
        var monitor = On(() => new XyzMonitor(grid, "cats", _time));
        var result = monitor.Follow(m => grid.Run(new Painter(), new Immediate<XyzProgress>(progress =>
        {
            Assert.Contains(MimeTypes.Stop, _host.Displays[0][^1].Types);
            m.Report(progress);
            _time.Advance(TimeSpan.FromSeconds(1));
            vacancies.Add(Count(Html, "width:16px;height:16px"));
        }), m.Cancellation));

        Assert.Equal([5, 4, 3, 2, 1, 0], vacancies);
        Assert.Equal(6, Count(_host.Displays[0][0].Text(MimeTypes.Html), "width:16px;height:16px"));
        Assert.Single(_host.Displays);
        Assert.Equal(new XyzGridDisplay(result) { Title = "cats" }.ToMimeBundle().ToJson().ToJsonString(), _host.Displays[0][^1].ToJson().ToJsonString());
        Assert.Equal(7, _host.Displays[0].Count); // the empty one, five that fill, the finished one
    }

    [Fact]
    public void Grid_Stopped_ShowsWhatWasPaintedAndHowMany()
    {
        var grid = new XyzGrid(new XyzSettings { Prompt = "a cat" }, XyzAxis.Seed(1, 2, 3, 4));
        var monitor = On(() => new XyzMonitor(grid, "cats", _time));
        var result = monitor.Follow(m => grid.Run(new Painter(), new Immediate<XyzProgress>(progress =>
        {
            m.Report(progress);
            if (progress.Done == 3)
            {
                _host.Press(_host.Offers.Single());
            }
        }), m.Cancellation));

        Assert.Equal(3, result.Cells.Count);
        Assert.Contains("3 of 4 images, stopped", Html);
        Assert.Equal(3, Count(Html, "<img "));
        Assert.Contains("stopped after 3", _host.Displays[0][^1].Text(MimeTypes.PlainText));
    }

    [Fact]
    public void Grid_CellThatFails_ShowsItsMessageWhileItFillsAndAtTheEnd()
    {
        var grid = new XyzGrid(new XyzSettings { Prompt = "a cat" }, XyzAxis.Seed(1, 2, 3));
        var monitor = On(() => new XyzMonitor(grid, "cats", _time));
        var calls = 0;
        var growing = new List<string>();
        var painter = new Painter(() => ++calls == 2 ? throw new InvalidDataException("the file is <damaged>") : Some.Image());
        var result = monitor.Follow(m => grid.Run(painter, new Immediate<XyzProgress>(progress =>
        {
            m.Report(progress);
            _time.Advance(TimeSpan.FromSeconds(1));
            growing.Add(Html!);
        }), m.Cancellation));

        Assert.Equal((2, 1), (result.Cells.Count, result.Failures.Count));
        Assert.DoesNotContain("damaged", growing[0]);
        Assert.All([growing[1], Html], html => Assert.Contains("the file is &lt;damaged&gt;", html));
        Assert.Contains("2 of 3 images, 1 failed", Html);
        Assert.DoesNotContain("stopped", Html);
        Assert.Equal(2, Count(Html, "<img "));
        Assert.Contains("1 failed: the file is <damaged>", _host.Displays[0][^1].Text(MimeTypes.PlainText));
    }

    [Fact]
    public void Grid_LargePictures_AreSmallWhileItFills()
    {
        var grid = new XyzGrid(new XyzSettings { Prompt = "a cat" }, XyzAxis.Seed(1, 2, 3, 4, 5), XyzAxis.LoraWeight(0, 0.25, 0.5, 0.75, 1));
        var monitor = On(() => new XyzMonitor(grid, "cats", _time));
        var random = new Random(1);
        monitor.Follow(m => grid.Run(new Painter(() => Clouds(random)), new Immediate<XyzProgress>(progress =>
        {
            m.Report(progress);
            _time.Advance(TimeSpan.FromSeconds(1));
        }), m.Cancellation));

        var sizes = _host.Displays[0].Select(bundle => bundle.Text(MimeTypes.Html)!.Length).ToArray();
        Assert.InRange(sizes[^2], 1, 600_000);
        Assert.InRange(sizes[^1], 1.5 * sizes[^2], 6_000_000);
    }

    [Fact]
    public void BriefImages_DrawnAgain_AreEncodedOnceAndForgottenWhenNotShown()
    {
        var images = new BriefImages();
        var (kept, gone) = (Some.Image(), Some.Image(shade: 7));
        string Source(RgbImage image) => images.Source(image, 64);

        images.Begin();
        var (first, other) = (Source(kept), Source(gone));
        images.Begin();
        Assert.Same(first, Source(kept));
        Assert.Same(first, Source(kept));
        images.Begin();
        Assert.Same(first, Source(kept));
        Assert.NotSame(other, Source(gone));
    }

    [Fact]
    public void Preparation_Reports_ShowCountFileAndTheLastPicturesAndEndWithTheLast()
    {
        var monitor = On(() => new PreparationMonitor("Preparing <mika>", _time));
        for (var i = 1; i <= 20; i++)
        {
            _time.Advance(TimeSpan.FromSeconds(1));
            var image = new PreparedImage($"name{i}", Some.Image(shade: (byte)i), "", $"file{i}.png", false, 1);
            monitor.Report(new(i, 20, 0, $"file{i}.png", image));
            if (i == 10)
            {
                Assert.Contains("10 of 20", Html);
                Assert.Contains("file10.png", Html);
                Assert.Contains("1 images/s", Html);
                Assert.Contains(">10 s<", Html);
                Assert.Equal(8, Count(Html, "<img "));
                Assert.Contains("name3", Html);
                Assert.DoesNotContain("name2\"", Html);
                Some.AssertHarmless(monitor.ToHtml());
            }
        }

        Assert.Equal("Preparing <mika>: finished after 20 images of 20", _host.Displays[0][^1].Text(MimeTypes.PlainText));
        Assert.Empty(_host.Offers);
        var updates = _host.Displays[0].Count;
        monitor.Dispose();
        Assert.Equal(updates, _host.Displays[0].Count);
    }

    [Fact]
    public void Preparation_Errors_AreCountedAndTheWorkFails()
    {
        var monitor = On(() => new PreparationMonitor(time: _time));
        Assert.Throws<InvalidDataException>((Action)(() => monitor.Follow(m =>
        {
            m.Report(new(1, 2, 1, "a.png"));
            m.Report(new(2, 2, 1, "b.png"));
            return m.Title.Length > 0 ? throw new InvalidDataException("a.png is damaged") : 0;
        })));
        Assert.Contains("failed", _host.Displays[0][^1].Text(MimeTypes.PlainText));
        Assert.Contains("a.png is damaged", Html);
    }

    private static int Count(string? text, string part) => text!.Split(part).Length - 1;

    // Smooth shapes with some grain, as a photograph packs.
    private static RgbImage Clouds(Random random)
    {
        var pixels = new byte[512 * 512 * 3];
        var (a, b) = (random.NextDouble(), random.NextDouble());
        for (var i = 0; i < pixels.Length; i++)
        {
            var (x, y) = (i / 3 % 512, i / 1536);
            pixels[i] = (byte)(128 + 100 * Math.Sin(a * x / 9 + i % 3) * Math.Cos(b * y / 7) + random.Next(9));
        }

        return new RgbImage(512, 512, pixels);
    }

    private sealed class Immediate<T>(Action<T> report) : IProgress<T>
    {
        public void Report(T value) => report(value);
    }
}
