using System.Text;
using LoraNotebooks.Interactive;
using LoraNotebooks.Tensors;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Scripting;
using Microsoft.CodeAnalysis.Scripting;

namespace LoraNotebooks.Kernel.Sessions;

/// <summary>What a cell can use without asking: the assemblies of the running application and the default using directives.</summary>
internal static class SessionReferences
{
    // torch is imported as PyTorch's readers know it: torch.randn(…) and the bare types Tensor, Device, nn, optim.
    private static readonly string[] FixedImports =
    [
        "System", "System.Collections.Generic", "System.IO", "System.Linq", "System.Threading", "System.Threading.Tasks",
        "TorchSharp", "TorchSharp.torch",
    ];

    private static readonly Lazy<IReadOnlyDictionary<string, PortableExecutableReference>> s_host = new(ReadHost);
    private static readonly Lazy<IReadOnlyList<string>> s_imports = new(() => [.. FixedImports, .. ToolkitNamespaces()]);

    /// <summary>The assemblies of the application and of its framework by simple name.</summary>
    /// <remarks>
    /// They carry no file path on purpose: a reference with a path would be loaded a second time by the script engine,
    /// and a type in a cell would not be the same type as in the toolkit.
    /// </remarks>
    public static IReadOnlyDictionary<string, PortableExecutableReference> Host => s_host.Value;

    /// <summary>The namespaces, and <c>TorchSharp.torch</c> as a static using, that are open in every cell.</summary>
    public static IReadOnlyList<string> Imports => s_imports.Value;

    /// <summary>A reference that the script engine resolves by name at run time.</summary>
    public static PortableExecutableReference FromFile(string path) =>
        AssemblyMetadata.CreateFromFile(path).GetReference(display: path);

    /// <summary>What every cell is compiled with.</summary>
    /// <param name="baseFolder">Where relative paths in <c>#load</c> start, absolute.</param>
    /// <param name="resolver">Answers <c>#r</c>.</param>
    public static ScriptOptions ScriptOptions(string baseFolder, MetadataReferenceResolver resolver) => Microsoft.CodeAnalysis.Scripting.ScriptOptions.Default
        .WithReferences(Host.Values)
        .WithImports(Imports)
        .WithMetadataResolver(resolver)
        .WithSourceResolver(new SourceFileResolver([], baseFolder))
        .WithLanguageVersion(LanguageVersion.Latest)
        .WithOptimizationLevel(OptimizationLevel.Release)
        .WithEmitDebugInformation(true)
        .WithFileEncoding(Encoding.UTF8)
        .WithAllowUnsafe(true)
        .WithWarningLevel(0);

    private static Dictionary<string, PortableExecutableReference> ReadHost()
    {
        var trusted = AppContext.GetData("TRUSTED_PLATFORM_ASSEMBLIES") as string
            ?? throw new InvalidOperationException("The list of the application's assemblies is missing. Run lora-notebooks as a framework-dependent program, not as a single file.");
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

    private static IEnumerable<string> ToolkitNamespaces() =>
        new[] { typeof(NativeRuntime), typeof(NotebookHost) }
            .SelectMany(type => type.Assembly.GetExportedTypes())
            .Select(type => type.Namespace)
            .OfType<string>()
            .Distinct(StringComparer.Ordinal)
            .Order(StringComparer.Ordinal);
}
