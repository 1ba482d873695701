using System.Runtime.CompilerServices;
using System.Text.RegularExpressions;

namespace LoraNotebooks.Tests;

/// <summary>The rooms of the library and who may know whom; src/README.md draws the same map.</summary>
public sealed partial class ArchitectureTests
{
    // Foundation stands below all of them, which each may know.
    private static readonly Dictionary<string, string[]> Allowed = new()
    {
        ["Foundation"] = [],
        ["Tensors"] = [],
        ["Formats"] = ["Tensors"],
        ["Quantization"] = ["Tensors", "Formats"],
        ["Adapters"] = ["Tensors", "Formats", "Quantization"],
        ["Models"] = ["Tensors", "Formats", "Quantization"],
        ["Data"] = ["Tensors", "Formats"],
        ["Hub"] = ["Tensors", "Formats"],
        ["Diffusion"] = ["Tensors", "Formats", "Models", "Data", "Adapters", "Hub"],
        ["Training"] = ["Tensors", "Formats", "Quantization", "Adapters", "Models", "Data", "Diffusion"],
        ["Comparison"] = ["Tensors", "Formats", "Adapters", "Models", "Data", "Diffusion"],
        ["Analysis"] = ["Tensors", "Formats", "Adapters", "Models"],
        ["Search"] = ["Tensors", "Formats", "Adapters", "Models", "Data", "Diffusion", "Training", "Comparison"],
    };

    [Fact]
    public void Rooms_OfTheLibrary_LookOnlyWhereTheMapAllows()
    {
        var library = Path.Combine(SourceFolder(), "LoraNotebooks");
        var faults = new List<string>();
        foreach (var file in SourceFiles(library))
        {
            var parts = Path.GetRelativePath(library, file).Split(Path.DirectorySeparatorChar);
            if (parts.Length == 1)
            {
                continue;
            }

            var room = parts[0];
            if (!Allowed.TryGetValue(room, out var allowed))
            {
                faults.Add($"{room} is not a room of the map");
                continue;
            }

            foreach (Match match in RoomReference().Matches(File.ReadAllText(file)))
            {
                var other = match.Groups[1].Value;
                if (other != room && other != "Foundation" && Allowed.ContainsKey(other) && !allowed.Contains(other))
                {
                    faults.Add($"{Path.GetRelativePath(library, file)} looks into {other}");
                }
            }
        }

        Assert.Empty(faults.Distinct());
    }

    [Fact]
    public void Namespaces_OfTheLibrary_FollowTheFolders()
    {
        var library = Path.Combine(SourceFolder(), "LoraNotebooks");
        var faults = SourceFiles(library)
            .Select(file => (file, expected: string.Join('.', (string[])["LoraNotebooks", .. Path.GetRelativePath(library, file).Split(Path.DirectorySeparatorChar)[..^1]])))
            .Where(pair => !File.ReadAllText(pair.file).Contains($"namespace {pair.expected};"))
            .Select(pair => $"{pair.file}: expected namespace {pair.expected}");

        Assert.Empty(faults);
    }

    [Fact]
    public void Library_NeverDraws_NorKnowsItsHosts()
    {
        var faults = SourceFiles(Path.Combine(SourceFolder(), "LoraNotebooks"))
            .Where(file => File.ReadAllText(file) is var text && (text.Contains("LoraNotebooks.Interactive") || text.Contains("LoraNotebooks.Kernel") || text.Contains("Plotly")));

        Assert.Empty(faults);
    }

    // The hub's downloads grow over several runs before they are renamed.
    [Fact]
    public void Library_WritesFiles_WholeOrNotAtAll()
    {
        var faults = SourceFiles(Path.Combine(SourceFolder(), "LoraNotebooks"))
            .Where(static file => !file.EndsWith("AtomicFile.cs", StringComparison.Ordinal) && Path.GetFileName(Path.GetDirectoryName(file)) != "Hub" && PlainWrite().IsMatch(File.ReadAllText(file)));

        Assert.Empty(faults);
    }

    // What the package hands to its users' builds (buildTransitive) is compiled there and is no room of the library.
    private static IEnumerable<string> SourceFiles(string folder) => Directory.EnumerateFiles(folder, "*.cs", SearchOption.AllDirectories)
        .Where(static file => !file.Split(Path.DirectorySeparatorChar).Any(part => part is "obj" or "bin" or "buildTransitive"));

    private static string SourceFolder([CallerFilePath] string thisFile = "") => Path.GetFullPath(Path.Combine(Path.GetDirectoryName(thisFile)!, "..", "..", "src"));

    [GeneratedRegex(@"\bLoraNotebooks\.([A-Z]\w+)")]
    private static partial Regex RoomReference();

    [GeneratedRegex(@"(?<!\w)File\.(Move|Create|WriteAll\w+|AppendAll\w+)\(")]
    private static partial Regex PlainWrite();
}
