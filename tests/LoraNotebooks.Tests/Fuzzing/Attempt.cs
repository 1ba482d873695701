using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using TorchSharp;

namespace LoraNotebooks.Tests.Fuzzing;

/// <summary>What reading one damaged file came to.</summary>
/// <param name="Error">What the reader threw, or <see langword="null"/> if it read the file.</param>
/// <param name="Seconds">How long it took.</param>
/// <param name="Bytes">The most memory that it took, the larger of managed allocation and growth of resident memory.</param>
/// <param name="LeftTensors">Tensors that were made and not freed.</param>
/// <param name="IsHeld">Whether the damaged file is still open.</param>
internal sealed record Attempt(Exception? Error, double Seconds, long Bytes, long LeftTensors, bool IsHeld)
{
    private const string Status = "/proc/self/status";
    private const double MostSeconds = 1;
    private const long SpareBytes = 64 << 20;
    private const int Repetitions = 2;

    /// <summary>Words of which every message has one: they lead over to what would be right.</summary>
    private static readonly string[] Remedies =
    [
        "expected", "Expected", "expects", "supported is", "needs", "lacks", "missing", "Download", "Keep one", "Correct it", "close names are", "Fetch it",
        "save as", "merge it", "keep the"
    ];

    /// <summary>
    /// Reads a folder on the calling thread and measures. Another process can make a measurement large, but hardly three times, so a large one
    /// is repeated and the least counts.
    /// </summary>
    public static Attempt Run(FuzzTarget target, string damaged, long size)
    {
        var attempt = Once(target, damaged);
        for (var i = 0; i < Repetitions && (attempt.Seconds > MostSeconds || attempt.Bytes > size + SpareBytes); i++)
        {
            GC.Collect();
            GiveMemoryBack();
            var again = Once(target, damaged);
            attempt = attempt with { Seconds = Math.Min(attempt.Seconds, again.Seconds), Bytes = Math.Min(attempt.Bytes, again.Bytes) };
        }

        return attempt;
    }

    /// <summary>
    /// Gives what was freed back to the system: if it stays resident, as the allocator may be set, it hides what a reader takes. Costs milliseconds,
    /// so it is called before the first attempt, before a repeated one and now and then.
    /// </summary>
    public static void GiveMemoryBack()
    {
        if (OperatingSystem.IsLinux())
        {
            _ = TrimMemory(0);
        }
    }

    /// <summary>What is wrong with a reader that does this, or <see langword="null"/> if nothing is.</summary>
    /// <param name="target">The reader.</param>
    /// <param name="size">The bytes of the files that it read.</param>
    public string? Fault(FuzzTarget target, long size) => this switch
    {
        { Error: { } error } when !target.Documented.Contains(error.GetType()) => $"threw an exception that is not documented: {error}",
        { Error.Message: var message } when !Remedies.Any(word => message.Contains(word, StringComparison.Ordinal)) =>
            $"the message says nothing of what would be right: {Brief(message)}",
        { Error.Message: var message } when message.Length > 2_000 + 2 * size => $"the message has {message.Length} characters: {Brief(message)}",
        { Seconds: > MostSeconds } => $"took {Seconds:F1} s",
        _ when Bytes > size + SpareBytes => $"took {Bytes / 1e6:F0} MB of memory, the files have {size / 1e6:F1} MB",
        { LeftTensors: not 0 } => $"left {LeftTensors} tensors; {Brief(Error?.Message ?? "it was read")}",
        { IsHeld: true } => $"left the file open; {Brief(Error?.Message ?? "it was read")}",
        _ => null,
    };

    /// <summary>The beginning of a text.</summary>
    public static string Brief(string text) => text.Length <= 400 ? text : $"{text[..400]}… ({text.Length} characters)";

    private static Attempt Once(FuzzTarget target, string damaged)
    {
        var resident = StartPeak();
        var tensors = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
        var allocated = GC.GetAllocatedBytesForCurrentThread();
        var started = Stopwatch.GetTimestamp();
        Exception? error = null;
        try
        {
            target.Read(target.Folder);
        }
        catch (Exception thrown)
        {
            error = thrown;
        }

        var seconds = Stopwatch.GetElapsedTime(started).TotalSeconds;
        allocated = GC.GetAllocatedBytesForCurrentThread() - allocated;
        return new Attempt(
            error, seconds, Math.Max(allocated, Peak() - resident), DisposeScopeManager.Statistics.ThreadTotalLiveCount - tensors, IsOpen(damaged));
    }

    /// <summary>On Linux, too, .NET grants a file to one opener alone if asked to, so that a handle that was left open shows.</summary>
    private static bool IsOpen(string path)
    {
        try
        {
            using var stream = new FileStream(path, FileMode.Open, FileAccess.ReadWrite, FileShare.None);
            return false;
        }
        catch (IOException)
        {
            return true;
        }
    }

    /// <summary>Resets the process's peak of resident memory, where the system has one to reset, and returns what is resident now.</summary>
    private static long StartPeak()
    {
        if (!OperatingSystem.IsLinux())
        {
            return 0;
        }

        File.WriteAllText("/proc/self/clear_refs", "5");
        return StatusBytes("VmRSS:");
    }

    [DllImport("libc", EntryPoint = "malloc_trim")]
    private static extern int TrimMemory(nuint keep);

    private static long Peak() => OperatingSystem.IsLinux() ? StatusBytes("VmHWM:") : 0;

    private static long StatusBytes(string key)
    {
        var line = File.ReadLines(Status).First(line => line.StartsWith(key, StringComparison.Ordinal));
        return 1024 * long.Parse(line.AsSpan(key.Length).TrimEnd("kB ").Trim(), CultureInfo.InvariantCulture);
    }
}
