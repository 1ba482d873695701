using System.Globalization;
using LoraNotebooks.Adapters;

namespace LoraNotebooks.Interactive;

/// <summary>What an adapter trains: the share of the model, and layer by layer how much.</summary>
public sealed class ParameterReportDisplay : RichDisplay
{
    private const int MostOpenRows = 12;

    /// <summary>A display of a report.</summary>
    public ParameterReportDisplay(AdapterReport report)
    {
        ArgumentNullException.ThrowIfNull(report);
        Report = report;
    }

    /// <summary>What is shown.</summary>
    public AdapterReport Report { get; }

    /// <inheritdoc/>
    protected internal override Html Draw()
    {
        var largest = Report.Rows.Select(row => row.Parameters).DefaultIfEmpty(1).Max();
        var head = Look.Tr(
            Look.Th("layer"), Look.Th("kind"), Look.Th("weight"), Look.Th("r", "right"), Look.Th("α", "right"),
            Look.Th("trained", "right"), Look.Th("of the layer", "right"), Look.Th(""));
        var rows = Report.Rows.Select(row => Look.Tr(
            Look.Cell(row.Target),
            Look.Cell(row.Kind),
            Look.Cell(string.Join(" × ", row.Shape)),
            Look.Cell(row.Rank?.ToString(CultureInfo.InvariantCulture) ?? "–", "right"),
            Look.Cell(row.Alpha is { } alpha ? Numbers.Short(alpha) : "–", "right"),
            Look.Cell(Numbers.Count(row.Parameters), "right"),
            Look.Cell(Numbers.Percent(row.Percentage / 100), "right"),
            Look.Cell(Look.Bar((double)row.Parameters / largest, 90, 6))));
        var table = Look.Grid(rows.Prepend(head));
        return Look.Page(
            Report.Name,
            Facts(),
            Html.Element("div", [("style", "margin:0 0 8px 0")], Look.Bar((double)Report.Parameters / Math.Max(1, Report.BaseParameters), 480, 8)),
            Report.Rows.Count <= MostOpenRows ? table : Html.Element("details", Html.Element("summary", $"{Report.Rows.Count} layers"), table));
    }

    /// <inheritdoc/>
    public override string ToText() => Report.ToString();

    private string Facts() =>
        $"trains {Numbers.Count(Report.Parameters)} of {Numbers.Count(Report.BaseParameters)} parameters "
            + $"({Numbers.Percent(Report.Percentage / 100)}) in {Numbers.Of(Report.Rows.Count, "layer")}";
}
