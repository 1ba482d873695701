using System.Reflection;
using System.Xml;
using LoraNotebooks.Tensors;

namespace LoraNotebooks.Kernel.Assistance;

/// <summary>The NuGet package folders of this machine, looked at without the network.</summary>
internal static class PackageFolders
{
    /// <summary>The folders that exist: the one of the environment, the one that the build used, the default one.</summary>
    public static IEnumerable<string> Roots => new[]
        {
            Environment.GetEnvironmentVariable("NUGET_PACKAGES"),
            Path.GetDirectoryName(typeof(NativeRuntime).Assembly
                .GetCustomAttributes<AssemblyMetadataAttribute>()
                .FirstOrDefault(a => a.Key == "LibTorchFolder")?.Value),
            Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".nuget", "packages"),
        }
        .Where(Directory.Exists).Select(folder => Path.GetFullPath(folder!)).Distinct(StringComparer.Ordinal);

    /// <summary>The names of packages that contain a text, those that start with it first.</summary>
    /// <param name="text">What was typed; empty for all.</param>
    /// <param name="limit">How many names at most.</param>
    public static IReadOnlyList<string> Find(string text, int limit) =>
    [
        .. Roots.SelectMany(root => Folders(root).Select(name => (root, name)))
            .Where(package => package.name.Contains(text, StringComparison.OrdinalIgnoreCase))
            .DistinctBy(package => package.name, StringComparer.OrdinalIgnoreCase)
            .OrderByDescending(package => package.name.StartsWith(text, StringComparison.OrdinalIgnoreCase))
            .ThenBy(package => package.name, StringComparer.OrdinalIgnoreCase)
            .Take(limit)
            .Select(package => Name(Path.Combine(package.root, package.name)) ?? package.name),
    ];

    /// <summary>The versions of a package, newest first.</summary>
    public static IReadOnlyList<string> Versions(string name) => name.Length == 0 || name[0] == '.' || name.AsSpan().ContainsAny('/', '\\') ? [] :
    [
        .. Roots.SelectMany(root => Folders(Path.Combine(root, name.ToLowerInvariant())))
            .Distinct(StringComparer.OrdinalIgnoreCase)
            .OrderByDescending(Number)
            .ThenBy(version => version.Contains('-', StringComparison.Ordinal))
            .ThenByDescending(version => version, StringComparer.OrdinalIgnoreCase),
    ];

    /// <summary>The names of the folders in a folder, without hidden and unreadable ones; none if there is no such folder.</summary>
    private static IEnumerable<string> Folders(string folder) =>
        Directory.Exists(folder) ? Directory.EnumerateDirectories(folder, "*", new EnumerationOptions()).Select(path => Path.GetFileName(path)) : [];

    private static Version Number(string version) => Version.TryParse(version.Split('-', '+')[0], out var number) ? number : new Version(0, 0);

    /// <summary>The name as its author writes it; the folder has it in lower case.</summary>
    private static string? Name(string folder)
    {
        try
        {
            var manifest = Directory.EnumerateDirectories(folder).SelectMany(version => Directory.EnumerateFiles(version, "*.nuspec")).FirstOrDefault();
            if (manifest is null)
            {
                return null;
            }

            using var reader = XmlReader.Create(manifest);
            return reader.ReadToFollowing("id") ? reader.ReadElementContentAsString() : null;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or XmlException)
        {
            // A package that is being unpacked has no readable manifest yet.
            return null;
        }
    }
}
