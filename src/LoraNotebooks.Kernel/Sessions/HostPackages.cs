using System.Runtime.InteropServices;
using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.CodeAnalysis;

namespace LoraNotebooks.Kernel.Sessions;

/// <summary>A package that the application brings itself.</summary>
/// <param name="Version">The version that is used.</param>
/// <param name="IsFramework">Whether it is part of .NET, which stands for every older version of its own packages.</param>
/// <param name="Reference">Its assembly, or one that says nothing new where the package has none of its own name.</param>
internal sealed record HostPackage(string Version, bool IsFramework, PortableExecutableReference Reference);

/// <summary>The packages that the application was built with. A process has one version of each, the one that fits the application and its natives.</summary>
internal static class HostPackages
{
    private const string Natives = "libtorch";

    private static readonly Lazy<IReadOnlyDictionary<string, string>> Versions = new(ReadVersions);

    /// <summary>A reference that adds nothing, for directives that have to resolve to something.</summary>
    public static PortableExecutableReference Nothing => SessionReferences.Host["System.Runtime"];

    /// <summary>The package of a name, if the application brings it; also the natives of libtorch under all their names.</summary>
    public static HostPackage? Find(string id)
    {
        var reference = SessionReferences.Host.GetValueOrDefault(id);
        if (Versions.Value.TryGetValue(id, out var version))
        {
            return new HostPackage(version, IsFramework: false, reference ?? Nothing);
        }

        if (reference is not null)
        {
            return new HostPackage(Environment.Version.ToString(), IsOfFramework(reference), reference);
        }

        // A second libtorch in the process would not be loaded, only half a gigabyte be fetched for it.
        return id.StartsWith(Natives + "-", StringComparison.OrdinalIgnoreCase)
            ? new HostPackage(Tensors.NativeRuntime.LibTorchVersion, IsFramework: false, Nothing)
            : id.StartsWith("TorchSharp-", StringComparison.OrdinalIgnoreCase) ? new HostPackage(VersionOf("TorchSharp"), IsFramework: false, Nothing)
            : null;
    }

    /// <summary>The version of a package of the application, or of its assembly where it is part of something else.</summary>
    public static string VersionOf(string id) =>
        Versions.Value.TryGetValue(id, out var version) ? version
        : SessionReferences.Host.TryGetValue(id, out var reference)
            ? IsOfFramework(reference) ? Environment.Version.ToString() : SessionReferences.VersionOf(reference).ToString()
        : "";

    private static bool IsOfFramework(PortableExecutableReference reference) =>
        reference.Display?.StartsWith(RuntimeEnvironment.GetRuntimeDirectory(), StringComparison.Ordinal) == true;

    /// <summary>What the program's own list of dependencies says.</summary>
    private static Dictionary<string, string> ReadVersions()
    {
        var versions = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);
        foreach (var manifest in (AppContext.GetData("APP_CONTEXT_DEPS_FILES") as string ?? "")
            .Split(';', StringSplitOptions.RemoveEmptyEntries)
            .Where(File.Exists))
        {
            try
            {
                foreach (var (name, library) in JsonNode.Parse(File.ReadAllText(manifest))?["libraries"] as JsonObject ?? [])
                {
                    if (name.Split('/') is [var id, var version] && (string?)library?["type"] == "package")
                    {
                        versions.TryAdd(id, version);
                    }
                }
            }
            catch (Exception error) when (error is IOException or UnauthorizedAccessException or JsonException)
            {
                // Without the list an assembly's own version speaks for its package.
            }
        }

        return versions;
    }
}
