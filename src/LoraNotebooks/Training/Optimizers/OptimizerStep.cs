using static TorchSharp.torch;

namespace LoraNotebooks.Training.Optimizers;

/// <summary>What an optimizer's formula computes with in one step; gradients are off, and tensors made on the way are freed after it.</summary>
public sealed class OptimizerStep
{
    private readonly IReadOnlyDictionary<string, Tensor> _states;

    internal OptimizerStep(
        ParameterStore store,
        IReadOnlyDictionary<string, Tensor> states,
        long number,
        Tensor gradient,
        List<ParameterStore.Stretch> stretches,
        IReadOnlyList<double> learningRates)
    {
        _states = states;
        (Number, Shapes) = (number, store.Shapes);
        Stretches = [.. stretches.Select(stretch => new ParameterStretch(
            this,
            stretch,
            store.Weights,
            gradient,
            learningRates[stretch.Group],
            store.Groups[stretch.Group].WeightDecay))];
    }

    /// <summary>t, from 1.</summary>
    public long Number { get; }

    /// <summary>
    /// Together all parameters that have a gradient, in order. A formula goes through them once, or first for what it sums over all of them and then
    /// for the update.
    /// </summary>
    public IReadOnlyList<ParameterStretch> Stretches { get; }

    /// <summary>The shapes of all parameters, with those that have no gradient.</summary>
    internal IReadOnlyList<long[]> Shapes { get; }

    /// <summary>A state, whole. Change it in place.</summary>
    /// <param name="state">A name of <see cref="Optimizer.States"/>.</param>
    /// <exception cref="ArgumentException">The optimizer has no such state.</exception>
    public Tensor this[string state] => _states.TryGetValue(state, out var found) ? found
        : throw new ArgumentException(
            $"Got the state '{state}', expected one that the optimizer declares: {string.Join(", ", _states.Keys)}. Add it to States.",
            nameof(state));
}

/// <summary>Neighbouring parameters of one group that all have a gradient, in a row of n numbers.</summary>
public sealed class ParameterStretch
{
    private readonly OptimizerStep _step;
    private readonly ParameterStore.Stretch _place;
    private readonly long _all;

    internal ParameterStretch(OptimizerStep step, ParameterStore.Stretch place, Tensor weights, Tensor gradient, double learningRate, double weightDecay)
    {
        (_step, _place, _all) = (step, place, weights.numel());
        Weights = weights.narrow(0, place.Weight, place.Length);
        Gradient = gradient.narrow(0, place.Gradient, place.Length);
        (LearningRate, WeightDecay) = (learningRate, weightDecay);
    }

    /// <summary>θ, float32 [n]: the parameters themselves. Change them in place.</summary>
    public Tensor Weights { get; }

    /// <summary>g, float32 [n], clipped; a copy, with which a formula may do as it likes.</summary>
    public Tensor Gradient { get; }

    /// <summary>η.</summary>
    public double LearningRate { get; }

    /// <summary>λ.</summary>
    public double WeightDecay { get; }

    /// <summary>This stretch's part [n] of a state that has one number for each weight.</summary>
    /// <param name="state">A name of <see cref="Optimizer.States"/>.</param>
    /// <exception cref="ArgumentException">There is no such state, or it has another shape than the weights in a row.</exception>
    public Tensor this[string state] => _step[state] is var found && found.shape is [var length] && length == _all
        ? found.narrow(0, _place.Weight, _place.Length)
        : throw new ArgumentException(
            $"Got the state '{state}' of shape [{string.Join(", ", _step[state].shape)}], "
                + $"expected one number for each of the {_all} weights. Take it whole, from the step.",
            nameof(state));

    /// <summary>The parameters one by one, in their own shapes.</summary>
    public IEnumerable<ParameterView> Parameters
    {
        get
        {
            var offset = 0L;
            for (var i = _place.Parameters.Start.Value; i < _place.Parameters.End.Value; i++)
            {
                var (shape, length) = (_step.Shapes[i], _step.Shapes[i].Aggregate(1L, static (product, size) => product * size));
                yield return new ParameterView(
                    i,
                    _place.Weight + offset,
                    Weights.narrow(0, offset, length).view(shape),
                    Gradient.narrow(0, offset, length).view(shape));
                offset += length;
            }
        }
    }
}

/// <summary>One parameter in its own shape.</summary>
/// <param name="Index">Its index among the shapes that <see cref="Optimizer.States"/> is given.</param>
/// <param name="Offset">Where it begins among all weights in a row.</param>
/// <param name="Weights">θ, float32: the parameter itself. Change it in place.</param>
/// <param name="Gradient">g, float32, clipped.</param>
public readonly record struct ParameterView(int Index, long Offset, Tensor Weights, Tensor Gradient);
