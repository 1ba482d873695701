using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;

namespace LoraNotebooks.Comparison;

/// <summary>
/// The text form of an axis' values: comma-separated, with quotes around values that contain commas, and ranges of numbers.
/// </summary>
/// <remarks>
/// <list type="bullet">
/// <item><c>0-1 (+0.25)</c>: from, to and step: 0, 0.25, 0.5, 0.75, 1. Both ends are exact; a step that misses the end stops before it.</item>
/// <item><c>1-10 [5]</c>: five evenly spaced values: 1, 3.25, 5.5, 7.75, 10.</item>
/// <item><c>1-4</c>: a step of 1.</item>
/// <item><c>-1--0.5 (+0.25)</c>: numbers may be negative; <c>3-1 (-1)</c>: a range may fall.</item>
/// </list>
/// The notation is that of the WebUI's X/Y/Z plot (scripts/xyz_grid.py), where ends can be off by a step; here arithmetic is decimal.
/// </remarks>
public static partial class XyzValues
{
    private const int Most = 1000;

    // Keeps the decimal arithmetic of ranges from overflowing.
    private const decimal Largest = 1e18m;

    /// <summary>Splits at commas; <c>"…"</c> keeps commas, <c>""</c> inside quotes is one quote. Blanks around a value are dropped.</summary>
    /// <exception cref="FormatException">No value, an empty value, or a quote without its partner.</exception>
    public static IReadOnlyList<string> ParseTexts(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        var values = new List<string>();
        var value = new StringBuilder();
        bool isQuoted = false, wasQuoted = false;
        for (var i = 0; i < text.Length; i++)
        {
            var c = text[i];
            if (isQuoted)
            {
                if (c == '"' && i + 1 < text.Length && text[i + 1] == '"')
                {
                    value.Append('"');
                    i++;
                }
                else if (c == '"')
                {
                    isQuoted = false;
                }
                else
                {
                    value.Append(c);
                }
            }
            else if (c == '"' && string.IsNullOrWhiteSpace(value.ToString()) && !wasQuoted)
            {
                value.Clear();
                isQuoted = wasQuoted = true;
            }
            else if (c == ',')
            {
                Take();
            }
            else if (!wasQuoted || !char.IsWhiteSpace(c))
            {
                value.Append(c);
            }
        }

        if (isQuoted)
        {
            throw new FormatException($"Got the values '{text}', where a quote is opened and not closed; close it, or write \"\" for a quote inside quotes.");
        }

        Take();
        return values;

        void Take()
        {
            var taken = wasQuoted ? value.ToString() : value.ToString().Trim();
            if (taken.Length == 0 && !wasQuoted)
            {
                throw new FormatException(
                    $"Got the values '{text}', of which number {values.Count + 1} is empty; "
                    + "give at least one value and none between two commas, or write \"\" for an empty one.");
            }

            values.Add(taken);
            value.Clear();
            wasQuoted = false;
        }
    }

    /// <summary>Numbers and ranges of numbers.</summary>
    /// <exception cref="FormatException">What is not a number or a range, with what was got.</exception>
    public static IReadOnlyList<double> ParseNumbers(string text) => [.. Expand(text).Select(Nearest)];

    /// <summary>Whole numbers and ranges of them; evenly spaced values are rounded to the nearest whole number.</summary>
    /// <exception cref="FormatException">What is not a whole number or a range, with what was got.</exception>
    public static IReadOnlyList<long> ParseIntegers(string text)
    {
        var result = new List<long>();
        foreach (var value in Expand(text, whole: true))
        {
            if (value != decimal.Truncate(value))
            {
                throw new FormatException($"Got the value {Show(value)} in '{text}'; this axis takes whole numbers, such as 1, 2, 3 or 10-50 (+10).");
            }

            result.Add((long)value);
        }

        return result;
    }

    private static IEnumerable<decimal> Expand(string text, bool whole = false) => ParseTexts(text).SelectMany(part => ExpandOne(part, whole));

    private static IEnumerable<decimal> ExpandOne(string part, bool whole)
    {
        if (TryNumber(part, out var number))
        {
            return [number];
        }

        var match = Range().Match(part);
        if (!match.Success || !TryNumber(match.Groups["from"].Value, out var from) || !TryNumber(match.Groups["to"].Value, out var to))
        {
            throw new FormatException(
                $"Got '{part}' where a number was expected; "
                + "write a number (0.5), a range with a step (0-1 (+0.25)) or a range with a count (1-10 [5]).");
        }

        if (match.Groups["count"].Success)
        {
            return Spaced(part, from, to, match.Groups["count"].Value, whole);
        }

        var step = from <= to ? 1m : -1m;
        if (match.Groups["step"].Success && !TryNumber(match.Groups["step"].Value, out step))
        {
            throw new FormatException(
                $"Got the step '{match.Groups["step"].Value}' in '{part}', which is not a number that can be used; write for example (+0.25).");
        }

        return Stepped(part, from, to, step);
    }

    private static IEnumerable<decimal> Stepped(string part, decimal from, decimal to, decimal step)
    {
        if (step == 0 || (to - from) * step < 0)
        {
            throw new FormatException(
                $"Got '{part}', whose step {Show(step)} never leads from {Show(from)} to {Show(to)}; "
                + $"give a step {(to < from ? "below" : "above")} zero.");
        }

        var count = decimal.Floor((to - from) / step) + 1;
        return count <= Most
            ? Enumerable.Range(0, (int)count).Select(i => from + i * step)
            : throw new FormatException($"Got '{part}', which makes {count:0} values; an axis takes at most {Most}. Use a larger step.");
    }

    private static IEnumerable<decimal> Spaced(string part, decimal from, decimal to, string countText, bool whole)
    {
        if (!int.TryParse(countText, NumberStyles.None, CultureInfo.InvariantCulture, out var count) || count is < 1 or > Most)
        {
            throw new FormatException($"Got '{part}' with a count of {countText}; the count in [ ] is from 1 to {Most}.");
        }

        // Value i of n lies at from + (to − from) · i / (n − 1); the multiplication comes first, so that the end is exact.
        return Enumerable.Range(0, count)
            .Select(i => count == 1 ? from : from + (to - from) * i / (count - 1))
            .Select(value => whole ? decimal.Round(value, MidpointRounding.AwayFromZero) : value);
    }

    private static bool TryNumber(string text, out decimal number) =>
        decimal.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out number) && Math.Abs(number) <= Largest;

    // By way of the digits: the cast itself may miss the nearest double.
    private static double Nearest(decimal value) => double.Parse(value.ToString(CultureInfo.InvariantCulture), CultureInfo.InvariantCulture);

    private static string Show(decimal value) => value.ToString("G29", CultureInfo.InvariantCulture);

    private const string Number = @"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?";

    [GeneratedRegex(@"^\s*(?<from>" + Number + @")\s*-\s*(?<to>" + Number + @")\s*(?:\(\s*(?<step>" + Number + @")\s*\)|\[\s*(?<count>\d+)\s*\])?\s*$")]
    private static partial Regex Range();
}
