using LoraNotebooks.Training;
using LoraNotebooks.Training.Optimizers;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Training.Optimizers;

/// <summary>Stochastic gradient descent with momentum, as torch.optim.SGD: v ← μv + g + λθ, θ ← θ − ηv. As a user would write it in a cell.</summary>
public sealed record MomentumOptimizer : Optimizer
{
    /// <summary>μ. Default 0.9.</summary>
    public double Momentum { get; init; } = 0.9;

    public override int WorkingCopies => 2;

    public override IEnumerable<StateTensor> States(IReadOnlyList<long[]> shapes) => [StateTensor.PerWeight("velocity", shapes)];

    public override void Update(OptimizerStep step)
    {
        foreach (var x in step.Stretches)
        {
            x["velocity"].mul_(Momentum).add_(x.Gradient + x.WeightDecay * x.Weights);
            x.Weights.sub_(x.LearningRate * x["velocity"]);
        }
    }

    public override IReadOnlyList<string> Validate() => Momentum is >= 0 and < 1 ? [] : [$"Momentum: got {Momentum}, expected 0 or more and less than 1"];
}

/// <summary>
/// What optimizers to come need beside moments: a number that is found from all groups before any is changed (D-Adaptation, Prodigy), a sum for each
/// row of a matrix (Adafactor), codes of one byte in blocks with a scale for each (8-bit AdamW), and other weights for pictures (schedule-free).
/// </summary>
public sealed record PatchworkOptimizer : Optimizer
{
    private const long Block = 4;

    public override bool HasEvaluationWeights => true;

    public override IEnumerable<StateTensor> States(IReadOnlyList<long[]> shapes) =>
    [
        new("d", [], ScalarType.Float64),
        .. shapes.Select(static (shape, i) => new StateTensor($"rows.{i}", [shape[0]])),
        .. shapes.Select(static (shape, i) => new StateTensor($"codes.{i}", [Blocks(shape), Block], ScalarType.Byte)),
        .. shapes.Select(static (shape, i) => new StateTensor($"scales.{i}", [Blocks(shape)])),
        StateTensor.PerWeight("average", shapes),
    ];

    public override void Start(Tensor weights, IReadOnlyDictionary<string, Tensor> states)
    {
        states["d"].fill_(0.5);
        states["average"].copy_(weights);
    }

    public override void Update(OptimizerStep step)
    {
        // One number from all groups together, kept in float64.
        var d = step["d"];
        d.add_(0.25 * step.Stretches.Sum(static x => x.LearningRate * x.Gradient.abs().mean().item<float>()));
        foreach (var x in step.Stretches)
        {
            foreach (var (i, _, theta, g) in x.Parameters)
            {
                var rows = step[$"rows.{i}"].mul_(0.5).add_(g.square().reshape(g.shape[0], -1).mean([1]));
                var direction = (g.reshape(g.shape[0], -1) / (rows.sqrt().unsqueeze(1) + 1e-3)).reshape(-1);

                // What the codes remember of the step before, from −1 to 1 in 255 parts of its block's largest.
                var (codes, scales) = (step[$"codes.{i}"], step[$"scales.{i}"]);
                var remembered = ((codes.to(float32) - 128) / 127 * scales.unsqueeze(1)).reshape(-1)[..(int)theta.numel()];
                var padded = zeros(codes.numel());
                padded[..(int)theta.numel()].copy_(0.5 * remembered + direction);
                var blocks = padded.reshape(codes.shape);
                scales.copy_(blocks.abs().amax([1]) + 1e-9);
                codes.copy_((blocks / scales.unsqueeze(1) * 127).round() + 128);
                theta.sub_(x.LearningRate * d.item<double>() * padded[..(int)theta.numel()].reshape(theta.shape));
            }

            x["average"].lerp_(x.Weights, 0.5);
        }
    }

    public override Tensor EvaluationWeights(Tensor weights, IReadOnlyDictionary<string, Tensor> states) => states["average"];

    public override IEnumerable<string> Warnings(TrainingConfig config) =>
        config.WeightDecay != new DiffusionTrainingConfig().WeightDecay ? ["WeightDecay has no effect: Patchwork has none"] : [];

    private static long Blocks(long[] shape) => (shape.Aggregate(1L, static (product, size) => product * size) + Block - 1) / Block;
}
