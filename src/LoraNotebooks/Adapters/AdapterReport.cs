using System.Globalization;
using System.Text;

namespace LoraNotebooks.Adapters;

/// <summary>One adapted layer in an <see cref="AdapterReport"/>.</summary>
/// <param name="Target">The layer's path.</param>
/// <param name="Kind">Its kind: "Linear", "Conv2d", "Embedding", …</param>
/// <param name="Shape">The shape of W, or of the bias where only that trains.</param>
/// <param name="Rank">r, or <see langword="null"/> for a layer that trains whole or by its bias only.</param>
/// <param name="Alpha">α, likewise.</param>
/// <param name="Parameters">How many numbers train.</param>
/// <param name="Percentage">That in per cent of the layer's own weight.</param>
public sealed record AdapterReportRow(string Target, string Kind, IReadOnlyList<long> Shape, int? Rank, double? Alpha, long Parameters, double Percentage);

/// <summary>What an adapter trains, in numbers.</summary>
/// <param name="Name">The adapter's name.</param>
/// <param name="Rows">Layer by layer, in the model's order.</param>
/// <param name="BaseParameters">How many numbers the base model has.</param>
public sealed record AdapterReport(string Name, IReadOnlyList<AdapterReportRow> Rows, long BaseParameters)
{
    /// <summary>How many numbers train.</summary>
    public long Parameters => Rows.Sum(static row => row.Parameters);

    /// <summary>That in per cent of the base model.</summary>
    public double Percentage => 100.0 * Parameters / BaseParameters;

    /// <summary>The report as lines of text.</summary>
    public override string ToString()
    {
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"{Name}: {Parameters:N0} of {BaseParameters:N0} parameters ({Percentage:F2} %) in {Rows.Count} layers");
        foreach (var row in Rows)
        {
            text.Append(CultureInfo.InvariantCulture, $"\n  {row.Target}  {row.Kind} {Shapes.Text(row.Shape)}  ");
            text.Append(row.Rank is null ? "whole" : string.Create(CultureInfo.InvariantCulture, $"r {row.Rank} α {row.Alpha}"));
            text.Append(CultureInfo.InvariantCulture, $"  {row.Parameters:N0} ({row.Percentage:F2} %)");
        }

        return text.ToString();
    }
}
