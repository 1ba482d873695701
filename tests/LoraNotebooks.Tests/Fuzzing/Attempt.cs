using System.Globalization;
using System.Runtime.InteropServices;
using TorchSharp;

namespace LoraNotebooks.Tests.Fuzzing;

/// <summary>What reading one damaged file came to.</summary>
/// <param name="Error">What the reader threw, or <see langword="null"/> if it read the file.</param>
/// <param name="Seconds">The processor time of the reading thread, which other work on the machine does not lengthen.</param>
/// <param name="Bytes">The most memory that it took, the larger of managed allocation and growth of resident memory.</param>
/// <param name="LeftTensors">Tensors that were made and not freed.</param>
/// <param name="IsHeld">Whether the damaged file is still open.</param>
internal sealed record Attempt(Exception? Error, double Seconds, long Bytes, long LeftTensors, bool IsHeld)
{
    private const string Status = "/proc/self/status";

    /// <summary>Reads a folder on the calling thread and measures.</summary>
    public static Attempt Run(FuzzTarget target, string damaged)
    {
        var resident = StartPeak();
        var tensors = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
        var allocated = GC.GetAllocatedBytesForCurrentThread();
        var started = ThreadSeconds();
        Exception? error = null;
        try
        {
            target.Read(target.Folder);
        }
        catch (Exception thrown)
        {
            error = thrown;
        }

        var seconds = ThreadSeconds() - started;
        allocated = GC.GetAllocatedBytesForCurrentThread() - allocated;
        return new Attempt(error, seconds, Math.Max(allocated, Peak() - resident), DisposeScopeManager.Statistics.ThreadTotalLiveCount - tensors, IsOpen(damaged));
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

    private static long Peak() => OperatingSystem.IsLinux() ? StatusBytes("VmHWM:") : 0;

    private static long StatusBytes(string key)
    {
        var line = File.ReadLines(Status).First(line => line.StartsWith(key, StringComparison.Ordinal));
        return 1024 * long.Parse(line.AsSpan(key.Length).TrimEnd("kB ").Trim(), CultureInfo.InvariantCulture);
    }

    private static double ThreadSeconds()
    {
        if (!OperatingSystem.IsLinux() || clock_gettime(3, out var time) != 0)
        {
            return Environment.TickCount64 / 1000.0;
        }

        return time.Seconds + time.Nanoseconds * 1e-9;
    }

    [DllImport("libc")]
    private static extern int clock_gettime(int clock, out TimeSpec time);

    [StructLayout(LayoutKind.Sequential)]
    private readonly struct TimeSpec
    {
        public readonly nint Seconds;
        public readonly nint Nanoseconds;
    }
}
