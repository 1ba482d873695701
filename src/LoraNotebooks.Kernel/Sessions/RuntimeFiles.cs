using System.Collections.Concurrent;
using System.Reflection;
using System.Runtime.InteropServices;
using System.Runtime.Loader;
using System.Security.Cryptography;
using System.Text;

namespace LoraNotebooks.Kernel.Sessions;

/// <summary>Loads the assemblies and native libraries of packages and of <c>#r "file.dll"</c> from where they lie.</summary>
/// <remarks>They go into the default load context, which a process has only one of: of two versions of an assembly the first one stays.</remarks>
internal static class RuntimeFiles
{
    private static readonly ConcurrentDictionary<string, string> Assemblies = new(StringComparer.OrdinalIgnoreCase);
    private static readonly ConcurrentDictionary<string, string> Natives = new(StringComparer.OrdinalIgnoreCase);
    private static readonly Lazy<bool> Registered = new(Register);

    /// <summary>Makes an assembly loadable by its simple name.</summary>
    /// <returns>The path of an assembly of that name that was there before and stays; null if this one is used.</returns>
    public static string? AddAssembly(string path)
    {
        _ = Registered.Value;
        var used = Assemblies.GetOrAdd(Path.GetFileNameWithoutExtension(path), path);
        return used == path ? null : used;
    }

    /// <summary>Makes native libraries loadable by their file names, with or without prefix and extension.</summary>
    /// <remarks>
    /// A library looks for those that it needs beside itself, but each package has a folder of its own: where there are several,
    /// the libraries are gathered in one folder by links, so that nothing is copied.
    /// </remarks>
    public static void AddNatives(IReadOnlyList<string> paths)
    {
        _ = Registered.Value;
        foreach (var path in paths.Select(Path.GetDirectoryName).Distinct().Count() > 1 ? Gather(paths) : paths)
        {
            Natives.TryAdd(Path.GetFileName(path), path);
        }
    }

    internal static IReadOnlyList<string> Gather(IReadOnlyList<string> paths)
    {
        var folder = Path.Combine(
            UserFolders.Cache,
            "natives",
            Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(string.Join('\n', paths))))[..24]);
        try
        {
            Directory.CreateDirectory(folder);
            foreach (var path in paths.Where(path => !File.Exists(Path.Combine(folder, Path.GetFileName(path)))))
            {
                File.CreateSymbolicLink(Path.Combine(folder, Path.GetFileName(path)), path);
            }

            return [.. paths.Select(path => Path.Combine(folder, Path.GetFileName(path)))];
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            // Windows gives the right to make links only to some users. Most libraries need no neighbour.
            return paths;
        }
    }

    private static bool Register()
    {
        AppDomain.CurrentDomain.AssemblyResolve += static (_, request) =>
            new AssemblyName(request.Name).Name is { } name && Assemblies.TryGetValue(name, out var path)
                ? AssemblyLoadContext.Default.LoadFromAssemblyPath(path)
                : null;
        AssemblyLoadContext.Default.ResolvingUnmanagedDll += static (_, name) => FileNames(name)
            .Select(file => Natives.GetValueOrDefault(file))
            .OfType<string>()
            .Select(NativeLibrary.Load)
            .FirstOrDefault();
        return true;
    }

    private static IEnumerable<string> FileNames(string name)
    {
        var extension = OperatingSystem.IsWindows() ? ".dll" : OperatingSystem.IsMacOS() ? ".dylib" : ".so";
        return [name, name + extension, "lib" + name, "lib" + name + extension];
    }
}
