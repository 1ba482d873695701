using System.Diagnostics.CodeAnalysis;
using System.Text.RegularExpressions;

namespace LoraNotebooks.Hub;

/// <summary>A model on the hub at a revision, written <c>org/name</c> or <c>org/name@revision</c>.</summary>
public sealed partial record HubId
{
    /// <summary>The revision where none is named.</summary>
    public const string DefaultRevision = "main";

    private const string FolderPrefix = "models--";
    private const int LongestPart = 96;

    private HubId(string name, string revision) => (Name, Revision) = (name, revision);

    /// <summary>The repository's name, <c>org/name</c>.</summary>
    public string Name { get; }

    /// <summary>A branch, a tag or a commit; default <see cref="DefaultRevision"/>.</summary>
    public string Revision { get; }

    /// <summary>The name of the repository's folder in the cache.</summary>
    internal string FolderName => FolderPrefix + Name.Replace("/", "--", StringComparison.Ordinal);

    /// <summary>Reads <c>org/name[@revision]</c>.</summary>
    /// <exception cref="FormatException">It is something else.</exception>
    public static HubId Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return TryParse(text, out var id)
            ? id
            : throw new FormatException(
                $"'{text}' is not the name of a model on the hub; expected org/name or org/name@revision, of letters, digits, '-', '_' and '.'.");
    }

    /// <summary>Reads <c>org/name[@revision]</c>; false if it is something else.</summary>
    public static bool TryParse(string? text, [NotNullWhen(true)] out HubId? id)
    {
        var at = text?.IndexOf('@') ?? -1;
        var name = at < 0 ? text ?? "" : text![..at];
        var revision = at < 0 ? DefaultRevision : text![(at + 1)..];
        id = Pattern().IsMatch(name) && !name.Contains("--") && !name.Contains("..") && !name.EndsWith(".git", StringComparison.Ordinal)
            && name.Split('/').All(static part => part.Length <= LongestPart) && RepositoryPath.FaultOf(revision) is null
            ? new HubId(name, revision)
            : null;
        return id is not null;
    }

    /// <summary>The same model at another revision.</summary>
    /// <exception cref="FormatException">The revision cannot be one.</exception>
    public HubId At(string revision) => Parse($"{Name}@{revision}");

    /// <inheritdoc/>
    public override string ToString() => Revision == DefaultRevision ? Name : $"{Name}@{Revision}";

    /// <summary>Whether a revision is a whole commit hash.</summary>
    internal static bool IsCommit(string revision) => Commit().IsMatch(revision);

    /// <summary>
    /// The name of the model whose folder in the cache this is; null if it is no model's. A name of one part is an old one without an organisation.
    /// </summary>
    internal static string? NameOfFolder(string folderName) => folderName.StartsWith(FolderPrefix, StringComparison.Ordinal)
        && folderName.Length > FolderPrefix.Length
        ? folderName[FolderPrefix.Length..].Replace("--", "/", StringComparison.Ordinal)
        : null;

    // Both parts begin and end with a letter, a digit or an underscore.
    [GeneratedRegex(@"\A\w(?:[\w.-]*\w)?/\w(?:[\w.-]*\w)?\z", RegexOptions.ECMAScript)]
    private static partial Regex Pattern();

    [GeneratedRegex(@"\A[0-9a-f]{40}\z")]
    private static partial Regex Commit();
}
