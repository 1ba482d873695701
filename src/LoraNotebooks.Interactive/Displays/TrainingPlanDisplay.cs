using LoraNotebooks.Training;

namespace LoraNotebooks.Interactive;

/// <summary>The steps of a training run as the sum they come from, to be read before it starts.</summary>
public sealed class TrainingPlanDisplay : RichDisplay
{
    /// <summary>A display of a plan.</summary>
    public TrainingPlanDisplay(TrainingPlan plan)
    {
        ArgumentNullException.ThrowIfNull(plan);
        Plan = plan;
    }

    /// <summary>What is shown.</summary>
    public TrainingPlan Plan { get; }

    /// <inheritdoc/>
    protected internal override Html Draw()
    {
        var batches = Plan.GradientAccumulation > 1 ? $"{Plan.BatchSize} × {Plan.GradientAccumulation}" : Numbers.Count(Plan.BatchSize);
        var isExact = Plan.StepsPerEpoch * Plan.BatchSize * Plan.GradientAccumulation == Plan.ExamplesPerEpoch;
        (string Sign, string Value, string Name)[] terms =
        [
            ("", Numbers.Count(Plan.ExamplesPerEpoch),
                $"{Plan.Unit}s per epoch, from {Numbers.Count(Plan.Examples)}"
                    + (Plan.RegularizationPerEpoch > 0 ? $", {Numbers.Count(Plan.RegularizationPerEpoch)} for regularization" : "")),
            ("÷", batches, Plan.GradientAccumulation > 1 ? $"{Plan.Unit}s per batch × batches per step" : $"{Plan.Unit}s per batch"),
            ("=", Numbers.Count(Plan.StepsPerEpoch), isExact ? "steps per epoch" : "steps per epoch, rounded up"),
            ("×", Numbers.Count(Plan.Epochs), "epochs"),
            ("=", Numbers.Count(Plan.TotalSteps), Plan.WarmupSteps > 0 ? $"steps, {Numbers.Count(Plan.WarmupSteps)} of them warm-up" : "steps"),
        ];
        var values = terms.SelectMany(term => new[]
        {
            Look.Td(Look.Quiet(term.Sign), "center", "font-size:17px;padding:0 12px", "middle"),
            Look.Td(
                Html.Element("b", [("style", "font-size:17px;font-weight:600;font-variant-numeric:tabular-nums;white-space:nowrap")], term.Value),
                "center",
                "padding:0",
                "middle"),
        }).Skip(1);
        var names = terms.SelectMany(term => new[]
        {
            Look.Td(Html.Empty),
            Look.Td(Look.Quiet(term.Name), "center", "font-size:12px;padding:0;max-width:130px"),
        }).Skip(1);
        return Look.Page("Training plan", null, Look.Grid(Look.Tr(values), Look.Tr(names)), Look.Warnings(Plan.Warnings));
    }

    /// <inheritdoc/>
    public override string ToText() => Plan.ToString();
}
