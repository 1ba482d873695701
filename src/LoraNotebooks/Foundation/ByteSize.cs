using System.Globalization;

namespace LoraNotebooks.Foundation;

/// <summary>Sizes in memory, on the disk and on the wire for people.</summary>
public static class ByteSize
{
    /// <summary>A size in decimal units, as the hub and disks show them: <c>812 B</c>, <c>4.3 kB</c>, <c>12.0 MB</c>, <c>3.44 GB</c>.</summary>
    /// <param name="bytes">The size in bytes; what rounds up to 1000 of a unit is 1 of the next.</param>
    public static string Text(long bytes) => bytes switch
    {
        < 1_000 => string.Create(CultureInfo.InvariantCulture, $"{bytes} B"),
        < 999_950 => string.Create(CultureInfo.InvariantCulture, $"{bytes / 1e3:0.0} kB"),
        < 999_950_000 => string.Create(CultureInfo.InvariantCulture, $"{bytes / 1e6:0.0} MB"),
        _ => string.Create(CultureInfo.InvariantCulture, $"{bytes / 1e9:0.00} GB"),
    };
}
