using System.Collections;
using System.Globalization;
using System.Reflection;
using Microsoft.Data.Analysis;

namespace LoraNotebooks.Interactive;

/// <summary>A plain table: numbers to the right, text to the left, at most some rows.</summary>
public sealed class TableDisplay : RichDisplay
{
    private readonly bool[] _isNumeric;

    /// <summary>A table of values; each row has a value for each column.</summary>
    /// <exception cref="ArgumentException">A row of another length.</exception>
    public TableDisplay(IEnumerable<string> columns, IEnumerable<IReadOnlyList<object?>> rows)
    {
        Columns = [.. columns];
        Rows = [.. rows];
        if (Rows.FirstOrDefault(row => row.Count != Columns.Count) is { } odd)
        {
            throw new ArgumentException($"Got a row of {odd.Count} values for {Columns.Count} columns; give one value for each column.", nameof(rows));
        }

        _isNumeric = [.. Columns.Select((_, i) => Rows.Any(row => IsNumber(row[i])) && Rows.All(row => row[i] is null || IsNumber(row[i])))];
    }

    /// <summary>The columns' names.</summary>
    public IReadOnlyList<string> Columns { get; }

    /// <summary>The rows.</summary>
    public IReadOnlyList<IReadOnlyList<object?>> Rows { get; }

    /// <summary>The title; default none.</summary>
    public string? Title { get; init; }

    /// <summary>The most rows shown; default 40. The display says how many there are.</summary>
    public int MostRows { get; init; } = 40;

    /// <summary>The table of a data frame.</summary>
    public static TableDisplay Of(DataFrame frame)
    {
        ArgumentNullException.ThrowIfNull(frame);
        return new(frame.Columns.Select(column => column.Name), frame.Rows.Select(row => (IReadOnlyList<object?>)[.. row]));
    }

    /// <summary>The table of objects, a column for each public property, in the order of declaration.</summary>
    public static TableDisplay Of<T>(IEnumerable<T> items)
    {
        PropertyInfo[] properties = [.. typeof(T).GetProperties(BindingFlags.Public | BindingFlags.Instance).Where(p => p.CanRead && p.GetIndexParameters().Length == 0)];
        return new(properties.Select(p => p.Name), items.Select(item => (IReadOnlyList<object?>)[.. properties.Select(p => p.GetValue(item))]));
    }

    /// <inheritdoc/>
    public override Html ToHtml()
    {
        var head = Look.Tr(Columns.Select((name, i) => Look.Th(name, Align(i))));
        var body = Rows.Take(MostRows).Select(row => Look.Tr(row.Select((value, i) => Look.Cell(Show(value), Align(i)))));
        return Look.Page(Title, Rows.Count > MostRows ? $"first {MostRows} of {Numbers.Count(Rows.Count)} rows" : null, Look.Grid(body.Prepend(head)));
    }

    /// <inheritdoc/>
    public override string ToText()
    {
        string[][] cells = [[.. Columns], .. Rows.Take(MostRows).Select(row => row.Select(Show).ToArray())];
        int[] widths = [.. Columns.Select((_, i) => cells.Max(row => row[i].Length))];
        var lines = cells.Select(row => string.Join("  ", row.Select((text, i) => _isNumeric[i] ? text.PadLeft(widths[i]) : text.PadRight(widths[i]))).TrimEnd());
        return string.Join('\n', Title is null ? lines : lines.Prepend(Title));
    }

    private string Align(int column) => _isNumeric[column] ? "right" : "left";

    private static bool IsNumber(object? value) => value is int or long or short or byte or uint or ulong or ushort or sbyte or float or double or decimal;

    private static string Show(object? value) => value switch
    {
        null => "",
        string text => text,
        double number => Numbers.Short(number),
        float number => Numbers.Short(number),
        int or long or short or byte or uint or ulong or ushort or sbyte => ((IFormattable)value).ToString("N0", CultureInfo.InvariantCulture),
        IFormattable other => other.ToString(null, CultureInfo.InvariantCulture),
        IEnumerable items => string.Join(", ", items.Cast<object?>().Select(Show)),
        _ => value.ToString() ?? "",
    };
}
