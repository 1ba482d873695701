using System.Collections;
using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text.Json;
using System.Text.Json.Nodes;
using TorchSharp;

namespace LoraNotebooks.Interactive;

/// <summary>The forms of values that no display was written for: text for anything, a table for sequences of objects and for objects with properties.</summary>
/// <remarks>
/// Bounded on purpose, since a notebook keeps its outputs in the file: of a sequence only what is shown is taken, so it may be endless.
/// What fails in a value's own code stands in the place of what it failed to give, and is never thrown.
/// </remarks>
internal static class ValueFormatter
{
    private const int MostText = 20_000;
    private const int MostRows = 40;

    /// <summary>A bundle with plain text, and with an HTML table where rows and columns say more.</summary>
    public static MimeBundle Format(object value) => Contents.Of(value) switch
    {
        Array { Rank: 2 } matrix => OfMatrix(matrix),
        IEnumerable sequence when !IsScalar(sequence.GetType()) => OfSequence(sequence),
        var held => OfObject(held),
    };

    private static MimeBundle OfSequence(IEnumerable sequence)
    {
        var sample = Sample.Of(sequence, ValueText.MostItems);
        if (Rows(sample) is not { } rows)
        {
            return MimeBundle.FromText(ValueText.Of(sequence, sample, MostText));
        }

        return new TableDisplay(rows.Columns, rows.Values.Take(MostRows), sample.Count, sample.HasMore).ToMimeBundle();
    }

    private static MimeBundle OfMatrix(Array matrix)
    {
        var (rows, columns) = (matrix.GetLength(0), matrix.GetLength(1));
        var (top, left) = (matrix.GetLowerBound(0), matrix.GetLowerBound(1));
        var values = Enumerable.Range(0, Math.Min(rows, MostRows)).Select(i =>
            (IReadOnlyList<object?>)[.. Enumerable.Range(0, Math.Min(columns, TableDisplay.MostKeptColumns)).Select(j => matrix.GetValue(top + i, left + j))]);
        return new TableDisplay(
            Enumerable.Range(0, Math.Min(columns, TableDisplay.MostKeptColumns)).Select(j => j.ToString(CultureInfo.InvariantCulture)),
            values,
            rows,
            hasMoreRows: false)
        {
            Title = $"{TypeNames.Of(matrix.GetType())} {rows} × {columns}",
        }.ToMimeBundle();
    }

    private static MimeBundle OfObject(object value)
    {
        var bundle = MimeBundle.FromText(ValueText.Of(value, MostText));
        if (IsScalar(value.GetType()) || value is ITuple
            || ValueText.SpeaksForItself(value.GetType()) || Members.Of(value.GetType()) is not { Count: > 0 } members)
        {
            return bundle;
        }

        var rows = members.Take(MostRows).Select(member => (IReadOnlyList<object?>)[member.Name, member.Read(value)]);
        return bundle.With(MimeTypes.Html, new TableDisplay(["", ""], rows, members.Count, hasMoreRows: false)
        {
            Title = TypeNames.IsAnonymous(value.GetType()) ? null : TypeNames.Of(value.GetType()),
        }.ToHtml());
    }

    /// <summary>Items as rows: a dictionary's entries, or objects of one kind with a column for each property; null if a line of text says the same.</summary>
    private static (IEnumerable<string> Columns, IEnumerable<IReadOnlyList<object?>> Values)? Rows(Sample sample)
    {
        object[] items = [.. sample.Items.OfType<object>().Where(item => item is not Fault)];
        if (NamedRows(sample, items) is { } named)
        {
            return named;
        }

        if (items.Length == 0)
        {
            return null;
        }

        var type = CommonType(items);
        if (IsScalar(type) || typeof(IEnumerable).IsAssignableFrom(type))
        {
            return null;
        }

        var members = Members.Of(type);
        return members.Count == 0 ? null : (members.Select(member => member.Name), sample.Items.Select(item => Row(item, members)));
    }

    /// <summary>Dictionaries and rows of data tables: a column for each name that one of them has, in the order of appearance.</summary>
    private static (IEnumerable<string> Columns, IEnumerable<IReadOnlyList<object?>> Values)? NamedRows(Sample sample, object[] items)
    {
        var rows = items.Select(Contents.Named).ToArray();
        if (rows.Length == 0 || Array.Exists(rows, row => row is null))
        {
            return null;
        }

        string[] columns = [.. rows.SelectMany(row => row!.Select(field => field.Key)).Distinct(StringComparer.Ordinal).Take(TableDisplay.MostKeptColumns)];
        return columns.Length == 0 ? null : (columns, sample.Items.Select(item =>
        {
            var fields = Contents.Named(item)?.ToDictionary(field => field.Key, field => field.Value, StringComparer.Ordinal);
            return (IReadOnlyList<object?>)[.. columns.Select((name, i) => fields is null ? i == 0 ? item ?? "null" : null : fields.GetValueOrDefault(name))];
        }));
    }

    private static IReadOnlyList<object?> Row(object? item, IReadOnlyList<Member> members) => item switch
    {
        null => [.. members.Select((_, i) => i == 0 ? "null" : null)],
        Fault => [.. members.Select((_, i) => i == 0 ? item : null)],
        _ => [.. members.Select(member => member.Read(item))],
    };

    /// <summary>The nearest type that all items have in common.</summary>
    private static Type CommonType(object[] items)
    {
        var type = items[0].GetType();
        foreach (var item in items)
        {
            while (!type.IsInstanceOfType(item))
            {
                type = type.BaseType!;
            }
        }

        return type;
    }

    /// <summary>Whether a line of text says more of values of this type than their properties would.</summary>
    /// <remarks>Numbers, dates and the members of enums are formattable.</remarks>
    private static bool IsScalar(Type type) =>
        type == typeof(string) || type == typeof(byte[]) || type == typeof(torch.Tensor)
        || Contents.IsJsonToken(type) || type == typeof(JsonElement) || type == typeof(JsonDocument)
        || typeof(JsonNode).IsAssignableFrom(type) || typeof(IFormattable).IsAssignableFrom(type) || typeof(Type).IsAssignableFrom(type)
        || typeof(Delegate).IsAssignableFrom(type) || typeof(Exception).IsAssignableFrom(type) || typeof(Task).IsAssignableFrom(type)
        || typeof(Stream).IsAssignableFrom(type);
}
