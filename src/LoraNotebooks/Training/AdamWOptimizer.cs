using LoraNotebooks.Tensors;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace LoraNotebooks.Training;

/// <summary>Parameters that share a learning rate and a weight decay.</summary>
/// <param name="Name">What to call the group, e.g. "unet".</param>
/// <param name="Parameters">The parameters, float32 and on one device.</param>
/// <param name="WeightDecay">λ, the decoupled weight decay.</param>
public sealed record ParameterGroup(string Name, IReadOnlyList<Parameter> Parameters, double WeightDecay);

/// <summary>
/// Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2), for many small tensors.
/// </summary>
/// <remarks>
/// The parameters are laid side by side in one buffer, of which each becomes a view, so that a step is a handful of operations
/// however many there are; ten operations for each parameter would cost more than their arithmetic. The numbers are those of
/// <c>torch.optim.AdamW</c>. A parameter without a gradient is left alone, as there; bias correction counts the optimizer's steps.
/// </remarks>
public sealed class AdamWOptimizer : IDisposable
{
    private readonly double beta1;
    private readonly double beta2;
    private readonly double epsilon;
    private readonly Parameter[] parameters;
    private readonly int[] groupOf;
    private readonly Tensor weights;
    private readonly Tensor firstMoment;
    private readonly Tensor secondMoment;

    /// <summary>Starts with moments of zero. The parameters keep their values; their memory moves into the common buffer.</summary>
    /// <param name="groups">The groups; no parameter may be in two of them.</param>
    /// <param name="beta1">β₁, the decay of the first moment; default 0.9.</param>
    /// <param name="beta2">β₂, the decay of the second moment; default 0.999.</param>
    /// <param name="epsilon">ε, added to the root of the second moment; default 1e-8.</param>
    /// <exception cref="ArgumentException">There is nothing to train, or a parameter is not float32.</exception>
    public AdamWOptimizer(IReadOnlyList<ParameterGroup> groups, double beta1 = 0.9, double beta2 = 0.999, double epsilon = 1e-8)
    {
        ArgumentNullException.ThrowIfNull(groups);
        (Groups, this.beta1, this.beta2, this.epsilon) = (groups, beta1, beta2, epsilon);
        parameters = [.. groups.SelectMany(group => group.Parameters)];
        groupOf = [.. groups.SelectMany((group, index) => Enumerable.Repeat(index, group.Parameters.Count))];
        if (parameters.Length == 0)
        {
            throw new ArgumentException("Got no parameters, expected at least one. Check that the adapter was attached and has target modules.", nameof(groups));
        }

        if (Array.Find(parameters, parameter => parameter.dtype != ScalarType.Float32) is { } wrong)
        {
            throw new ArgumentException($"Got a parameter of type {wrong.dtype}, expected Float32: small updates vanish in types with fewer digits. Keep the adapter in float32; the frozen base may have another type.", nameof(groups));
        }

        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        // Not parameters_to_vector: it cannot take a convolution's weights that lie with the channels last.
        weights = InARow([.. parameters.Select(static parameter => parameter.reshape(-1))]).DetachFromDisposeScope();
        nn.utils.vector_to_parameters(weights, parameters);
        firstMoment = zeros_like(weights).DetachFromDisposeScope();
        secondMoment = zeros_like(weights).DetachFromDisposeScope();
    }

    /// <summary>The groups, in the order of the learning rates that <see cref="Step"/> takes.</summary>
    public IReadOnlyList<ParameterGroup> Groups { get; }

    /// <summary>t, the number of steps taken.</summary>
    public long Steps { get; private set; }

    /// <summary>The parameters that the last step left alone, because they had no gradient.</summary>
    public IReadOnlyList<Parameter> WithoutGradient { get; private set; } = [];

    /// <summary>Clips the gradients of all groups together to a global L2 norm, and takes one step. The gradients stay, see <see cref="ClearGradients"/>.</summary>
    /// <param name="learningRates">η of each group.</param>
    /// <param name="maxNorm">The norm that gradients are scaled down to when theirs is larger; <see langword="null"/>: no clipping.</param>
    /// <returns>The norm before clipping. If it is not finite, nothing was changed.</returns>
    /// <exception cref="ArgumentException">There is not one learning rate per group.</exception>
    /// <exception cref="InvalidOperationException">No parameter has a gradient.</exception>
    public double Step(IReadOnlyList<double> learningRates, double? maxNorm = null)
    {
        ArgumentNullException.ThrowIfNull(learningRates);
        if (learningRates.Count != Groups.Count)
        {
            throw new ArgumentException($"Got {learningRates.Count} learning rates, expected {Groups.Count}, one for each group.", nameof(learningRates));
        }

        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        var (gradient, stretches) = GatherGradients();
        WithoutGradient = [.. parameters.Where(static parameter => parameter.grad is null)];
        var norm = gradient.norm().item<float>();
        if (!float.IsFinite(norm))
        {
            return norm;
        }

        // Upstream's clip_grad_norm_: g ← g·min(1, max/(‖g‖ + 1e-6)).
        if (maxNorm / (norm + 1e-6) is { } clip and < 1)
        {
            gradient.Times_(clip);
        }

        Steps++;
        foreach (var stretch in stretches)
        {
            Update(
                weights.narrow(0, stretch.Weight, stretch.Length),
                gradient.narrow(0, stretch.Gradient, stretch.Length),
                firstMoment.narrow(0, stretch.Weight, stretch.Length),
                secondMoment.narrow(0, stretch.Weight, stretch.Length),
                learningRates[stretch.Group],
                Groups[stretch.Group].WeightDecay);
        }

        return norm;
    }

    /// <summary>Forgets the gradients, so that the next backward pass starts anew.</summary>
    public void ClearGradients()
    {
        foreach (var parameter in parameters)
        {
            parameter.grad = null;
        }
    }

    /// <summary>Copies of everything that the next step needs: weights, first_moment and second_moment, each [P], all parameters in a row.</summary>
    public Dictionary<string, Tensor> State() => new()
    {
        ["weights"] = weights.clone(),
        ["first_moment"] = firstMoment.clone(),
        ["second_moment"] = secondMoment.clone(),
    };

    /// <summary>Continues from a saved state; the parameters take its weights.</summary>
    /// <param name="state">What <see cref="State"/> gave.</param>
    /// <param name="steps">t, the number of steps taken by then.</param>
    /// <exception cref="InvalidDataException">The state belongs to other parameters; nothing was changed.</exception>
    public void Restore(IReadOnlyDictionary<string, Tensor> state, long steps)
    {
        ArgumentNullException.ThrowIfNull(state);
        (string Name, Tensor Target)[] targets = [("weights", weights), ("first_moment", firstMoment), ("second_moment", secondMoment)];
        var wrong = targets.Where(target => !state.TryGetValue(target.Name, out var stored) || stored.numel() != target.Target.numel()).Select(target => target.Name).ToList();
        if (wrong.Count > 0)
        {
            throw new InvalidDataException($"The optimizer's state does not fit: {string.Join(", ", wrong)} missing or not {weights.numel()} numbers long. Resume with the adapter configuration that the state was made with, or start anew.");
        }

        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        foreach (var (name, target) in targets)
        {
            target.copy_(state[name].reshape(-1));
        }

        Steps = steps;
    }

    /// <summary>Frees the moments; the parameters stay as they are.</summary>
    public void Dispose()
    {
        weights.Dispose();
        firstMoment.Dispose();
        secondMoment.Dispose();
    }

    /// <summary>m ← β₁m + (1−β₁)g, v ← β₂v + (1−β₂)g², θ ← θ(1−ηλ) − η·m̂/(√v̂ + ε) with m̂ = m/(1−β₁ᵗ), v̂ = v/(1−β₂ᵗ).</summary>
    private void Update(Tensor theta, Tensor g, Tensor m, Tensor v, double eta, double lambda)
    {
        m.lerp_(g, 1 - beta1);
        v.Times_(beta2).PlusProduct_(g, g, 1 - beta2);
        var denominator = v.sqrt().Over_(Math.Sqrt(1 - Math.Pow(beta2, Steps))).Plus_(epsilon);
        theta.Times_(1 - eta * lambda).PlusQuotient_(m, denominator, -eta / (1 - Math.Pow(beta1, Steps)));
    }

    /// <summary>All gradients in a row, and the stretches of neighbouring parameters of one group that have some.</summary>
    private (Tensor Gradient, List<Stretch> Stretches) GatherGradients()
    {
        var gradients = new List<Tensor>(parameters.Length);
        var stretches = new List<Stretch>(Groups.Count);
        var (weight, gradient) = (0L, 0L);
        for (var i = 0; i < parameters.Length; i++)
        {
            var length = parameters[i].numel();
            if (parameters[i].grad is { } found)
            {
                gradients.Add(found.reshape(-1));
                if (stretches.Count > 0 && stretches[^1] is var last && last.Group == groupOf[i] && last.Weight + last.Length == weight)
                {
                    stretches[^1] = last with { Length = last.Length + length };
                }
                else
                {
                    stretches.Add(new Stretch(groupOf[i], weight, gradient, length));
                }

                gradient += length;
            }

            weight += length;
        }

        return gradients.Count > 0
            ? (InARow(gradients), stretches)
            : throw new InvalidOperationException("No parameter has a gradient. Call backward on a loss that depends on the parameters first; check that the adapter is attached and enabled.");
    }

    /// <summary>New memory in any case: TorchSharp's <c>cat</c> of one tensor is that tensor.</summary>
    private static Tensor InARow(List<Tensor> tensors) => tensors.Count == 1 ? tensors[0].clone() : cat(tensors);

    private readonly record struct Stretch(int Group, long Weight, long Gradient, long Length);
}
