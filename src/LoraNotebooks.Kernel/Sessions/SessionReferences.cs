using System.Reflection;
using LoraNotebooks.Interactive;
using LoraNotebooks.Tensors;
using Microsoft.CodeAnalysis;

namespace LoraNotebooks.Kernel.Sessions;

/// <summary>What a cell can use without asking: the assemblies of the running application and the default using directives.</summary>
internal static class SessionReferences
{
    // What C# projects import by themselves or write at the top of every other file, as far as no common name becomes ambiguous;
    // torch is imported as PyTorch's readers know it: torch.randn(…) and the bare types Tensor, Device, nn, optim.
    private static readonly string[] FixedImports =
    [
        "System", "System.Collections", "System.Collections.Concurrent", "System.Collections.Generic",
        "System.Diagnostics", "System.Globalization", "System.IO",
        "System.Linq", "System.Net.Http", "System.Net.Http.Json", "System.Numerics", "System.Text", "System.Text.Json", "System.Text.Json.Nodes",
        "System.Text.RegularExpressions", "System.Threading", "System.Threading.Tasks",
        "TorchSharp", "TorchSharp.torch",
    ];

    // Every library refers to one of these.
    private static readonly string[] Facades = ["System.Runtime", "netstandard", "mscorlib"];
    private static readonly string[] OwnTools =
        ["Microsoft.CodeAnalysis", "Microsoft.VisualBasic", "System.CommandLine", "Markdig", "NetMQ", "AsyncIO", "System.ServiceModel"];

    private static readonly Lazy<IReadOnlyDictionary<string, PortableExecutableReference>> HostOnce = new(ReadHost);
    private static readonly Lazy<IReadOnlyList<MetadataReference>> CompileOnce = new(() =>
        [.. Host
            .Where(entry => !IsOwnTool(entry.Key) && (Facades.Contains(entry.Key) || HasPublicTypes(entry.Value)))
            .Select(entry => entry.Value)]);
    private static readonly Lazy<IReadOnlyList<string>> ImportsOnce = new(() => [.. FixedImports, .. ToolkitNamespaces()]);

    /// <summary>The assemblies of the application and of its framework by simple name.</summary>
    /// <remarks>
    /// They carry no file path on purpose: a reference with a path would be loaded a second time by the script engine,
    /// and a type in a cell would not be the same type as in the toolkit.
    /// </remarks>
    public static IReadOnlyDictionary<string, PortableExecutableReference> Host => HostOnce.Value;

    /// <summary>The namespaces, and <c>TorchSharp.torch</c> as a static using, that are open in every cell.</summary>
    public static IReadOnlyList<string> Imports => ImportsOnce.Value;

    /// <summary>A reference that the script engine resolves by name at run time.</summary>
    public static PortableExecutableReference FromFile(string path) =>
        AssemblyMetadata.CreateFromFile(path).GetReference(display: path);

    /// <summary>The version that an assembly says it has.</summary>
    public static Version VersionOf(PortableExecutableReference reference) =>
        ((AssemblyMetadata)reference.GetMetadata()).GetModules()[0].GetMetadataReader().GetAssemblyDefinition().Version;

    /// <summary>Those of <see cref="Host"/> that hold types for cells; the compiler asks for the others by name where it needs them.</summary>
    /// <remarks>A reference costs every cell a few hundred bytes for as long as the session lives.</remarks>
    public static IEnumerable<MetadataReference> Compile => CompileOnce.Value;

    private static Dictionary<string, PortableExecutableReference> ReadHost()
    {
        var trusted = AppContext.GetData("TRUSTED_PLATFORM_ASSEMBLIES") as string
            ?? throw new InvalidOperationException(
                "The list of the application's assemblies is missing. Run lora-notebooks as a framework-dependent program, not as a single file.");
        var references = new Dictionary<string, PortableExecutableReference>(StringComparer.OrdinalIgnoreCase);
        foreach (var path in trusted.Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries))
        {
            // The list holds managed assemblies only, but a resource assembly or a missing file must not stop every cell.
            if (path.EndsWith(".dll", StringComparison.OrdinalIgnoreCase) && File.Exists(path))
            {
                references.TryAdd(Path.GetFileNameWithoutExtension(path), FromFile(path));
            }
        }

        return references;
    }

    /// <summary>What the program itself is built with and cells have no use for.</summary>
    public static bool IsOwnTool(string name) => OwnTools.Any(tool => name.StartsWith(tool, StringComparison.OrdinalIgnoreCase));

    private static bool HasPublicTypes(PortableExecutableReference reference)
    {
        var reader = ((AssemblyMetadata)reference.GetMetadata()).GetModules()[0].GetMetadataReader();
        foreach (var handle in reader.TypeDefinitions)
        {
            if ((reader.GetTypeDefinition(handle).Attributes & TypeAttributes.VisibilityMask) == TypeAttributes.Public)
            {
                return true;
            }
        }

        return false;
    }

    private static IEnumerable<string> ToolkitNamespaces() =>
        new[] { typeof(NativeRuntime), typeof(NotebookHost) }
            .SelectMany(type => type.Assembly.GetExportedTypes())
            .Select(type => type.Namespace)
            .OfType<string>()
            .Distinct(StringComparer.Ordinal)
            .Order(StringComparer.Ordinal);
}
