using System.Data;
using Microsoft.Data.Analysis;

namespace LoraNotebooks.Interactive;

/// <summary>A plain table: numbers to the right, text to the left, at most some rows and columns.</summary>
public sealed class TableDisplay : RichDisplay
{
    /// <summary>The most columns that are kept; more are counted only.</summary>
    internal const int MostKeptColumns = 1_000;

    private const int MostKeptRows = 1_000;
    private const int MostCellCharacters = 200;
    private const int MostTextCellCharacters = 60;

    private readonly bool[] _isNumeric;
    private readonly bool _hasMoreRows;

    /// <summary>A table of values; each row has a value for each column.</summary>
    /// <param name="columns">The columns' names.</param>
    /// <param name="rows">The rows, of which at most the first 1,000 are kept.</param>
    /// <exception cref="ArgumentException">A row of another length.</exception>
    public TableDisplay(IEnumerable<string> columns, IEnumerable<IReadOnlyList<object?>> rows)
        : this(columns, rows, rows.TryGetNonEnumeratedCount(out var count) ? count : null, hasMoreRows: false)
    {
    }

    /// <summary>A table of the first rows of more.</summary>
    /// <param name="columns">The columns' names.</param>
    /// <param name="rows">The first rows.</param>
    /// <param name="rowCount">How many there are in all; null where that is not known.</param>
    /// <param name="hasMoreRows">Whether there are more than <paramref name="rows"/> gives.</param>
    internal TableDisplay(IEnumerable<string> columns, IEnumerable<IReadOnlyList<object?>> rows, long? rowCount, bool hasMoreRows)
    {
        Columns = [.. columns];
        List<IReadOnlyList<object?>> kept = [.. rows.Take(MostKeptRows + 1)];
        var isWhole = kept.Count <= MostKeptRows;
        Rows = isWhole ? kept : kept[..MostKeptRows];
        _hasMoreRows = !isWhole || hasMoreRows || rowCount > kept.Count;
        RowCount = rowCount ?? (_hasMoreRows ? null : kept.Count);
        if (Rows.FirstOrDefault(row => row.Count != Columns.Count) is { } odd)
        {
            throw new ArgumentException($"Got a row of {odd.Count} values for {Columns.Count} columns; give one value for each column.", nameof(rows));
        }

        _isNumeric = [.. Columns.Select((_, i) => Rows.Any(row => IsNumber(row[i])) && Rows.All(row => row[i] is null || IsNumber(row[i])))];
    }

    /// <summary>The columns' names.</summary>
    public IReadOnlyList<string> Columns { get; }

    /// <summary>The rows that are kept.</summary>
    public IReadOnlyList<IReadOnlyList<object?>> Rows { get; }

    /// <summary>How many rows there are in all; null where that is not known.</summary>
    public long? RowCount { get; }

    /// <summary>The title; default none.</summary>
    public string? Title { get; init; }

    /// <summary>The most rows shown; default 40. The display says how many there are.</summary>
    public int MostRows { get; init; } = 40;

    /// <summary>The most columns shown; default 20. The display says how many there are.</summary>
    public int MostColumns { get; init; } = 20;

    private int Shown => Math.Min(MostColumns, Columns.Count);

    /// <summary>The table of a data frame; the first 1,000 rows are kept.</summary>
    public static TableDisplay Of(DataFrame frame)
    {
        ArgumentNullException.ThrowIfNull(frame);
        var columns = frame.Columns.Take(MostKeptColumns).ToArray();
        var rows = Enumerable.Range(0, (int)Math.Min(frame.Rows.Count, MostKeptRows))
            .Select(i => (IReadOnlyList<object?>)[.. columns.Select(column => column[i])]);
        return new(columns.Select(column => column.Name), rows, frame.Rows.Count, hasMoreRows: false);
    }

    /// <summary>The table of a data table; the first 1,000 rows are kept.</summary>
    public static TableDisplay Of(DataTable table)
    {
        ArgumentNullException.ThrowIfNull(table);
        var columns = table.Columns.Cast<DataColumn>().Take(MostKeptColumns).ToArray();
        var rows = table.Rows.Cast<DataRow>()
            .Where(row => row.RowState != DataRowState.Deleted)
            .Take(MostKeptRows)
            .Select(row => (IReadOnlyList<object?>)[.. columns.Select(column => Contents.Field(row[column]))]);
        return new(columns.Select(column => column.ColumnName), rows, table.Rows.Count, hasMoreRows: false)
        {
            Title = table.TableName.Length > 0 ? table.TableName : null,
        };
    }

    /// <summary>The table of objects, a column for each public property and field, in the order of declaration; a tuple's items.</summary>
    public static TableDisplay Of<T>(IEnumerable<T> items)
    {
        ArgumentNullException.ThrowIfNull(items);
        var members = Members.Of(typeof(T));
        var rows = items.Select(item => (IReadOnlyList<object?>)[.. members.Select(member => item is null ? null : member.Read(item))]);
        return new(members.Select(member => member.Name), rows, items.TryGetNonEnumeratedCount(out var count) ? count : null, hasMoreRows: false);
    }

    /// <inheritdoc/>
    protected internal override Html Draw()
    {
        var head = Look.Tr(Columns.Take(Shown).Select((name, i) => Look.Th(ValueText.Line(name, MostTextCellCharacters), Align(i))));
        var body = Rows.Take(MostRows).Select(row =>
            Look.Tr(row.Take(Shown).Select((value, i) => Look.Cell(ValueText.Cell(value, MostCellCharacters), Align(i)))));
        return Look.Page(Title, Facts(), Look.Grid(Columns.Any(name => name.Length > 0) ? body.Prepend(head) : body));
    }

    /// <inheritdoc/>
    public override string ToText()
    {
        string[][] cells =
        [
            [.. Columns.Take(Shown).Select(name => ValueText.Line(name, MostTextCellCharacters))],
            .. Rows.Take(MostRows).Select(row => row.Take(Shown).Select(value => ValueText.Cell(value, MostTextCellCharacters)).ToArray()),
        ];
        int[] widths = [.. Enumerable.Range(0, Shown).Select(i => cells.Max(row => row[i].Length))];
        var lines = cells.Select(row =>
            string.Join("  ", row.Select((text, i) => _isNumeric[i] ? text.PadLeft(widths[i]) : text.PadRight(widths[i]))).TrimEnd());
        return string.Join('\n', [.. Title is null ? [] : new[] { Title }, .. lines, .. Cut() is { } cut ? [$"({cut})"] : Array.Empty<string>()]);
    }

    // A table without names of columns is one thing's properties.
    private string? Facts() => Cut()
        ?? (Columns.Any(name => name.Length > 0) && RowCount is { } count ? $"{Numbers.Count(count)} {(count == 1 ? "row" : "rows")}" : null);

    /// <summary>What is not shown, in words; null if all is shown.</summary>
    private string? Cut()
    {
        var rows = !_hasMoreRows && Rows.Count <= MostRows ? null
            : RowCount is { } count
                ? $"first {Math.Min(MostRows, Rows.Count)} of {Numbers.Count(count)} rows"
                : $"first {Math.Min(MostRows, Rows.Count)} rows of more";
        var columns = Shown < Columns.Count ? $"first {Shown} of {Numbers.Count(Columns.Count)} columns" : null;
        return rows is null ? columns : columns is null ? rows : $"{rows}, {columns}";
    }

    private string Align(int column) => _isNumeric[column] ? "right" : "left";

    private static bool IsNumber(object? value) => value is int or long or short or byte or uint or ulong or ushort or sbyte or float or double or decimal;
}
