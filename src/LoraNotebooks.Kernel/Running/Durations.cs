using System.Globalization;
using System.Text.RegularExpressions;

namespace LoraNotebooks.Kernel.Running;

/// <summary>Lengths of time as people write them: <c>90s</c>, <c>8m</c>, <c>1h30m</c>, <c>1.5m</c>, <c>45</c> (seconds).</summary>
internal static partial class Durations
{
    /// <summary>Reads a positive length of time.</summary>
    public static bool TryParse(string text, out TimeSpan duration)
    {
        duration = default;
        var match = Pattern().Match(text.Trim());
        if (!match.Success || match.Length == 0)
        {
            return false;
        }

        var seconds = Number(match.Groups["h"]) * 3600 + Number(match.Groups["m"]) * 60 + Number(match.Groups["s"]);
        if (seconds is <= 0 or > int.MaxValue / 1000)
        {
            return false;
        }

        duration = TimeSpan.FromSeconds(seconds);
        return true;
    }

    /// <summary>For people: <c>0.4 s</c>, <c>12 s</c>, <c>3 min 05 s</c>.</summary>
    public static string Format(TimeSpan duration) => duration.TotalSeconds switch
    {
        < 10 => string.Create(CultureInfo.InvariantCulture, $"{duration.TotalSeconds:0.0} s"),
        < 60 => string.Create(CultureInfo.InvariantCulture, $"{Math.Floor(duration.TotalSeconds):0} s"),
        _ => string.Create(CultureInfo.InvariantCulture, $"{(int)duration.TotalMinutes} min {duration.Seconds:00} s"),
    };

    private static double Number(Group group) => group.Success ? double.Parse(group.ValueSpan, CultureInfo.InvariantCulture) : 0;

    [GeneratedRegex(@"^(?:(?<h>\d+(?:\.\d+)?)\s*h)?\s*(?:(?<m>\d+(?:\.\d+)?)\s*m(?:in)?)?\s*(?:(?<s>\d+(?:\.\d+)?)\s*s?)?$")]
    private static partial Regex Pattern();
}
