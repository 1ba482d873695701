using static TorchSharp.torch;

namespace LoraNotebooks.Training.Optimizers;

/// <summary>
/// Another optimizer, beside which an exponential moving average of the weights is kept: pictures and files are made with the average, which wavers less
/// than the weights that train (Polyak and Juditsky 1992).
/// </summary>
public sealed record AveragedOptimizer : Optimizer
{
    private const string Average = "average";

    /// <summary>The rule by which the weights train. Default AdamW with its usual options.</summary>
    public Optimizer Inner { get; init; } = new AdamWOptimizer();

    /// <summary>β, the share of the average that stays at each step, from 0 and below 1; 1/(1 − β) steps are remembered. Default 0.999.</summary>
    public double Decay { get; init; } = 0.999;

    /// <inheritdoc/>
    public override int WorkingCopies => Inner.WorkingCopies;

    /// <inheritdoc/>
    public override bool HasEvaluationWeights => true;

    /// <inheritdoc/>
    public override IEnumerable<StateTensor> States(IReadOnlyList<long[]> shapes) => [.. Inner.States(shapes), StateTensor.PerWeight(Average, shapes)];

    /// <inheritdoc/>
    public override void Start(Tensor weights, IReadOnlyDictionary<string, Tensor> states)
    {
        ArgumentNullException.ThrowIfNull(states);
        states[Average].copy_(weights);
        Inner.Start(weights, states);
    }

    /// <summary>
    /// The inner step, then θ̄ ← βₜ·θ̄ + (1−βₜ)·θ with βₜ = min(β, (1+t)/(10+t)), so that a young average does not remember the random start.
    /// </summary>
    /// <inheritdoc/>
    public override void Update(OptimizerStep step)
    {
        ArgumentNullException.ThrowIfNull(step);
        Inner.Update(step);
        var decay = Math.Min(Decay, (1.0 + step.Number) / (10.0 + step.Number));
        foreach (var x in step.Stretches)
        {
            x[Average].lerp_(x.Weights, 1 - decay);
        }
    }

    /// <inheritdoc/>
    public override Tensor EvaluationWeights(Tensor weights, IReadOnlyDictionary<string, Tensor> states)
    {
        ArgumentNullException.ThrowIfNull(states);
        return states[Average];
    }

    /// <inheritdoc/>
    public override IReadOnlyList<string> Validate()
    {
        var faults = new Faults();
        faults.Expect(Decay is >= 0 and < 1, nameof(Decay), Decay, "0 to below 1; 0.999 is usual");
        faults.Expect(!Inner.HasEvaluationWeights, nameof(Inner), Inner.Name, "an optimizer without weights of its own for evaluation");
        faults.Within(nameof(Inner), Inner.Validate());
        return faults;
    }

    /// <inheritdoc/>
    public override IEnumerable<string> Warnings(TrainingConfig config) => Inner.Warnings(config);
}
