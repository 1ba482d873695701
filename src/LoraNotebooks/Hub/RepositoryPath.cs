namespace LoraNotebooks.Hub;

/// <summary>Names of files and revisions that come from a server or a user and become paths in the cache.</summary>
internal static class RepositoryPath
{
    /// <summary>Why a name with '/' between its parts would not stay below its folder on every system; null if it does.</summary>
    public static string? FaultOf(string name)
    {
        if (name.Any(static letter => letter is '\\' or ':' or '*' or '?' or '"' or '<' or '>' or '|' || char.IsControl(letter)))
        {
            return "it has a backslash, a colon or another character that names of files cannot have everywhere";
        }

        foreach (var part in name.Split('/'))
        {
            if (part.Length == 0)
            {
                return "it is absolute or has an empty part";
            }

            // Windows drops dots and blanks at the end, so that ".. " would mean "..".
            if (part[^1] is '.' or ' ')
            {
                return "a part of it is '.', '..' or ends with a dot or a blank";
            }
        }

        return null;
    }

    /// <summary>The path of a repository's file below a folder.</summary>
    /// <exception cref="HubException">The name would lead out of the folder.</exception>
    public static string Below(string folder, string name) => FaultOf(name) is { } fault
        ? throw new HubException(
            HubFailure.Refused,
            $"The server names a file '{Printable.Text(name)}', which is refused: {fault}. "
                + "Expected a path below the model's folder, as in unet/config.json; do not use this repository.")
        : Path.Combine([folder, .. name.Split('/')]);
}
