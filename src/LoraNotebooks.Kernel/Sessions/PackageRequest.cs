using System.Diagnostics.CodeAnalysis;
using System.Text.RegularExpressions;

namespace LoraNotebooks.Kernel.Sessions;

/// <summary>A package that a cell asks for with <c>#r "nuget: Name, version"</c>.</summary>
/// <param name="Id">The package's name.</param>
/// <param name="Version">A version, a range or a floating version; <c>*</c>, the newest stable one, if none was given.</param>
internal sealed partial record PackageRequest(string Id, string Version)
{
    private const string Scheme = "nuget:";

    /// <summary>Whether the text of a directive names a package at all.</summary>
    public static bool IsPackage(string reference) => reference.TrimStart().StartsWith(Scheme, StringComparison.OrdinalIgnoreCase);

    /// <summary>Reads the text between the quotes of a directive.</summary>
    public static bool TryParse(string reference, [NotNullWhen(true)] out PackageRequest? request)
    {
        request = null;
        if (!IsPackage(reference))
        {
            return false;
        }

        var parts = reference.Trim()[Scheme.Length..].Split(',', 2, StringSplitOptions.TrimEntries);
        var version = parts.Length == 2 && parts[1].Length > 0 ? parts[1] : "*";
        if (!NamePattern().IsMatch(parts[0]) || !VersionPattern().IsMatch(version))
        {
            return false;
        }

        request = new PackageRequest(parts[0], version);
        return true;
    }

    [GeneratedRegex(@"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
    private static partial Regex NamePattern();

    [GeneratedRegex(@"^[0-9A-Za-z.*+\-\[\](), ]+$")]
    private static partial Regex VersionPattern();
}
