using System.Globalization;

namespace LoraNotebooks.Data;

/// <summary>A folder name <c>N_name</c>, which says how often its images are seen in an epoch (kohya-ss sd-scripts, library/config_util.py).</summary>
/// <param name="Repeats">N.</param>
/// <param name="ClassTokens">The name: the caption of images that have none.</param>
internal sealed record RepeatFolder(int Repeats, string ClassTokens)
{
    /// <summary>From here on a number looks like a year or a date rather than a count.</summary>
    public const int Many = 200;

    /// <summary>Reads a folder's name; null when it does not begin with a whole number of 1 or more.</summary>
    public static RepeatFolder? Parse(string name)
    {
        var parts = name.Split('_', 2);
        return int.TryParse(
            parts[0],
            NumberStyles.AllowLeadingWhite | NumberStyles.AllowTrailingWhite | NumberStyles.AllowLeadingSign,
            CultureInfo.InvariantCulture,
            out var repeats) && repeats >= 1
            ? new RepeatFolder(repeats, parts.Length == 2 ? parts[1] : "")
            : null;
    }
}
