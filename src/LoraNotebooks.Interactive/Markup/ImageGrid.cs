namespace LoraNotebooks.Interactive;

/// <summary>A table of pictures with labelled columns and rows.</summary>
internal static class ImageGrid
{
    /// <summary>The table.</summary>
    /// <param name="columnAxis">What the columns vary, over their labels; or none.</param>
    /// <param name="columns">A label over each column; may be empty.</param>
    /// <param name="rowAxis">What the rows vary, in the corner; or none.</param>
    /// <param name="rows">A label before each row.</param>
    /// <param name="columnCount">The number of columns.</param>
    /// <param name="longest">The longest side of a picture as shown.</param>
    /// <param name="cell">The picture at (column, row); <see langword="null"/> where there is none.</param>
    public static Html Of(
        string? columnAxis,
        IReadOnlyList<string> columns,
        string? rowAxis,
        IReadOnlyList<string> rows,
        int columnCount,
        int longest,
        Func<int, int, Html?> cell)
    {
        var lines = new List<Html>();
        var hasRowLabels = rows.Any(label => label.Length > 0);
        if (!string.IsNullOrEmpty(columnAxis))
        {
            lines.Add(Look.Tr(Corner(hasRowLabels, null).Append(Look.Td(Look.Quiet(columnAxis), "center", "padding-bottom:0", span: columnCount))));
        }

        if (columns.Any(label => label.Length > 0))
        {
            var heads = Enumerable.Range(0, columnCount).Select(i => Head(i < columns.Count ? columns[i] : "", "center", longest));
            lines.Add(Look.Tr([.. Corner(hasRowLabels, rowAxis), .. heads]));
        }

        for (var y = 0; y < rows.Count; y++)
        {
            var cells = new List<Html>();
            if (hasRowLabels)
            {
                cells.Add(Look.Td(Label(rows[y], "right", 150), "right", "padding-right:10px", "middle"));
            }

            for (var x = 0; x < columnCount; x++)
            {
                cells.Add(Look.Td(cell(x, y) ?? Look.Quiet("—"), "center", "padding:2px 3px", "middle"));
            }

            lines.Add(Look.Tr(cells));
        }

        return Look.Grid(lines);
    }

    private static IEnumerable<Html> Corner(bool hasRowLabels, string? rowAxis) =>
        hasRowLabels ? [Look.Td(string.IsNullOrEmpty(rowAxis) ? Html.Empty : Look.Quiet(rowAxis), "right", "padding-right:10px", "bottom")] : [];

    private static Html Head(string text, string align, int width) => Look.Td(Label(text, align, width), align, "padding:2px 3px", "bottom");

    private static Html Label(string text, string align, int width) =>
        Html.Element(
            "div",
            [("style", $"max-width:{width}px;margin:0 auto;text-align:{align};font-weight:600;font-size:12px;"
                + "line-height:1.3;overflow-wrap:break-word;white-space:normal")],
            text);
}
