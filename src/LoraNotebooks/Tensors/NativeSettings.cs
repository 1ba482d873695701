using System.Runtime.InteropServices;

namespace LoraNotebooks.Tensors;

/// <summary>
/// What must be said to the C runtime and to libtorch before they are used: where memory comes from, which instructions to use, when to be quiet.
/// </summary>
internal static partial class NativeSettings
{
    /// <summary>The variable that leaves glibc's allocator as it is, if it is <c>system</c>.</summary>
    public const string AllocatorVariable = "LORANOTEBOOKS_ALLOCATOR";

    /// <summary>
    /// oneDNN's variable that limits the vector instructions it uses: <c>SSE41</c>, <c>AVX</c>, <c>AVX2</c>, <c>AVX512_CORE</c> … It is read at the first
    /// convolution, from the C environment.
    /// </summary>
    public const string InstructionVariable = "ONEDNN_MAX_CPU_ISA";

    // glibc, malloc.h; mallopt(3).
    private const int TrimThreshold = -1, TopPad = -2, MmapThreshold = -3, ArenaMax = -8;

    private const int ErrorLevel = 2;   // c10/util/Logging.h: INFO 0, WARNING 1, ERROR 2

    /// <summary>The limit of oneDNN's instructions, if there is one.</summary>
    public static string? InstructionLimit => Environment.GetEnvironmentVariable(InstructionVariable) is { Length: > 0 } limit ? limit : null;

    /// <summary>Whether glibc was told to keep freed memory.</summary>
    public static bool KeepsMemory { get; private set; }

    /// <summary>
    /// Tells glibc to keep the memory that tensors free. By default it maps each tensor over 128 KB to 32 MB anew and gives it back, and the kernel
    /// then fills each page with zeros at its first touch, which takes longer than many an operation: a 3×3 convolution of 1,280 channels at
    /// 16×16 pixels is six times as fast without. One arena for all threads, because those of further threads hold 64 MB at most.
    /// </summary>
    /// <remarks>Resident memory then stays at its peak, and does not grow beyond it. Only on Linux with glibc; elsewhere nothing is done.</remarks>
    public static void KeepMemory()
    {
        if (KeepsMemory || !OperatingSystem.IsLinux()
            || string.Equals(Environment.GetEnvironmentVariable(AllocatorVariable), "system", StringComparison.OrdinalIgnoreCase))
        {
            return;
        }

        try
        {
            // Setting any of the thresholds also ends glibc's adjusting them by itself.
            // Older versions take 32 MB at most as the size from which memory is mapped.
            var takesThreshold = mallopt(MmapThreshold, 1 << 30) != 0 || mallopt(MmapThreshold, 1 << 25) != 0;
            KeepsMemory = takesThreshold & mallopt(TrimThreshold, int.MaxValue) != 0 & mallopt(TopPad, 1 << 26) != 0 & mallopt(ArenaMax, 1) != 0;
        }
        catch (EntryPointNotFoundException)
        {
            // musl has no such call.
        }
        catch (DllNotFoundException)
        {
        }
    }

    /// <summary>
    /// Hands oneDNN's variables to the C environment. On Unix .NET copies the environment at the start, so what a program or a notebook's cell sets with
    /// <see cref="Environment.SetEnvironmentVariable(string, string?)"/> would not be seen by native code.
    /// </summary>
    public static void HandOverVariables()
    {
        if (!OperatingSystem.IsWindows() && Environment.GetEnvironmentVariable(InstructionVariable) is { Length: > 0 } limit)
        {
            setenv(InstructionVariable, limit, overwrite: 1);
        }
    }

    /// <summary>
    /// Switches NNPACK off where it cannot work. There libtorch tries it anew at each small convolution, and each time writes a warning that the user can
    /// do nothing about: 50,000 lines in a training of a minute. Where it works it stays on; other warnings are written as before.
    /// </summary>
    /// <param name="torch">The loaded libtorch_cpu.</param>
    /// <param name="c10">The loaded libc10.</param>
    /// <returns>Whether NNPACK works; <see langword="null"/> if this build has none, as on Windows.</returns>
    public static unsafe bool? SilenceNnpack(nint torch, nint c10)
    {
        // at::native::_nnpack_available(), at::globalContext(), at::Context::setUserEnabledNNPACK(bool)
        if (!NativeLibrary.TryGetExport(torch, "_ZN2at6native17_nnpack_availableEv", out var isAvailable)
            || !NativeLibrary.TryGetExport(torch, "_ZN2at13globalContextEv", out var context)
            || !NativeLibrary.TryGetExport(torch, "_ZN2at7Context20setUserEnabledNNPACKEb", out var enable))
        {
            return null;
        }

        var quiet = 0;
        var level = NativeLibrary.TryGetExport(c10, "FLAGS_caffe2_log_level", out var address) ? (int*)address : &quiet;
        return Silence(
            () => ((delegate* unmanaged[Cdecl]<byte>)isAvailable)() != 0,
            () => ((delegate* unmanaged[Cdecl]<nint, byte, void>)enable)(((delegate* unmanaged[Cdecl]<nint>)context)(), 0),
            ref *level);
    }

    /// <summary>See above, with libtorch's part in the caller's hands.</summary>
    /// <param name="isAvailable">Tries NNPACK, which writes a warning if it does not work.</param>
    /// <param name="switchOff">Switches it off.</param>
    /// <param name="level">The least severe level that is written.</param>
    internal static bool Silence(Func<bool> isAvailable, Action switchOff, ref int level)
    {
        var before = level;
        level = Math.Max(before, ErrorLevel);
        var works = isAvailable();
        level = before;
        if (!works)
        {
            switchOff();
        }

        return works;
    }

    [LibraryImport("libc")]
    private static partial int mallopt(int parameter, int value);

    [LibraryImport("libc", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int setenv(string name, string value, int overwrite);
}
