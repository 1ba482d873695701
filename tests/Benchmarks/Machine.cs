using System.Globalization;

namespace Benchmarks;

/// <summary>What the operating system says of this process and of the machine, on Linux; elsewhere nothing is known.</summary>
internal static class Machine
{
    /// <summary>How many processes want to run, on average over 1, 5 and 15 minutes.</summary>
    public static string Load() => OperatingSystem.IsLinux() ? string.Join(' ', File.ReadAllText("/proc/loadavg").Split(' ')[..3]) : "unknown";

    /// <summary>Resets the peak of resident memory and returns what is resident now, in bytes.</summary>
    public static long StartPeak()
    {
        if (OperatingSystem.IsLinux())
        {
            File.WriteAllText("/proc/self/clear_refs", "5");
        }

        return Resident("VmRSS:");
    }

    /// <summary>The peak of resident memory since <see cref="StartPeak"/>, in bytes.</summary>
    public static long Peak() => Resident("VmHWM:");

    private static long Resident(string key) => OperatingSystem.IsLinux()
        ? 1024 * long.Parse(
            File.ReadLines("/proc/self/status").First(line => line.StartsWith(key, StringComparison.Ordinal)).AsSpan(key.Length).TrimEnd("kB ").Trim(),
            CultureInfo.InvariantCulture)
        : 0;
}
