using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text.Json;
using System.Text.Json.Nodes;
using LoraNotebooks.Kernel.Sessions;
using Microsoft.CodeAnalysis;

namespace LoraNotebooks.Kernel.Assistance;

/// <summary>The references of cells together with their XML documentation.</summary>
/// <remarks>The scripts' own references have none on purpose; these share their metadata and cost no second copy.</remarks>
internal static class DocumentedReferences
{
    private static readonly string RuntimeFolder = RuntimeEnvironment.GetRuntimeDirectory();
    private static readonly Lazy<XmlDocumentation> Framework = new(() => new XmlDocumentation(FrameworkFiles()));
    private static readonly Lazy<IReadOnlyDictionary<string, string>> PackageFilesOnce = new(PackageFiles);
    private static readonly Lazy<IReadOnlyList<MetadataReference>> HostOnce = new(() => [.. SessionReferences.Host.Values.Select(Of)]);
    private static readonly ConditionalWeakTable<MetadataReference, MetadataReference> Known = [];

    /// <summary>What every cell can use, see <see cref="SessionReferences.Host"/>.</summary>
    public static IReadOnlyList<MetadataReference> Host => HostOnce.Value;

    /// <summary>The same assembly with documentation; a reference of an unknown kind as it is.</summary>
    public static MetadataReference Of(MetadataReference reference) => Known.GetValue(reference, static reference =>
        reference is PortableExecutableReference { Display: { } path } file && file.GetMetadata() is AssemblyMetadata metadata
            ? metadata.GetReference(DocumentationOf(path), file.Properties.Aliases, file.Properties.EmbedInteropTypes, display: path)
            : reference);

    private static DocumentationProvider DocumentationOf(string path)
    {
        var beside = Path.ChangeExtension(path, ".xml");
        return File.Exists(beside) ? new XmlDocumentation([beside])
            : Path.GetFullPath(path).StartsWith(RuntimeFolder, StringComparison.Ordinal) ? Framework.Value
            : PackageFilesOnce.Value.TryGetValue(Path.GetFileName(path), out var ofPackage) ? new XmlDocumentation([ofPackage])
            : DocumentationProvider.Default;
    }

    // A member's documentation id does not say which reference assembly it was written in, so all files answer for all assemblies.
    private static IEnumerable<string> FrameworkFiles()
    {
        var packs = Path.GetFullPath(Path.Combine(RuntimeFolder, "..", "..", "..", "packs", "Microsoft.NETCore.App.Ref"));
        var framework = $"net{Environment.Version.Major}.{Environment.Version.Minor}";
        var folder = Directory.Exists(packs)
            ? Directory.EnumerateDirectories(packs)
                .Select(version => Path.Combine(version, "ref", framework))
                .Where(Directory.Exists)
                .Max(StringComparer.Ordinal)
            : null;
        return folder is null ? [] : Directory.EnumerateFiles(folder, "*.xml").Order(StringComparer.Ordinal);
    }

    /// <summary>For assemblies that the build copied from packages: file name to the documentation in the package folder.</summary>
    private static Dictionary<string, string> PackageFiles()
    {
        var files = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);
        var manifests = (AppContext.GetData("APP_CONTEXT_DEPS_FILES") as string ?? "").Split(';', StringSplitOptions.RemoveEmptyEntries);
        var roots = PackageFolders.Roots.ToArray();
        foreach (var manifest in manifests.Where(File.Exists))
        {
            foreach (var asset in RuntimeAssets(manifest))
            {
                if (roots.Select(root => Path.Combine(root, Path.ChangeExtension(asset, ".xml"))).FirstOrDefault(File.Exists) is { } found)
                {
                    files.TryAdd(Path.GetFileName(asset), found);
                }
            }
        }

        return files;
    }

    private static IEnumerable<string> RuntimeAssets(string manifest)
    {
        JsonNode? root;
        try
        {
            root = JsonNode.Parse(File.ReadAllText(manifest));
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or JsonException)
        {
            return [];
        }

        return from target in root?["targets"] as JsonObject ?? []
               from library in target.Value as JsonObject ?? []
               from asset in library.Value?["runtime"] as JsonObject ?? []
               select Path.Combine(library.Key.ToLowerInvariant(), asset.Key);
    }
}
