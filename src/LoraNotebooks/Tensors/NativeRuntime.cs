using System.Diagnostics.CodeAnalysis;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Loader;
using System.Security.Cryptography;
using TorchSharp;

namespace LoraNotebooks.Tensors;

/// <summary>Where the native libraries came from; see <see cref="NativeRuntime.Load"/>.</summary>
/// <param name="LibTorchFolder">The folder that holds libtorch, or <see langword="null"/> if the loader found it by itself.</param>
/// <param name="Bridge">The path of TorchSharp's native bridge that was loaded.</param>
/// <param name="BridgeWasPatched">Whether the bridge is a private copy that accepts an older C++ runtime.</param>
public sealed record NativeRuntimeInfo(string? LibTorchFolder, string Bridge, bool BridgeWasPatched)
{
    /// <summary>
    /// Whether NNPACK, which libtorch uses for some small convolutions, works here; where it does not it is
    /// off. <see langword="null"/> if this build has none.
    /// </summary>
    public bool? NnpackWorks { get; init; }

    /// <summary>Whether glibc was told to keep the memory of freed tensors; see <c>LORANOTEBOOKS_ALLOCATOR</c> in environment.md.</summary>
    public bool KeepsMemory { get; init; }
}

/// <summary>
/// Finds and loads libtorch from the NuGet package folder, so that no output folder carries a copy of half a gigabyte,
/// and lets TorchSharp's bridge run on Linux systems whose C++ runtime is older than the one it was linked with.
/// </summary>
/// <remarks>
/// Nothing needs to be called: the first use of this assembly registers a resolver that acts when TorchSharp asks for its natives.
/// Folders are tried in this order: the variable <c>LORANOTEBOOKS_LIBTORCH</c>, the application's own folder,
/// the package folder that the build recorded, the default NuGet package folder.
/// </remarks>
public static class NativeRuntime
{
    /// <summary>The environment variable that names a folder with libtorch's shared libraries.</summary>
    public const string FolderVariable = "LORANOTEBOOKS_LIBTORCH";

    /// <summary>The version of <see cref="LibTorchPackage"/> that TorchSharp's bridge was built with.</summary>
    public const string LibTorchVersion = "2.10.0";

    private const string UnusedVersion = "GLIBCXX_3.4.32";
    private const string UnusedSymbol = "_ZSt21ios_base_library_initv";

    private static readonly Lock Gate = new();
    private static NativeRuntimeInfo? s_info;
    private static nint s_bridge;

    /// <summary>The NuGet package that holds libtorch for this system, such as <c>libtorch-cpu-linux-x64</c>.</summary>
    public static string LibTorchPackage => $"libtorch-cpu-{Rid}";

    /// <summary>Whether libtorch is in the process already.</summary>
    public static bool IsLoaded
    {
        get
        {
            lock (Gate)
            {
                return s_info is not null;
            }
        }
    }

    /// <summary>Loads the natives now (idempotent) and says where they came from.</summary>
    /// <exception cref="DllNotFoundException">libtorch or TorchSharp's bridge cannot be found or loaded; the message lists what was tried.</exception>
    public static NativeRuntimeInfo Load()
    {
        lock (Gate)
        {
            if (s_info is null)
            {
                (s_info, s_bridge) = LoadFromFolders();
            }

            // Any call makes TorchSharp bind to the libraries loaded above.
            torch.TryInitializeDeviceType(DeviceType.CPU);
            return s_info;
        }
    }

    [ModuleInitializer]
    [SuppressMessage("Usage", "CA2255", Justification = "TorchSharp asks for its natives before any of our code could be called.")]
    internal static void Register()
    {
        // Before any thread that will make tensors has begun to take memory.
        NativeSettings.KeepMemory();
        AssemblyLoadContext.Default.ResolvingUnmanagedDll += static (assembly, name) => Resolve(assembly, name);
    }

    private static nint Resolve(Assembly assembly, string name)
    {
        // Only the bridge is asked for by name; libtorch comes with it.
        if (assembly.GetName().Name != "TorchSharp" || !name.Contains("LibTorchSharp", StringComparison.Ordinal))
        {
            return 0;
        }

        lock (Gate)
        {
            if (s_info is null)
            {
                (s_info, s_bridge) = LoadFromFolders();
            }

            return s_bridge;
        }
    }

    /// <summary>
    /// Prepares this process for tensors before anything of it starts threads; idempotent. Loading this assembly does it, so only programs whose threads are
    /// older than their first use of it need to call.
    /// </summary>
    public static void Prepare() => NativeSettings.KeepMemory();

    /// <summary>The folders in which libtorch is looked for, best first.</summary>
    internal static IEnumerable<string> LibTorchFolders()
    {
        var rid = Rid;
        if (Environment.GetEnvironmentVariable(FolderVariable) is { Length: > 0 } named)
        {
            yield return named;
        }

        yield return AppContext.BaseDirectory;
        yield return Path.Combine(AppContext.BaseDirectory, "runtimes", rid, "native");

        var recorded = typeof(NativeRuntime).Assembly.GetCustomAttributes<AssemblyMetadataAttribute>()
            .FirstOrDefault(a => a.Key == "LibTorchFolder")?.Value;
        if (recorded is { Length: > 0 })
        {
            yield return Path.Combine(recorded, LibTorchVersion, "runtimes", rid, "native");
        }

        yield return Path.Combine(PackageRoot, LibTorchPackage, LibTorchVersion, "runtimes", rid, "native");
    }

    private static IEnumerable<string> BridgeFolders()
    {
        yield return AppContext.BaseDirectory;
        yield return Path.Combine(AppContext.BaseDirectory, "runtimes", Rid, "native");
        var version = typeof(torch).Assembly.GetName().Version?.ToString(3) ?? "0.107.0";
        yield return Path.Combine(PackageRoot, "torchsharp", version, "runtimes", Rid, "native");
        if (typeof(torch).Assembly.Location is { Length: > 0 } location)
        {
            yield return Path.GetFullPath(Path.Combine(Path.GetDirectoryName(location)!, "..", "..", "runtimes", Rid, "native"));
        }
    }

    private static (NativeRuntimeInfo Info, nint Bridge) LoadFromFolders()
    {
        var libtorch = LibTorchFolders().FirstOrDefault(folder => File.Exists(Path.Combine(folder, FileName("torch_cpu"))))
            ?? throw new DllNotFoundException(
                $"libtorch was not found. Looked for {FileName("torch_cpu")} in: {string.Join("; ", LibTorchFolders())}. "
                + $"Add the package {LibTorchPackage} {LibTorchVersion} to the project, or run 'lora-notebooks doctor --fix', "
                + $"or name a folder in {FolderVariable}.");
        var bridgePath = BridgeFolders().Select(folder => Path.Combine(folder, FileName("LibTorchSharp"))).FirstOrDefault(File.Exists)
            ?? throw new DllNotFoundException(
                $"TorchSharp's native bridge {FileName("LibTorchSharp")} was not found. Looked in: {string.Join("; ", BridgeFolders())}. "
                    + "Restore the package TorchSharp.");

        NativeSettings.HandOverVariables();

        // Loaded by full path first, the later look-ups by name find these.
        var loaded = new Dictionary<string, nint>();
        foreach (var name in (string[])["c10", "torch_cpu", "torch"])
        {
            var path = Path.Combine(libtorch, FileName(name));
            if (File.Exists(path))
            {
                loaded[name] = NativeLibrary.Load(path);
            }
        }

        var found = new NativeRuntimeInfo(libtorch, bridgePath, BridgeWasPatched: false)
        {
            NnpackWorks = loaded.TryGetValue("c10", out var c10) ? NativeSettings.SilenceNnpack(loaded["torch_cpu"], c10) : null,
            KeepsMemory = NativeSettings.KeepsMemory,
        };
        try
        {
            return (found, NativeLibrary.Load(bridgePath));
        }
        catch (DllNotFoundException plain) when (OperatingSystem.IsLinux())
        {
            var patched = PatchedCopy(bridgePath)
                ?? throw new DllNotFoundException($"{bridgePath} could not be loaded: {plain.Message}", plain);
            return (found with { Bridge = patched, BridgeWasPatched = true }, NativeLibrary.Load(patched));
        }
    }

    /// <summary>Writes (once per library version) a copy of the bridge that accepts an older libstdc++; null if there was nothing to patch.</summary>
    private static string? PatchedCopy(string original)
    {
        var image = File.ReadAllBytes(original);
        var hash = Convert.ToHexStringLower(SHA256.HashData(image))[..16];
        var target = Path.Combine(CacheFolder, "native", hash, Path.GetFileName(original));
        if (File.Exists(target))
        {
            return target;
        }

        if (!ElfPatch.Weaken(image, UnusedVersion, UnusedSymbol))
        {
            return null;
        }

        AtomicFile.WriteAllBytes(target, image);
        return target;
    }

    /// <summary>Where the toolkit keeps what it can make anew.</summary>
    internal static string CacheFolder => Path.Combine(
        Environment.GetFolderPath(Environment.SpecialFolder.LocalApplicationData, Environment.SpecialFolderOption.DoNotVerify) is { Length: > 0 } local
            ? local
            : Path.GetTempPath(),
        "lora-notebooks");

    private static string PackageRoot => Environment.GetEnvironmentVariable("NUGET_PACKAGES") is { Length: > 0 } root
        ? root
        : Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".nuget", "packages");

    private static string Rid => (OperatingSystem.IsWindows() ? "win" : OperatingSystem.IsMacOS() ? "osx" : "linux")
        + "-" + (RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? "arm64" : "x64");

    private static string FileName(string library) => OperatingSystem.IsWindows() ? library + ".dll"
        : OperatingSystem.IsMacOS() ? $"lib{library}.dylib" : $"lib{library}.so";
}
