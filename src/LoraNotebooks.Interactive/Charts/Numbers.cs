using System.Globalization;

namespace LoraNotebooks.Interactive;

/// <summary>Numbers as people read them.</summary>
internal static class Numbers
{
    // The digits of larger ones are not all known.
    private const double MostWhole = 1e15;

    /// <summary>Four significant digits; very small and very large values with a power of ten, such as <c>1e-4</c>.</summary>
    public static string Short(double value)
    {
        if (!double.IsFinite(value))
        {
            return double.IsNaN(value) ? "NaN" : value > 0 ? "∞" : "−∞";
        }

        var size = Math.Abs(value);
        if (size != 0 && size is < 0.001 or >= 1e6)
        {
            var power = (int)Math.Floor(Math.Log10(size));
            var mantissa = Math.Round(value / Math.Pow(10, power), 2);
            if (Math.Abs(mantissa) >= 10)
            {
                (mantissa, power) = (mantissa / 10, power + 1);
            }

            return string.Create(CultureInfo.InvariantCulture, $"{mantissa:0.##}e{power}");
        }

        return value.ToString(size >= 1000 ? "#,##0.#" : "G4", CultureInfo.InvariantCulture);
    }

    /// <summary>A number of a table: whole ones in full, others like <see cref="Short"/>; never with marks between the digits.</summary>
    public static string Plain(double value) =>
        Math.Abs(value) < MostWhole && value == Math.Truncate(value)
            ? value.ToString("0", CultureInfo.InvariantCulture)
            : Short(value).Replace(",", "", StringComparison.Ordinal);

    /// <summary>A count with thin groups of three digits: <c>12,345</c>.</summary>
    public static string Count(long value) => value.ToString("N0", CultureInfo.InvariantCulture);

    /// <summary>A count with its noun: <c>1 image</c>, <c>2 images</c>.</summary>
    public static string Of(long count, string noun) => $"{Count(count)} {noun}{(count == 1 ? "" : "s")}";

    /// <summary>A share in per cent.</summary>
    public static string Percent(double share) => string.Create(CultureInfo.InvariantCulture, $"{100 * share:0.#} %");

    /// <summary>A length of time: <c>42 s</c>, <c>3 min 05 s</c>, <c>2 h 07 min</c>.</summary>
    public static string Time(TimeSpan time) => time switch
    {
        { TotalSeconds: < 10 } => string.Create(CultureInfo.InvariantCulture, $"{time.TotalSeconds:0.0} s"),
        { TotalMinutes: < 1 } => string.Create(CultureInfo.InvariantCulture, $"{Math.Floor(time.TotalSeconds):0} s"),
        { TotalHours: < 1 } => string.Create(CultureInfo.InvariantCulture, $"{(int)time.TotalMinutes} min {time.Seconds:00} s"),
        _ => string.Create(CultureInfo.InvariantCulture, $"{(int)time.TotalHours} h {time.Minutes:00} min"),
    };

    /// <summary>Seconds as a length of time; a dash where they are not known.</summary>
    public static string Time(double seconds) => double.IsFinite(seconds) && seconds is >= 0 and < 1e9 ? Time(TimeSpan.FromSeconds(seconds)) : "–";

    /// <summary>The value to six significant digits, so that a figure's JSON stays small; <see langword="null"/> is Plotly's gap.</summary>
    public static object? SixDigits(double value) =>
        double.IsFinite(value) ? double.Parse(value.ToString("G6", CultureInfo.InvariantCulture), CultureInfo.InvariantCulture) : null;
}
