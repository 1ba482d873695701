namespace LoraNotebooks.Interactive;

/// <summary>The one look of all displays.</summary>
/// <remarks>
/// Inline styles only, because front ends drop style elements. Colours are inherited or half transparent, so one markup reads well on
/// white and on dark pages. Everything has its meaning as a plain table too, because GitHub drops the styles as well: sizes and
/// alignments stand in attributes. What is wider than the page is scrolled within its display.
/// Table rows and cells reset what Jupyter's page gives to tables (stripes, right alignment).
/// </remarks>
internal static class Look
{
    /// <summary>Blue that is legible on white and on near-black.</summary>
    public const string Accent = "#3b82d6";

    /// <summary>Amber, the second series.</summary>
    public const string Second = "#d08a1d";

    /// <summary>Violet, the third series.</summary>
    public const string Third = "#a45fc9";

    /// <summary>Green: done.</summary>
    public const string Good = "#2f9e5b";

    /// <summary>Red: failed.</summary>
    public const string Bad = "#d9534f";

    /// <summary>Hairlines and empty tracks.</summary>
    public const string Line = "rgba(128,128,128,0.25)";

    private const string Frame =
        "font-family:system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif;"
            + "font-size:13px;line-height:1.45;margin:4px 0 8px 0;text-align:left;max-width:100%;overflow-x:auto";
    private const string Table = "border-collapse:collapse;border:none;margin:0;font-size:13px;table-layout:auto";
    private const string Row = "background:transparent;border:none";

    /// <summary>A whole display under an optional title and a quieter line of facts.</summary>
    public static Html Page(string? title, string? facts, params ReadOnlySpan<Html> content)
    {
        var head = Html.Empty;
        if (!string.IsNullOrEmpty(title) || !string.IsNullOrEmpty(facts))
        {
            var separator = string.IsNullOrEmpty(title) || string.IsNullOrEmpty(facts) ? Html.Empty : Html.Text(" ");
            head = Html.Element("div", [("style", "margin:0 0 8px 0")],
                string.IsNullOrEmpty(title) ? Html.Empty : Html.Element("b", [("style", "font-size:14px;font-weight:600;margin-right:8px")], title),
                separator,
                string.IsNullOrEmpty(facts) ? Html.Empty : Quiet(facts));
        }

        return Html.Element("div", [("style", Frame)], [head, .. content]);
    }

    /// <summary>Text of second rank.</summary>
    public static Html Quiet(string text) => Html.Element("span", [("style", "opacity:0.68")], text);

    /// <summary>A table of rows.</summary>
    public static Html Grid(params IEnumerable<Html> rows) => Html.Element("table", [("style", Table)], Html.Element("tbody", Html.Concat(rows)));

    /// <summary>Things side by side, as many in a row as there is room for; where styles are dropped, a table of the rows that are given.</summary>
    /// <param name="rows">The cells of each row, made by <see cref="Td"/>.</param>
    /// <param name="width">The width of a whole row in pixels; null if there is one row.</param>
    public static Html Flow(IEnumerable<IEnumerable<Html>> rows, int? width = null) => Html.Element(
        "table",
        [("role", "presentation"), ("style", $"{Table};display:block{(width is { } most ? $";max-width:{most}px" : "")}")],
        Html.Element(
            "tbody",
            [("style", "display:block")],
            Html.Concat(rows.Select(row => Html.Element("tr", [("style", Row + ";display:contents")], Html.Concat(row))))));

    /// <summary>The style of a cell of a <see cref="Flow"/>.</summary>
    /// <param name="padding">The room around its content.</param>
    public static string FlowCell(string padding) => $"padding:{padding};display:inline-block";

    /// <summary>A table row.</summary>
    public static Html Tr(params IEnumerable<Html> cells) => Html.Element("tr", [("style", Row)], Html.Concat(cells));

    /// <summary>A table cell.</summary>
    /// <param name="content">What stands in it.</param>
    /// <param name="align">left, center or right.</param>
    /// <param name="style">More style, after the resets.</param>
    /// <param name="valign">top, middle or bottom.</param>
    /// <param name="span">The columns that the cell takes.</param>
    /// <param name="header">Whether it is a header cell.</param>
    public static Html Td(Html content, string align = "left", string? style = null, string valign = "top", int span = 1, bool header = false) => Html.Element(
        header ? "th" : "td",
        [
            ("align", align),
            ("valign", valign),
            ("colspan", span > 1 ? span.ToString() : null),
            ("scope", header ? "col" : null),
            ("style", $"text-align:{align};vertical-align:{valign};border:none;background:transparent;padding:3px 10px 3px 0;max-width:none;{style}"),
        ],
        content);

    /// <summary>A header cell over a hairline.</summary>
    public static Html Th(string text, string align = "left", string? style = null) =>
        Td(text, align, $"font-weight:600;white-space:nowrap;padding-right:18px;border-bottom:1px solid {Line};{style}", "bottom", header: true);

    /// <summary>A body cell over a hairline; numbers, to the right, in digits of one width.</summary>
    public static Html Cell(Html content, string align = "left") =>
        Td(
            content,
            align,
            $"padding-right:18px;border-bottom:1px solid {Line};overflow-wrap:anywhere"
                + (align == "right" ? ";font-variant-numeric:tabular-nums;white-space:nowrap" : ""),
            "middle");

    /// <summary>A small rounded label.</summary>
    public static Html Chip(string text, string? colour = null) => Html.Element(
        "span",
        [("style", "display:inline-block;padding:0 7px;margin:1px 4px 1px 0;border-radius:9px;font-size:12px;"
            + (colour is null ? $"background:{Line}" : $"border:1px solid {colour};color:{colour}"))],
        text);

    /// <summary>Warnings, one under the other; nothing where there are none.</summary>
    public static Html Warnings(IReadOnlyList<string> warnings) => warnings.Count == 0
        ? Html.Empty
        : Grid(warnings.Select(static warning => Tr(Cell(Chip("warning", Second)), Cell(warning))));

    /// <summary>A horizontal bar for a share between 0 and 1, drawn as a table, so that it needs no picture.</summary>
    /// <param name="share">The filled part.</param>
    /// <param name="width">The full width in pixels.</param>
    /// <param name="height">The height in pixels.</param>
    /// <param name="colour">The filled part's colour.</param>
    public static Html Bar(double share, int width, int height, string colour = Accent)
    {
        // What is more than nothing is seen.
        var filled = share > 0 ? Math.Max(2, (int)Math.Round(Math.Min(share, 1) * width)) : 0;
        var percent = ((int)Math.Floor(100 * Math.Clamp(share, 0, 1))).ToString();
        return Html.Element(
            "div",
            [
                ("role", "meter"), ("aria-valuemin", "0"), ("aria-valuemax", "100"), ("aria-valuenow", percent), ("aria-label", percent + " %"),
                ("style", $"width:{width}px;max-width:100%;height:{height}px;background:{Line};border-radius:{height / 2}px;overflow:hidden"),
            ],
            Html.Element("div", [("style", $"width:{filled}px;height:{height}px;background:{colour};border-radius:{height / 2}px")]));
    }
}
