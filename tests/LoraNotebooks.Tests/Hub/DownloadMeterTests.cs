using LoraNotebooks.Hub;
using LoraNotebooks.Tests.Training;
using Microsoft.Extensions.Time.Testing;

namespace LoraNotebooks.Tests.Hub;

/// <summary>What is told of a download: by a clock in the test's hands, number by number.</summary>
public sealed class DownloadMeterTests
{
    private readonly FakeTimeProvider _time = new();
    private readonly List<DownloadProgress> _reports = [];

    [Fact]
    public void Report_TwoFiles_HaveEveryNumber()
    {
        var meter = Meter(("a.json", 100), ("b.safetensors", 1000));

        meter.Begin();
        _time.Advance(TimeSpan.FromMilliseconds(500));
        meter.Advance(100);
        meter.End();
        meter.Begin();
        meter.Found(300);
        _time.Advance(TimeSpan.FromSeconds(2));
        meter.Advance(400);
        meter.Found(-700);
        _time.Advance(TimeSpan.FromSeconds(1));
        meter.Advance(50);
        meter.Advance(950);
        meter.End();

        // 100 bytes in 0.5 s; then the mean moves by a tenth towards 400 bytes in 2 s, then towards 50 bytes in 1 s.
        var (first, second) = (200.0, 200.0);
        var third = second + (50 - second) / 10;
        Assert.Equal(
            [
                Progress("a.json", 1, 0, 100, 0, 0),
                Progress("a.json", 1, 100, 100, 100, first),
                Progress("a.json", 1, 100, 100, 100, first, isDone: true),
                Progress("b.safetensors", 2, 0, 1000, 100, first),
                Progress("b.safetensors", 2, 700, 1000, 800, second),
                Progress("b.safetensors", 2, 50, 1000, 150, third),
                Progress("b.safetensors", 2, 1000, 1000, 1100, third, isDone: true),
            ],
            _reports);
    }

    [Theory]
    [InlineData(199, 0)]
    [InlineData(200, 1)]
    public void Advance_BytesThatArrive_AreToldFiveTimesASecondAtMost(int milliseconds, int told)
    {
        var meter = Meter(("a.json", 100));
        meter.Begin();
        _reports.Clear();

        meter.Advance(10);
        meter.Advance(10);
        _time.Advance(TimeSpan.FromMilliseconds(milliseconds));
        meter.Advance(10);

        Assert.Equal(told, _reports.Count);
        Assert.All(_reports, report => Assert.Equal((30, 150.0), (report.FileBytes, report.BytesPerSecond)));
    }

    [Fact]
    public void Advance_SpeedThatChanges_IsToldAsThatOfLate()
    {
        var meter = Meter(("a.json", 10_000));
        meter.Begin();

        foreach (var bytes in new[] { 1000, 100, 100 })
        {
            _time.Advance(TimeSpan.FromSeconds(1));
            meter.Advance(bytes);
        }

        Assert.Equal([0, 1000, 910, 829], _reports.Select(static report => Math.Round(report.BytesPerSecond, 6)));
    }

    [Fact]
    public void Advance_WithoutAListener_TellsNobody()
    {
        var meter = new DownloadMeter([], null, _time);
        _time.Advance(TimeSpan.FromSeconds(1));
        meter.Advance(1);
        Assert.Empty(_reports);
    }

    private DownloadMeter Meter(params (string Name, long Size)[] files) => new(
        [.. files.Select(
            static file => new RemoteFile(
                file.Name, HubSettings.DefaultEndpoint, file.Name, file.Size,
                BlobChecksum.Of("", new ListedFile(file.Name, null, null, null), file.Size)))],
        new Immediate<DownloadProgress>(_reports.Add),
        _time);

    private static DownloadProgress Progress(string file, int number, long bytes, long size, long all, double speed, bool isDone = false) => new()
    {
        File = file,
        FileNumber = number,
        Files = 2,
        FileBytes = bytes,
        FileTotal = size,
        Bytes = all,
        Total = 1100,
        BytesPerSecond = speed,
        IsFileDone = isDone,
    };
}
