using LoraNotebooks.Tensors;

namespace LoraNotebooks.Training.Optimizers;

/// <summary>Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2).</summary>
/// <remarks>The numbers are those of <c>torch.optim.AdamW</c>.</remarks>
public sealed record AdamWOptimizer : Optimizer
{
    /// <summary>β₁, the decay of the first moment, from 0 and below 1. Default 0.9.</summary>
    public double Beta1 { get; init; } = 0.9;

    /// <summary>β₂, the decay of the second moment, from 0 and below 1. Default 0.999.</summary>
    public double Beta2 { get; init; } = 0.999;

    /// <summary>ε, added to the root of the second moment, 0 or more. Default 1e-8.</summary>
    public double Epsilon { get; init; } = 1e-8;

    /// <summary>What files have called it from the beginning.</summary>
    protected override string MetadataName => "LoraNotebooks.Training.AdamWOptimizer";

    /// <inheritdoc/>
    public override IEnumerable<StateTensor> States(IReadOnlyList<long[]> shapes) =>
        [StateTensor.PerWeight("first_moment", shapes), StateTensor.PerWeight("second_moment", shapes)];

    /// <summary>m ← β₁m + (1−β₁)g, v ← β₂v + (1−β₂)g², θ ← θ(1−ηλ) − η·m̂/(√v̂ + ε) with m̂ = m/(1−β₁ᵗ), v̂ = v/(1−β₂ᵗ).</summary>
    public override void Update(OptimizerStep step)
    {
        foreach (var x in step.Stretches)
        {
            var (theta, g, m, v, eta) = (x.Weights, x.Gradient, x["first_moment"], x["second_moment"], x.LearningRate);
            m.lerp_(g, 1 - Beta1);
            v.Times_(Beta2).PlusProduct_(g, g, 1 - Beta2);
            var denominator = v.sqrt().Over_(Math.Sqrt(1 - Math.Pow(Beta2, step.Number))).Plus_(Epsilon);
            theta.Times_(1 - eta * x.WeightDecay).PlusQuotient_(m, denominator, -eta / (1 - Math.Pow(Beta1, step.Number)));
        }
    }

    /// <inheritdoc/>
    public override IReadOnlyList<string> Validate()
    {
        var faults = new Faults();
        faults.Require(Beta1 is >= 0 and < 1, $"Beta1: got {Beta1}, expected 0 or more and less than 1; 0.9 is usual");
        faults.Require(Beta2 is >= 0 and < 1, $"Beta2: got {Beta2}, expected 0 or more and less than 1; 0.999 is usual");
        faults.Require(double.IsFinite(Epsilon) && Epsilon >= 0, $"Epsilon: got {Epsilon}, expected 0 or more; 1e-8 is usual");
        return faults;
    }
}
