namespace LoraNotebooks.Hub;

/// <summary>Counts bytes and tells a listener a few times a second.</summary>
internal sealed class DownloadMeter(IReadOnlyList<RemoteFile> files, IProgress<DownloadProgress>? listener, TimeProvider time)
{
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(200);

    // Weighs each interval by a tenth: the speed is that of the last two seconds.
    private const double Smoothing = 0.1;

    private readonly long _total = files.Sum(static file => file.Size);
    private int _number;
    private long _done;
    private long _fileBytes;
    private long _received;
    private double? _speed;
    private long _lastReport = time.GetTimestamp();

    /// <summary>The next file begins.</summary>
    public void Begin()
    {
        _number++;
        _fileBytes = 0;
        Report(isDone: false);
    }

    /// <summary>Bytes were there from before; negative where they are thrown away.</summary>
    public void Found(long bytes) => _fileBytes += bytes;

    /// <summary>Bytes arrived.</summary>
    public void Advance(long bytes)
    {
        _fileBytes += bytes;
        _received += bytes;
        var elapsed = time.GetElapsedTime(_lastReport);
        if (elapsed < Interval)
        {
            return;
        }

        var speed = _received / elapsed.TotalSeconds;
        _speed = _speed is { } former ? former + Smoothing * (speed - former) : speed;
        _received = 0;
        _lastReport = time.GetTimestamp();
        Report(isDone: false);
    }

    /// <summary>The file is whole.</summary>
    public void End()
    {
        _fileBytes = files[_number - 1].Size;
        Report(isDone: true);
        _done += _fileBytes;
    }

    private void Report(bool isDone) => listener?.Report(new DownloadProgress
    {
        File = files[_number - 1].Name,
        FileNumber = _number,
        Files = files.Count,
        FileBytes = _fileBytes,
        FileTotal = files[_number - 1].Size,
        Bytes = _done + _fileBytes,
        Total = _total,
        BytesPerSecond = _speed ?? 0,
        IsFileDone = isDone,
    });
}
