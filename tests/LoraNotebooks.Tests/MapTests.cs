using System.Text.RegularExpressions;

namespace LoraNotebooks.Tests;

/// <summary>Whether the two pictures at the head of src/README.md are right: the tree of rooms, and who knows whom.</summary>
public sealed partial class MapTests
{
    private static string ReadmeFile => Path.Combine(SourceTree.Root, "README.md");

    [Fact]
    public void Tree_OfTheReadme_ShowsEveryFolderOfCodeOnce()
    {
        var tree = Tree(Picture(0)).ToList();
        string[] folders = [.. SourceTree.Files().SelectMany(Levels).Distinct()];
        string[] faults =
        [
            .. folders.Except(tree).Select(static folder => $"src/{folder} is missing"),
            .. tree.Where(static folder => !Directory.Exists(Path.Combine(SourceTree.Root, folder))).Select(static folder => $"src/{folder} is no folder"),
            .. tree.CountBy(static folder => folder)
                .Where(static folder => folder.Value > 1)
                .Select(static folder => $"src/{folder.Key} stands there {folder.Value} times"),
        ];

        Assert.True(faults.Length == 0, $"""
            The tree in src/README.md is not the tree of folders:
            {Listing.Lines(faults)}
            Give each folder of code one line, indented by two spaces more than the folder that it is in:
            its name with a slash and, two spaces or more to the right, what it is for.
            """);
    }

    [Fact]
    public void Tree_OfTheReadme_ShowsTheRoomsOfTheLibraryFromTheGroundUp()
    {
        var rooms = Tree(Picture(0)).Where(static folder => folder.Count(static c => c == '/') == 1).Select(static folder => folder.Split('/')[1]);

        Assert.Equal(Rooms.Allowed.Keys.Where(static room => Rooms.Folder(room)[^1] == room), rooms.Where(Rooms.Allowed.ContainsKey));
    }

    [Fact]
    public void Picture_OfTheReadme_ShowsWhoKnowsWhom()
    {
        var drawn = Draw();
        var shown = Picture(1);
        if (Renewal.IsAsked)
        {
            var (start, end) = Place(1);
            File.WriteAllText(ReadmeFile, Readme()[..start] + drawn + Readme()[end..]);
            return;
        }

        string[] faults =
        [
            .. Lines(shown).Except(Lines(drawn)).Select(static line => $"shown: {line}"),
            .. Lines(drawn).Except(Lines(shown)).Select(static line => $"found: {line}"),
        ];

        Assert.True(shown == drawn, $"""
            The second picture in src/README.md does not show what the using directives and qualified names under src/ say:
            {Listing.Lines(faults)}
            {Renewal.Advice("LoraNotebooks.Tests", nameof(MapTests))}
            """);
    }

    // One line for each room, from the ground up.
    private static string Draw() => string.Concat(
        from room in Rooms.Allowed.Keys
        let known = Rooms.References(room).Select(static reference => reference.Room).ToHashSet()
        let whom = known.Count == 0 ? "none" : string.Join(", ", Rooms.Allowed.Keys.Where(known.Contains))
        select $"{room,-11} → {whom}\n");

    // Of "LoraNotebooks/Models/Language/Vocabularies/X.cs" the project, the room, and the room inside it.
    private static IEnumerable<string> Levels(string file) =>
        from length in Enumerable.Range(1, Math.Min(3, SourceTree.Parts(file).Length - 1))
        select string.Join('/', SourceTree.Parts(file)[..length]);

    private static IEnumerable<string> Tree(string picture)
    {
        var path = new List<string>();
        foreach (var line in Lines(picture))
        {
            var match = TreeLine().Match(line);
            Assert.True(match.Success, $"Expected a folder and, two spaces or more to the right, what it is for, got '{line}'.");
            var depth = match.Groups[1].Length / 2;
            path = [.. path.Take(depth), match.Groups[2].Value];
            yield return string.Join('/', path);
        }
    }

    private static string[] Lines(string text) => text.Split('\n', StringSplitOptions.RemoveEmptyEntries);

    private static string Readme() => File.ReadAllText(ReadmeFile).ReplaceLineEndings("\n");

    private static string Picture(int number)
    {
        var (start, end) = Place(number);
        return Readme()[start..end];
    }

    // Where the text of a code block lies that says no language.
    private static (int Start, int End) Place(int number)
    {
        var match = CodeBlock().Matches(Readme())[number].Groups[1];
        return (match.Index, match.Index + match.Length);
    }

    [GeneratedRegex(@"^```\n(.*?)^```$", RegexOptions.Multiline | RegexOptions.Singleline)]
    private static partial Regex CodeBlock();

    [GeneratedRegex(@"^( *)([\w.-]+)/? {2,}\S")]
    private static partial Regex TreeLine();
}
