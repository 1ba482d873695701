using System.ComponentModel;
using System.Diagnostics;
using System.Globalization;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Training.Diffusion;

/// <summary>How much memory is free for a model.</summary>
public static class AvailableMemory
{
    private const int Mebi = 1024 * 1024;
    private const int LongestWait = 5_000;

    /// <summary>The bytes that are free now, within the limits of a container; <see langword="null"/> where that cannot be told.</summary>
    /// <param name="device">The device, default the CPU. Of a CUDA device nvidia-smi is asked.</param>
    public static long? Of(Device? device = null) =>
        device is null || device.type == DeviceType.CPU
            ? OfMachine()
            : device.type == DeviceType.CUDA ? OfCuda(Math.Max(device.index, 0)) : null;

    private static long? OfMachine()
    {
        // The figures are those of the last collection, of which there may have been none.
        GC.Collect(0);
        var info = GC.GetGCMemoryInfo(GCKind.Any);
        return info.TotalAvailableMemoryBytes > 0 ? Math.Max(info.TotalAvailableMemoryBytes - info.MemoryLoadBytes, 0) : null;
    }

    private static long? OfCuda(int index)
    {
        var start = new ProcessStartInfo("nvidia-smi", ["--query-gpu=memory.free", "--format=csv,noheader,nounits", $"--id={index}"])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        try
        {
            using var process = Process.Start(start)!;
            var answer = process.StandardOutput.ReadToEndAsync();
            return process.WaitForExit(LongestWait) && long.TryParse(answer.Result.Trim(), NumberStyles.None, CultureInfo.InvariantCulture, out var free)
                ? free * Mebi
                : null;
        }
        catch (Win32Exception)
        {
            return null; // No such program: no driver, or another kind of system.
        }
    }
}
