using System.Diagnostics.CodeAnalysis;
using System.Globalization;
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

    /// <summary>Whether a version is what was asked for: the same one, one within the range, or one that the stars stand for.</summary>
    public bool Admits(string version)
    {
        if (Version is ['[' or '(', .. var bounds, ']' or ')'])
        {
            var ends = bounds.Split(',', StringSplitOptions.TrimEntries);
            var (low, high) = (ends[0], ends[^1]);
            return (low.Length == 0 || Compare(version, low) >= (Version[0] == '[' ? 0 : 1))
                && (high.Length == 0 || Compare(version, high) <= (Version[^1] == ']' ? 0 : -1));
        }

        var star = Version.IndexOf('*', StringComparison.Ordinal);
        return star >= 0 ? version.StartsWith(Version[..star].TrimEnd('-'), StringComparison.OrdinalIgnoreCase) : Compare(version, Version) == 0;
    }

    /// <summary>Which of two versions is newer; marks of previews count only where the numbers are the same.</summary>
    public static int Compare(string one, string other)
    {
        var ((numbers, mark), (otherNumbers, otherMark)) = (Read(one), Read(other));
        var order = numbers.CompareTo(otherNumbers);
        return order != 0 ? order
            : mark.Length == 0 || otherMark.Length == 0 ? otherMark.Length.CompareTo(mark.Length)
            : string.Compare(mark, otherMark, StringComparison.OrdinalIgnoreCase);

        static ((int, int, int, int) Numbers, string Mark) Read(string version)
        {
            var parts = version.Split('+')[0].Split('-', 2);
            int[] numbers = [.. parts[0].Split('.').Select(part => int.TryParse(part, CultureInfo.InvariantCulture, out var number) ? number : 0), 0, 0, 0, 0];
            return ((numbers[0], numbers[1], numbers[2], numbers[3]), parts.Length == 2 ? parts[1] : "");
        }
    }

    [GeneratedRegex(@"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
    private static partial Regex NamePattern();

    [GeneratedRegex(@"^[0-9A-Za-z.*+\-\[\](), ]+$")]
    private static partial Regex VersionPattern();
}
