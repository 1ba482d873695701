using System.Globalization;
using System.Text;
using LoraNotebooks.Data;

namespace LoraNotebooks.Comparison;

/// <summary>The images of a grid with the settings of each: plain data, which a display draws.</summary>
public sealed class XyzResult
{
    private readonly Dictionary<(int, int, int), XyzCell> _cells;

    /// <summary>A result of cells that were painted, all of the grid's or some.</summary>
    /// <param name="grid">The grid.</param>
    /// <param name="cells">The finished cells, each place at most once.</param>
    public XyzResult(XyzGrid grid, IReadOnlyList<XyzCell> cells)
    {
        ArgumentNullException.ThrowIfNull(grid);
        ArgumentNullException.ThrowIfNull(cells);
        Grid = grid;
        Cells = cells;
        _cells = cells.ToDictionary(cell => (cell.X, cell.Y, cell.Z));
    }

    /// <summary>The grid that was run.</summary>
    public XyzGrid Grid { get; }

    /// <summary>The finished cells in the order in which they were painted.</summary>
    public IReadOnlyList<XyzCell> Cells { get; }

    /// <summary>The cells that could not be painted, with the reason.</summary>
    public IReadOnlyList<XyzFailure> Failures { get; init; } = [];

    /// <summary>Whether every cell was painted.</summary>
    public bool IsComplete => Cells.Count == Grid.Count;

    /// <summary>The image of a cell, or <see langword="null"/> if the run was stopped before it.</summary>
    public RgbImage? this[int x, int y = 0, int z = 0] => _cells.GetValueOrDefault((x, y, z))?.Image;

    /// <summary>Saves each image under a name that says its place and values, with an index of all settings, see <see cref="XyzIndex"/>.</summary>
    /// <param name="folder">Is created if it is missing. Other files in it stay.</param>
    /// <param name="overwrite">Whether files of these names that hold something else are replaced. Default false; the same result can be saved again.</param>
    /// <returns>The paths of the images, in the order of <see cref="Cells"/>.</returns>
    /// <exception cref="IOException">The folder has files of these names with another content; nothing was written.</exception>
    public IReadOnlyList<string> Save(string folder, bool overwrite = false)
    {
        var images = Cells.Select(cell => (Name: FileName(cell), Content: cell.Image.EncodePng())).ToList();
        var entries = Cells.Zip(images, (cell, image) => new XyzIndexEntry(
            image.Name, Grid.X.Labels[cell.X], Grid.Y?.Labels[cell.Y], Grid.Z?.Labels[cell.Z], cell.Settings, cell.Facts));
        List<(string Path, byte[] Content)> files = [.. images.Concat(XyzIndex.Files(entries)).Select(file => (Path.Combine(folder, file.Name), file.Content))];
        var others = overwrite ? [] : files
            .Where(static file => File.Exists(file.Path) && !File.ReadAllBytes(file.Path).AsSpan().SequenceEqual(file.Content))
            .Select(static file => Path.GetFileName(file.Path))
            .ToList();
        if (others.Count > 0)
        {
            throw new IOException(
                $"'{folder}' has {Listing.Count(others.Count, "file")} of these names already, with another content: {Listing.Inline(others)}. "
                + "Give another folder, or allow overwriting.");
        }

        foreach (var (path, content) in files)
        {
            AtomicFile.WriteAllBytes(path, content);
        }

        if (Failures.Count > 0)
        {
            Notice.Tell($"{Listing.Count(Failures.Count, "cell")} could not be painted and {(Failures.Count == 1 ? "is" : "are")} not saved in '{folder}'.");
        }

        return [.. files.Take(Cells.Count).Select(static file => file.Path)];
    }

    // y01-x02_seed-7_lora-weight-0.5.png: sorts as the grid reads, and says what it shows.
    private string FileName(XyzCell cell)
    {
        (char Letter, XyzAxis? Axis, int Position)[] axes = [('z', Grid.Z, cell.Z), ('y', Grid.Y, cell.Y), ('x', Grid.X, cell.X)];
        var present = axes.Where(a => a.Axis is not null).ToArray();
        var place = string.Join('-', present.Select(a => $"{a.Letter}{(a.Position + 1).ToString("00", CultureInfo.InvariantCulture)}"));
        var values = present.Select(a => Plain(a.Axis!.Name) + "-" + Plain(a.Axis.Labels[a.Position]));
        return $"{place}_{string.Join('_', values)}.png";
    }

    // Only characters that every file system takes, and not too many of them.
    private static string Plain(string text)
    {
        var plain = new StringBuilder();
        foreach (var c in text.ToLowerInvariant())
        {
            if (char.IsAsciiLetterOrDigit(c) || (c is '.' or '-' && plain.Length > 0) || (c == '-' && plain.Length == 0))
            {
                plain.Append(c);
            }
            else if (plain.Length > 0 && plain[^1] != '-')
            {
                plain.Append('-');
            }
        }

        return plain.ToString(0, Math.Min(plain.Length, 40)).TrimEnd('-', '.');
    }
}
