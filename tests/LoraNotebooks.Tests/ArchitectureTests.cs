using System.Text.RegularExpressions;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Syntax;

namespace LoraNotebooks.Tests;

/// <summary>Who may know whom (<see cref="Rooms"/>), and what else holds for every source file.</summary>
public sealed partial class ArchitectureTests
{
    private const int LongestLine = 160;

    [Fact]
    public void Rooms_OfAllProjects_LookOnlyWhereTheMapAllows() => AssertNone(
        from room in Rooms.Allowed
        from reference in Rooms.References(room.Key)
        where !room.Value.Contains(reference.Room)
        select $"{SourceTree.Place(reference.File, reference.Line)} looks into {reference.Room}, which {room.Key} may not know",
        "Move what is needed below both rooms, or let a room above bring it in; what is allowed is in tests/LoraNotebooks.Tests/Rooms.cs.");

    // What nobody needs is allowed to nobody: a reference that comes anew is a decision, seen in review.
    [Fact]
    public void Rooms_OfTheMap_MayKnowOnlyWhomTheyKnow() => AssertNone(
        from room in Rooms.Allowed
        let known = Rooms.References(room.Key).Select(static reference => reference.Room).ToHashSet()
        from other in room.Value
        where !known.Contains(other)
        select $"{room.Key} may know {other}, and no file of it does",
        "Take it from the line in tests/LoraNotebooks.Tests/Rooms.cs.");

    [Fact]
    public void Rooms_OfTheMap_AreThoseThatExist_AndEachKnowsOnlyRoomsBelow()
    {
        var library = SourceTree.Files(SourceTree.Library).Select(static file => SourceTree.Parts(file)[1]).Distinct().ToHashSet();
        var rooms = Rooms.Allowed.Keys.ToList();

        AssertNone(
            [
                .. library.Except(rooms).Select(static room => $"{room} has code and no line that says whom it may know"),
                .. rooms.Except([.. library, "Interactive", "Kernel"]).Select(static room => $"{room} holds no code"),
                .. from room in Rooms.Allowed
                   from other in room.Value
                   where rooms.IndexOf(other) is var place && (place < 0 || place >= rooms.IndexOf(room.Key))
                   select $"{room.Key} may know {other}, which is no room below it",
            ],
            "Correct tests/LoraNotebooks.Tests/Rooms.cs.");
    }

    // It trains whatever a task gives it.
    [Fact]
    public void Loop_OfTraining_KnowsNoKindOfModel()
    {
        string[] kinds = ["LoraNotebooks.Diffusion", "LoraNotebooks.Models", "LoraNotebooks.Data", "LoraNotebooks.Training.Diffusion"];

        AssertNone(
            from reference in SourceTree.References(SourceTree.Library, "Training", "Loop")
            where kinds.Any(kind => $"{reference.Name}.".StartsWith($"{kind}.", StringComparison.Ordinal))
            select $"{SourceTree.Place(reference.File, reference.Line)} names {reference.Name}",
            "What depends on the kind of model belongs to a TrainingTask, in a folder of its own beside Loop.");
    }

    [Fact]
    public void Namespaces_OfTheLibrary_FollowTheFolders() => AssertNone(
        from file in SourceTree.Files(SourceTree.Library)
        let expected = string.Join('.', SourceTree.Parts(file)[..^1])
        where !File.ReadAllText(file).Contains($"namespace {expected};", StringComparison.Ordinal)
        select $"{SourceTree.Place(file, 1)}: expected namespace {expected}",
        "Rename the namespace, or move the file.");

    [Fact]
    public void Library_NeverDraws_NorKnowsItsHosts()
    {
        string[] hosts = ["LoraNotebooks.Interactive", "LoraNotebooks.Kernel", "Plotly"];

        AssertNone(
            from file in SourceTree.Files(SourceTree.Library)
            from line in File.ReadLines(file).Index()
            from host in hosts
            where line.Item.Contains(host, StringComparison.Ordinal)
            select $"{SourceTree.Place(file, line.Index + 1)} names {host}",
            "What draws or runs belongs to LoraNotebooks.Interactive or LoraNotebooks.Kernel.");
    }

    // The hub's downloads grow over several runs before they are renamed.
    [Fact]
    public void Library_WritesFiles_WholeOrNotAtAll() => AssertNone(
        from file in SourceTree.Files(SourceTree.Library)
        where SourceTree.Parts(file) is not ([.., "AtomicFile.cs"] or [.., "Hub", _])
        from line in File.ReadLines(file).Index()
        where PlainWrite().IsMatch(line.Item)
        select $"{SourceTree.Place(file, line.Index + 1)}: {line.Item.Trim()}",
        "Write by AtomicFile.");

    [Fact]
    public void Lines_OfTheSource_HaveAtMost160Characters() => AssertNone(
        from file in SourceTree.Files()
        from line in File.ReadLines(file).Index()
        where line.Item.Length > LongestLine
        select $"{SourceTree.Place(file, line.Index + 1)} has {line.Item.Length} characters",
        $"Break lines after at most {LongestLine} characters.");

    // Parts of a network are fields as well, under the names that their weights have in upstream's files.
    [Fact]
    public void Fields_OfTheSource_AreWrittenOneWay() => AssertNone(
        from file in SourceTree.Files()
        let code = CSharpSyntaxTree.ParseText(File.ReadAllText(file)).GetRoot()
        from field in code.DescendantNodes().OfType<FieldDeclarationSyntax>()
        where field.Modifiers.Any(SyntaxKind.PrivateKeyword) && !IsPartOfANetwork(field)
        from variable in field.Declaration.Variables
        where !Beginning(field.Modifiers).IsMatch(variable.Identifier.Text)
        select $"{SourceTree.Place(file, field.GetLocation().GetLineSpan().StartLinePosition.Line + 1)}: {variable.Identifier.Text}",
        "Write _field, s_static for one that changes, and Constant for const and static readonly.");

    private static bool IsPartOfANetwork(FieldDeclarationSyntax field) =>
        field.Parent!.DescendantNodes().OfType<IdentifierNameSyntax>().Any(static name => name.Identifier.Text is "RegisterComponents" or "register_module")
        && field.Declaration.Type is not PredefinedTypeSyntax;

    private static Regex Beginning(SyntaxTokenList modifiers) =>
        modifiers.Any(SyntaxKind.ConstKeyword) || (modifiers.Any(SyntaxKind.StaticKeyword) && modifiers.Any(SyntaxKind.ReadOnlyKeyword)) ? Capital()
        : modifiers.Any(SyntaxKind.StaticKeyword) ? Changing()
        : Underscore();

    private static void AssertNone(IEnumerable<string> faults, string remedy)
    {
        string[] all = [.. faults.Distinct()];
        Assert.True(all.Length == 0, $"{Listing.Lines(all)}\n{remedy}");
    }

    [GeneratedRegex(@"(?<!\w)File\.(Move|Create|WriteAll\w+|AppendAll\w+)\(")]
    private static partial Regex PlainWrite();

    [GeneratedRegex("^[A-Z]")]
    private static partial Regex Capital();

    [GeneratedRegex("^s_[a-z]")]
    private static partial Regex Changing();

    [GeneratedRegex("^_[a-z]")]
    private static partial Regex Underscore();
}
