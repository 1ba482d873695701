using System.Text.RegularExpressions;
using LoraNotebooks.Kernel.Sessions;

namespace LoraNotebooks.Kernel.Assistance;

/// <summary>Completes what the compiler knows nothing of: line commands, packages, paths in <c>#r</c> and <c>#load</c>.</summary>
/// <param name="baseFolder">The folder that relative paths start from.</param>
internal sealed partial class DirectiveCompletion(string baseFolder)
{
    private const int MaximumMatches = 200;
    private const string Scheme = "nuget:";

    private static readonly string[] Directives =
    [
        "#r", "#load", "#i", "#if", "#elif", "#else", "#endif", "#region", "#endregion", "#nullable", "#pragma", "#define", "#undef",
        "#line", "#error", "#warning",
    ];

    /// <summary>The proposals if the position is in a directive, else null.</summary>
    public CompletionReply? Complete(string code, int position)
    {
        var (lineStart, line) = CellText.LineUpTo(code, position);
        if (Keyword().Match(line) is { Success: true } keyword)
        {
            var typed = keyword.Groups["typed"];
            var names = CellMagics.Known.Select(magic => new CompletionMatch(magic.Name, "magic", magic.Name, magic.Description))
                .Concat(Directives.Select(name => new CompletionMatch(name, "keyword")));
            return Reply(typed.Value, lineStart + typed.Index, names);
        }

        if (Argument().Match(line) is not { Success: true } argument)
        {
            return null;
        }

        var text = argument.Groups["text"];
        var start = lineStart + text.Index;
        return argument.Groups["name"].Value switch
        {
            "r" when text.Value.TrimStart().StartsWith(Scheme, StringComparison.OrdinalIgnoreCase) => Package(text.Value, start),
            "r" => File(text.Value, start, ".dll"),
            "load" => File(text.Value, start, ".csx", ".cs"),
            _ => CompletionReply.None(position),
        };
    }

    private static CompletionReply Package(string text, int start)
    {
        var name = SkipSpace(text, text.IndexOf(':', StringComparison.Ordinal) + 1);
        var comma = text.IndexOf(',', StringComparison.Ordinal);
        if (comma < 0)
        {
            return Reply(text[name..], start + name, PackageFolders.Find(text[name..], MaximumMatches).Select(found => new CompletionMatch(found, "package")));
        }

        var version = SkipSpace(text, comma + 1);
        return Reply(
            text[version..],
            start + version,
            PackageFolders.Versions(text[name..comma].Trim()).Select(found => new CompletionMatch(found, "version")));
    }

    private static int SkipSpace(string text, int at)
    {
        while (at < text.Length && text[at] == ' ')
        {
            at++;
        }

        return at;
    }

    private CompletionReply File(string text, int start, params string[] extensions)
    {
        var cut = text.LastIndexOfAny(['/', '\\']) + 1;
        var matches = new List<CompletionMatch>();
        if (cut == 0 && extensions.Contains(".dll"))
        {
            matches.Add(new CompletionMatch(Scheme + " ", "package", "#r \"nuget: Name, version\"", "Adds a NuGet package."));
        }

        try
        {
            var folder = new DirectoryInfo(Path.GetFullPath(text[..cut], baseFolder));
            if (folder.Exists)
            {
                matches.AddRange(folder.EnumerateFileSystemInfos()
                    .Where(entry => !entry.Name.StartsWith('.'))
                    .Where(entry => entry is DirectoryInfo || extensions.Contains(entry.Extension, StringComparer.OrdinalIgnoreCase))
                    .OrderBy(entry => entry is DirectoryInfo)
                    .ThenBy(entry => entry.Name, StringComparer.OrdinalIgnoreCase)
                    .Select(entry => new CompletionMatch(entry is DirectoryInfo ? entry.Name + "/" : entry.Name, entry is DirectoryInfo ? "folder" : "path")));
            }
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or ArgumentException)
        {
            // A folder that cannot be read has nothing to propose.
        }

        return Reply(text[cut..], start + cut, matches);
    }

    private static CompletionReply Reply(string typed, int start, IEnumerable<CompletionMatch> matches) =>
        new([.. matches.Where(match => match.Text.Contains(typed, StringComparison.OrdinalIgnoreCase))
            .OrderByDescending(match => match.Text.StartsWith(typed, StringComparison.OrdinalIgnoreCase))
            .Take(MaximumMatches)], start, start + typed.Length);

    [GeneratedRegex(@"^\s*(?<typed>#!?[\w-]*)$")]
    private static partial Regex Keyword();

    [GeneratedRegex("""^\s*#(?<name>r|load|i)\s*"(?<text>[^"]*)$""")]
    private static partial Regex Argument();
}
