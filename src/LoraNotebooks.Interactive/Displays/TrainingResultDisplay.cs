using LoraNotebooks.Training;

namespace LoraNotebooks.Interactive;

/// <summary>What a training run did: its figures, the loss chart, the samples, and where its file lies.</summary>
public sealed class TrainingResultDisplay : RichDisplay
{
    /// <summary>A display of a result.</summary>
    public TrainingResultDisplay(TrainingResult result)
    {
        ArgumentNullException.ThrowIfNull(result);
        Result = result;
    }

    /// <summary>What is shown.</summary>
    public TrainingResult Result { get; }

    /// <inheritdoc/>
    protected internal override Html Draw() => Html.Concat(
    [
        Figures().Draw(),
        Result.Steps.Count > 0 ? new LossChart(Result.Steps).Draw() : Html.Empty,
        Result.Samples.Count > 0 ? new SampleStrip(Result.Samples).Draw() : Html.Empty,
        Look.Page(null, null, Look.Quiet("saved as "), Html.Element("code", Result.File)),
        Untrained() is { } untrained ? Look.Page(null, null, Look.Quiet(untrained)) : Html.Empty,
        Result.Warnings.Count > 0 ? Look.Page(null, null, Look.Warnings(Result.Warnings)) : Html.Empty,
    ]);

    /// <inheritdoc/>
    public override string ToText() =>
        $"{Figures().ToText()}, saved as {Result.File}{(Untrained() is { } untrained ? $"\n{untrained}" : "")}"
            + string.Concat(Result.Warnings.Select(static warning => $"\nwarning: {warning}"));

    /// <summary>Which layers learnt nothing and why, if there are some.</summary>
    private string? Untrained()
    {
        var blocks = Result.UntrainedLayers.Select(static layer => layer[..layer.LastIndexOf('.')]).Distinct();
        return Result.UntrainedLayers.Count > 0
            ? $"{Result.UntrainedLayers.Count} layers learnt nothing, as no {Result.Plan.Unit}'s loss depends on them: {string.Join(", ", blocks)}"
            : null;
    }

    private TrainingProgress Figures() => new()
    {
        Title = Result.Config.Name,
        State = Result.WasCancelled ? RunState.Stopped : RunState.Finished,
        Last = Result.Steps.Count > 0 ? Result.Steps[^1] : null,
    };
}
