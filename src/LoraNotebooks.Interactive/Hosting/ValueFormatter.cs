using System.Collections;
using System.Globalization;
using System.Net;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Text;
using TorchSharp;

namespace LoraNotebooks.Interactive;

/// <summary>The forms of values that no display was written for: text for anything, a table for sequences of records.</summary>
/// <remarks>Bounded on purpose: a notebook keeps its outputs in the file.</remarks>
internal static class ValueFormatter
{
    private const int MaximumItems = 100;
    private const int MaximumColumns = 20;
    private const int MaximumDepth = 3;
    private const int MaximumText = 20_000;
    private const int MaximumCell = 200;
    private const long MaximumTensorElements = 1_000;

    /// <summary>A bundle with plain text, and with an HTML table if the value is a sequence of objects with properties or a dictionary.</summary>
    public static MimeBundle Format(object value)
    {
        var items = value is IEnumerable sequence and not string ? Take(sequence) : null;
        var bundle = MimeBundle.FromText(Text(value, items));
        return items is not null && Table(items) is { } table ? bundle.With(MimeTypes.Html, table) : bundle;
    }

    private static string Text(object value, Items? items) =>
        Shorten(items is null ? Text(value, 0) : Text(items, 0), MaximumText);

    private static string Text(object? value, int depth) => value switch
    {
        null => "null",
        string text => depth == 0 ? text : $"\"{text}\"",
        char letter => depth == 0 ? letter.ToString() : $"'{letter}'",
        bool truth => truth ? "true" : "false",
        torch.Tensor tensor => TensorText(tensor, depth),
        IFormattable number => number.ToString(null, CultureInfo.InvariantCulture),
        ITuple tuple => $"({string.Join(", ", Enumerable.Range(0, tuple.Length).Select(i => Text(tuple[i], depth + 1)))})",
        DictionaryEntry entry => $"[{Text(entry.Key, depth + 1)}] = {Text(entry.Value, depth + 1)}",
        IEnumerable sequence when depth < MaximumDepth => Text(Take(sequence), depth),
        _ => ObjectText(value, depth),
    };

    private static string Text(Items items, int depth) =>
        $"[{string.Join(", ", items.Values.Select(item => Text(item, depth + 1)))}{(items.More ? ", …" : "")}]";

    private static string TensorText(torch.Tensor tensor, int depth) =>
        tensor.IsInvalid ? "a disposed tensor"
        : depth > 0 || tensor.numel() > MaximumTensorElements ? tensor.ToString(TensorStringStyle.Metadata)
        : tensor.ToString(TensorStringStyle.Julia).TrimEnd();

    /// <summary>What the type itself says, else its public properties.</summary>
    private static string ObjectText(object value, int depth)
    {
        var type = value.GetType();
        var own = type.GetMethod(nameof(ToString), Type.EmptyTypes)?.DeclaringType;
        if ((own != typeof(object) && own != typeof(ValueType)) || depth >= MaximumDepth || Properties(type) is not { Count: > 0 } properties)
        {
            return value.ToString() ?? "";
        }

        return $"{type.Name} {{ {string.Join(", ", properties.Select(p => $"{p.Name} = {Text(Read(p, value), depth + 1)}"))} }}";
    }

    /// <summary>A table of the items' properties or of a dictionary's entries; null if a line of text says the same.</summary>
    private static string? Table(Items items)
    {
        if (items.Values.Count == 0 || items.Values.Any(item => item is null))
        {
            return null;
        }

        var type = items.Values[0]!.GetType();
        var isRow = !type.IsPrimitive && !type.IsEnum && !typeof(IFormattable).IsAssignableFrom(type)
            && !typeof(IEnumerable).IsAssignableFrom(type) && type != typeof(torch.Tensor) && items.Values.All(item => item!.GetType() == type);
        if (!isRow)
        {
            return null;
        }

        var columns = Columns(type);
        if (columns.Count == 0)
        {
            return null;
        }

        var html = new StringBuilder("<table><thead><tr>");
        foreach (var (name, _) in columns)
        {
            html.Append("<th>").Append(WebUtility.HtmlEncode(name)).Append("</th>");
        }

        html.Append("</tr></thead><tbody>");
        foreach (var item in items.Values)
        {
            html.Append("<tr>");
            foreach (var (_, read) in columns)
            {
                html.Append("<td>").Append(WebUtility.HtmlEncode(Shorten(CellText(read(item!)), MaximumCell))).Append("</td>");
            }

            html.Append("</tr>");
        }

        html.Append("</tbody></table>");
        return (items.More ? html.Append(CultureInfo.InvariantCulture, $"<p>The first {MaximumItems} rows.</p>") : html).ToString();
    }

    private static string CellText(object? value) => value is string text ? text : Text(value, 1);

    private static IReadOnlyList<(string Name, Func<object, object?> Read)> Columns(Type type) =>
        typeof(ITuple).IsAssignableFrom(type)
            ? [.. Enumerable.Range(0, type.GetGenericArguments().Length).Select(i => ($"Item{i + 1}", (Func<object, object?>)(row => ((ITuple)row)[i])))]
            : [.. Properties(type).Select(p => (p.Name, (Func<object, object?>)(row => Read(p, row))))];

    private static IReadOnlyList<PropertyInfo> Properties(Type type) =>
        [.. type.GetProperties(BindingFlags.Public | BindingFlags.Instance).Where(p => p.CanRead && p.GetIndexParameters().Length == 0).Take(MaximumColumns)];

    private static object? Read(PropertyInfo property, object owner)
    {
        try
        {
            return property.GetValue(owner);
        }
        catch (TargetInvocationException error)
        {
            return $"({error.InnerException?.GetType().Name})";
        }
    }

    private static Items Take(IEnumerable sequence)
    {
        var values = new List<object?>();
        foreach (var item in sequence)
        {
            if (values.Count == MaximumItems)
            {
                return new Items(values, More: true);
            }

            values.Add(item);
        }

        return new Items(values, More: false);
    }

    private static string Shorten(string text, int length) => text.Length <= length ? text : text[..length] + "…";

    private sealed record Items(IReadOnlyList<object?> Values, bool More);
}
