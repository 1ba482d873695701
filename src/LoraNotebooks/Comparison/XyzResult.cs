using System.Globalization;
using System.Text;
using LoraNotebooks.Data;
using LoraNotebooks.Formats;

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

    /// <summary>Whether every cell was painted.</summary>
    public bool IsComplete => Cells.Count == Grid.Count;

    /// <summary>The image of a cell, or <see langword="null"/> if the run was stopped before it.</summary>
    public RgbImage? this[int x, int y = 0, int z = 0] => _cells.GetValueOrDefault((x, y, z))?.Image;

    /// <summary>Saves each image under a name that says its place and values, with an index of all settings, see <see cref="XyzIndex"/>.</summary>
    /// <param name="folder">Is created if it is missing.</param>
    /// <returns>The paths of the images, in the order of <see cref="Cells"/>.</returns>
    public IReadOnlyList<string> Save(string folder)
    {
        Directory.CreateDirectory(folder);
        var paths = new List<string>(Cells.Count);
        foreach (var cell in Cells)
        {
            paths.Add(Path.Combine(folder, FileName(cell)));
            AtomicFile.WriteAllBytes(paths[^1], cell.Image.EncodePng());
        }

        XyzIndex.Save(folder, Cells.Select(cell => new XyzIndexEntry(
            FileName(cell), Grid.X.Labels[cell.X], Grid.Y?.Labels[cell.Y], Grid.Z?.Labels[cell.Z], cell.Settings, cell.Facts)));
        return paths;
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
