using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text;
using Xunit.Abstractions;
using Xunit.Sdk;

namespace LoraNotebooks.Tests;

/// <summary>
/// How far each parity case of a test class is from upstream, against its limit; printed as a table when the class is done. Use it as
/// <c>IClassFixture&lt;ParityTable&gt;</c>, and let <see cref="Check"/> compare. The table is a diagnostic message, which tests/test.runsettings turns on.
/// </summary>
public sealed class ParityTable(IMessageSink sink) : IDisposable
{
    private readonly Lock _gate = new();
    private readonly SortedDictionary<(string Case, string Quantity), (double Worst, double Limit)> _rows = [];
    private string? _title;

    /// <summary>Notes a difference and fails if it is above the limit or no number. Of several calls for one quantity the worst is shown.</summary>
    /// <param name="name">The case's folder.</param>
    /// <param name="quantity">What was compared, e.g. "loss".</param>
    /// <param name="difference">How far it is off.</param>
    /// <param name="limit">The case's tolerance.</param>
    /// <param name="detail">Said when it fails, e.g. which step.</param>
    /// <param name="file">The test's file, filled in by the compiler.</param>
    public void Check(string name, string quantity, double difference, double limit, string detail = "", [CallerFilePath] string file = "")
    {
        lock (_gate)
        {
            _title ??= Path.GetFileNameWithoutExtension(file);
            var worst = _rows.TryGetValue((name, quantity), out var row) && !(difference > row.Worst) ? row.Worst : difference;
            _rows[(name, quantity)] = (worst, limit);
        }

        Assert.True(
            difference <= limit,
            $"{name}, {quantity}{(detail.Length > 0 ? $", {detail}" : "")}: differs by {difference:g3}, expected at most {limit:g3}");
    }

    /// <summary>Prints the table.</summary>
    public void Dispose()
    {
        if (_rows.Count > 0)
        {
            sink.OnMessage(new DiagnosticMessage("\n" + ToString()));
        }
    }

    /// <summary>The table: a line per case, a column per quantity, "worst / limit" in each.</summary>
    public override string ToString()
    {
        string[] quantities = [.. _rows.Keys.Select(static key => key.Quantity).Distinct()];
        List<string[]> lines = [[_title ?? "", .. quantities]];
        lines.AddRange(_rows.GroupBy(static row => row.Key.Case).Select(group =>
            (string[])[group.Key, .. quantities.Select(quantity =>
                _rows.TryGetValue((group.Key, quantity), out var row)
                    ? string.Create(CultureInfo.InvariantCulture, $"{row.Worst:0.0e-0} / {row.Limit:0.0e-0}")
                    : "")]));
        int[] widths = [.. Enumerable.Range(0, lines[0].Length).Select(column => lines.Max(line => line[column].Length))];
        var text = new StringBuilder();
        foreach (var line in lines)
        {
            text.Append("| ").AppendJoin(" | ", line.Zip(widths, static (cell, width) => cell.PadRight(width))).Append(" |\n");
        }

        return text.ToString();
    }
}
