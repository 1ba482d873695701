using System.Runtime.CompilerServices;
using System.Text.RegularExpressions;

namespace LoraNotebooks.Tests;

/// <summary>The source files under src/, and what they refer to.</summary>
internal static partial class SourceTree
{
    public const string Library = "LoraNotebooks";

    public static string Root { get; } = Find();

    private static HashSet<string> Names { get; } = NamesOfAll();

    /// <summary>The C# files of a folder under src/; what is generated, and what the package hands to its users' builds, is no part of it.</summary>
    public static IEnumerable<string> Files(params string[] folder) => Directory
        .EnumerateFiles(Root, "*.cs", SearchOption.AllDirectories)
        .Where(file => Parts(file)[..^1].AsSpan().StartsWith(folder))
        .Where(static file => !Parts(file).Any(static part => part is "obj" or "bin" or "buildTransitive"))
        .Order(StringComparer.Ordinal);

    /// <summary>A file's path from src/ on: project, rooms, name.</summary>
    public static string[] Parts(string file) => Path.GetRelativePath(Root, file).Split(Path.DirectorySeparatorChar);

    /// <summary>Where a line stands, as messages name it.</summary>
    public static string Place(string file, int line) => $"src/{string.Join('/', Parts(file))}:{line}";

    /// <summary>
    /// The namespaces and qualified names that the code of a folder's files names, each from its first word on, as in <c>LoraNotebooks.Models.Language</c>.
    /// What comments speak of counts as nothing.
    /// </summary>
    public static IEnumerable<(string File, int Line, string Name)> References(params string[] folder) =>
        from file in Files(folder)
        from line in File.ReadLines(file).Index()
        where !line.Item.TrimStart().StartsWith("//", StringComparison.Ordinal)
        from name in FullName().Matches(line.Item).Select(static match => match.Value).Concat(Relative(file, line.Item))
        select (file, line.Index + 1, name);

    // "Models.ModelFolder" in LoraNotebooks.Diffusion is LoraNotebooks.Models.ModelFolder: the innermost of the namespaces around it in which there is
    // such a room with such a type. "Data.Count" is a property.
    private static IEnumerable<string> Relative(string file, string line)
    {
        var around = string.Join('.', Parts(file)[..^1]).Split('.');
        return PartialName().Matches(line)
            .Select(match => Enumerable.Range(1, around.Length)
                .Select(depth => $"{string.Join('.', around[..depth])}.{match.Value}")
                .LastOrDefault(Names.Contains))
            .OfType<string>();
    }

    // A type has the name of its file.
    private static HashSet<string> NamesOfAll() =>
    [
        .. from file in Files()
           let parts = Parts(file)
           from length in Enumerable.Range(1, parts.Length)
           select string.Join('.', [.. parts[..(length - 1)], parts[length - 1].Split(".cs")[0]])
    ];

    private static string Find([CallerFilePath] string thisFile = "") => Path.GetFullPath(Path.Combine(Path.GetDirectoryName(thisFile)!, "..", "..", "src"));

    [GeneratedRegex(@"\bLoraNotebooks(\.[A-Z]\w*)+")]
    private static partial Regex FullName();

    [GeneratedRegex(@"(?<![\w.])[A-Z]\w*\.[A-Z]\w*")]
    private static partial Regex PartialName();
}
