using System.Diagnostics;
using System.Globalization;
using LoraNotebooks.Models;
using LoraNotebooks.Models.Diffusion;
using static TorchSharp.torch;

namespace Benchmarks;

/// <summary>
/// What does loading cost? A UNet of Stable Diffusion 1.5's full size with random weights is written once, in float32 and in bfloat16, and
/// loaded in a process of its own. Resident memory counts anonymous pages (the weights) and file pages (what of the file is mapped just
/// then); the page cache, in which the system keeps the file, belongs to no process and is given up when memory is needed.
/// </summary>
internal static class LoadingMemory
{
    private const double Giga = 1e9;

    public static void Run()
    {
        Console.WriteLine("file   memory   weights GB   load s   peak over start GB   of weights   anonymous   mapped file");
        foreach (var (stored, loaded) in new[]
        {
            (ScalarType.Float32, ScalarType.Float32),
            (ScalarType.BFloat16, ScalarType.BFloat16),
            (ScalarType.Float32, ScalarType.BFloat16),
            (ScalarType.BFloat16, ScalarType.Float32),
        })
        {
            var folder = Write(stored);
            using var child = Process.Start(new ProcessStartInfo(Environment.ProcessPath!, ["load", folder, loaded.ToString()]))!;
            child.WaitForExit();
        }
    }

    /// <summary>Loads one folder and prints a line; run in a process of its own, as a peak stays in the process that had it.</summary>
    public static void Load(string folder, ScalarType type)
    {
        // Brings libtorch and the just-in-time compiler into memory, so that the start counts them.
        using (var warm = new UNet2DConditionModel(new UNetConfig { BlockOutChannels = [32, 32, 32, 32], CrossAttentionDim = 32 }))
        {
            warm.Save(Path.Combine(folder, "warm"));
        }

        using (UNet2DConditionModel.FromFolder(Path.Combine(folder, "warm"), type))
        {
        }

        Directory.Delete(Path.Combine(folder, "warm"), recursive: true);
        GC.Collect();
        ResetPeak();
        var start = Status("VmRSS");
        var (anonymous, mapped) = (0L, 0L);
        using var done = new CancellationTokenSource();
        var watcher = new Thread(() =>
        {
            while (!done.Token.WaitHandle.WaitOne(1))
            {
                anonymous = Math.Max(anonymous, Status("RssAnon"));
                mapped = Math.Max(mapped, Status("RssFile"));
            }
        });
        var (anonymousStart, mappedStart) = (Status("RssAnon"), Status("RssFile"));
        watcher.Start();
        var clock = Stopwatch.StartNew();
        using var unet = UNet2DConditionModel.FromFolder(folder, type);
        var seconds = clock.Elapsed.TotalSeconds;
        var peak = Status("VmHWM") - start;
        done.Cancel();
        watcher.Join();
        var weights = unet.parameters().Sum(static parameter => parameter.numel() * parameter.element_size());
        Console.WriteLine(
            string.Create(
                CultureInfo.InvariantCulture,
                $"{Path.GetFileName(folder).Split('-')[^1],-6} {Short(type),-6}   {weights / Giga,10:F3}   {seconds,6:F1}   {peak / Giga,18:F3}   ")
            + string.Create(
                CultureInfo.InvariantCulture,
                $"{(double)peak / weights,10:F3}   {(anonymous - anonymousStart) / Giga,9:F3}   {(mapped - mappedStart) / Giga,11:F3}"));
    }

    private static string Write(ScalarType type)
    {
        var folder = Path.Combine(Path.GetTempPath(), $"lora-notebooks-sd15-unet-{Short(type)}");
        if (!File.Exists(Path.Combine(folder, ModelFolder.Config)))
        {
            using var generator = new Generator(1);
            using var unet = new UNet2DConditionModel(new UNetConfig { SampleSize = 64, CrossAttentionDim = 768 }, generator);
            unet.Save(folder, type);
        }

        return folder;
    }

    private static string Short(ScalarType type) => type == ScalarType.Float32 ? "f32" : "bf16";

    /// <summary>A line of /proc/self/status in bytes; 0 on a system without it.</summary>
    private static long Status(string name) => !File.Exists("/proc/self/status") ? 0 : File.ReadLines("/proc/self/status")
        .Where(line => line.StartsWith(name + ":", StringComparison.Ordinal))
        .Select(static line =>
            long.Parse(line.Split([' ', '\t'], StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture) * 1024)
        .FirstOrDefault();

    private static void ResetPeak()
    {
        if (File.Exists("/proc/self/clear_refs"))
        {
            File.WriteAllText("/proc/self/clear_refs", "5");
        }
    }
}
