using LoraNotebooks.Data;

namespace LoraNotebooks.Interactive;

/// <summary>What is wrong with a dataset's files, by file name, errors first.</summary>
public sealed class DatasetReportDisplay : RichDisplay
{
    /// <summary>A display of a report.</summary>
    public DatasetReportDisplay(DatasetReport report)
    {
        ArgumentNullException.ThrowIfNull(report);
        Report = report;
    }

    /// <summary>What is shown.</summary>
    public DatasetReport Report { get; }

    /// <inheritdoc/>
    protected internal override Html Draw()
    {
        if (Report.Issues.Count == 0)
        {
            return Look.Page("Files", "nothing is wrong");
        }

        var rows = Report.Brief.Select(static issue => Look.Tr(
            Look.Cell(issue.Severity == DatasetSeverity.Error ? Look.Chip("error", Look.Bad) : Look.Chip("warning", Look.Second)),
            Look.Cell(issue.File),
            Look.Cell(issue.Message)));
        return Look.Page("Files", $"{Numbers.Of(Report.Errors.Count(), "error")}, {Numbers.Of(Report.Warnings.Count(), "warning")}", Look.Grid(rows));
    }

    /// <inheritdoc/>
    public override string ToText() => Report.ToString();
}
