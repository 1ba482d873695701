using LoraNotebooks.Foundation;
using LoraNotebooks.Training.Diffusion;
using TorchSharp;

namespace LoraNotebooks.Interactive;

/// <summary>What a model will need before it is loaded: network by network, then by resolution and type, beside what is free.</summary>
public sealed class MemoryPlanDisplay : RichDisplay
{
    private const int BarWidth = 120;
    private const int BarHeight = 6;

    /// <summary>A display of a plan.</summary>
    public MemoryPlanDisplay(MemoryPlan plan)
    {
        ArgumentNullException.ThrowIfNull(plan);
        Plan = plan;
    }

    /// <summary>What is shown.</summary>
    public MemoryPlan Plan { get; }

    /// <inheritdoc/>
    protected internal override Html Draw() => Look.Page(
        "Memory before anything is loaded",
        Facts(),
        Networks(),
        Html.Element("div", [("style", "height:10px")], Html.Empty),
        Needs(),
        Html.Element("div", [("style", "margin:8px 0 0 0")], Html.Concat(Plan.Advice.Select(line => Html.Element("div", line)))),
        Html.Element(
            "div",
            [("style", "margin:6px 0 0 0;font-size:12px")],
            Look.Quiet("Weights, adapter and optimizer are exact. What a step makes is an estimate, without the kernels' working memory and the runtime.")));

    /// <inheritdoc/>
    public override string ToText() => Plan.ToString();

    private string Facts()
    {
        var stored = string.Join(
            ", ",
            Plan.Model.Stored.Select(part =>
                $"{ByteSize.Text(part.Bytes)} {(part.Name.StartsWith("F8", StringComparison.Ordinal) ? part.Name : Name(part.Type))}"));
        return $"{Path.GetFileName(Path.TrimEndingDirectorySeparator(Plan.Model.Source))}, {stored} on the disk"
            + (Plan.AvailableBytes is { } free ? $"; {ByteSize.Text(free)} of memory free" : "");
    }

    private Html Networks()
    {
        var head = Look.Tr(Look.Th("network"), Look.Th("weights", "right"), Look.Th("the LoRA trains", "right"));
        var rows = Plan.Components.Select(component => Look.Tr(
            Look.Cell(component.Name),
            Look.Cell(Numbers.Count(component.Parameters), "right"),
            Look.Cell(component.Trained == 0 ? "–" : Numbers.Count(component.Trained), "right")));
        return Look.Grid(rows.Prepend(head));
    }

    private Html Needs()
    {
        var head = Look.Tr(
            Look.Th("images", "right"), Look.Th("type"), Look.Th("weights", "right"),
            Look.Th($"LoRA, {Plan.Config.Optimizer.Name}", "right"), Look.Th("training step", "right"),
            Look.Th("to draw", "right"), Look.Th("to train", "right"), Look.Th("of what is free"));
        var rows = Plan.Needs.Select(need => Look.Tr(
            Look.Cell($"{need.Resolution} px", "right"),
            Look.Cell(Whole(Name(need.Type))),
            Look.Cell(ByteSize.Text(need.Weights), "right"),
            Look.Cell(ByteSize.Text(need.Adapter + need.Update), "right"),
            Look.Cell("≈ " + ByteSize.Text(need.TrainingStep), "right"),
            Look.Cell("≈ " + ByteSize.Text(need.ToDraw), "right"),
            Look.Cell(Html.Element("b", "≈ " + ByteSize.Text(need.ToTrain)), "right"),
            Look.Cell(Verdict(need))));
        return Look.Grid(rows.Prepend(head));
    }

    /// <summary>A share and a word: colours alone would say nothing to some.</summary>
    private Html Verdict(MemoryNeed need)
    {
        if (Plan.AvailableBytes is not { } free)
        {
            return Whole("not known");
        }

        var (word, colour) = Plan.Fits(need) ? ("fits", Look.Good) : Plan.Fits(need.ToDraw) ? ("draws only", Look.Second) : ("does not fit", Look.Bad);
        return Html.Concat([
            Look.Bar(need.ToTrain / (double)Math.Max(free, 1), BarWidth, BarHeight, colour),
            Html.Element(
                "span",
                [("style", "white-space:nowrap")],
                Html.Concat([Look.Chip(word, colour), Look.Quiet(Numbers.Percent(need.ToTrain / (double)Math.Max(free, 1)))])),
        ]);
    }

    private static Html Whole(string text) => Html.Element("span", [("style", "white-space:nowrap")], text);

    private static string Name(torch.ScalarType type) => type.ToString().ToLowerInvariant();
}
