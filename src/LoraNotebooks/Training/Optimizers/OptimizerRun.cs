using LoraNotebooks.Training.Loop;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace LoraNotebooks.Training.Optimizers;

/// <summary>An optimizer at work: the parameters that it trains, its states, and the number of steps.</summary>
/// <remarks>A parameter without a gradient is left alone, as in <c>torch.optim</c>; t counts the optimizer's steps.</remarks>
public sealed class OptimizerRun : IDisposable
{
    private const string Weights = "weights";
    private readonly Optimizer _optimizer;
    private readonly ParameterStore _store;
    private readonly Dictionary<string, Tensor> _states;
    private Tensor? _trainingWeights;

    /// <summary>Starts. The parameters keep their values; their memory moves into a common buffer.</summary>
    /// <param name="optimizer">The rule.</param>
    /// <param name="groups">The groups; no parameter may be in two of them.</param>
    /// <exception cref="ArgumentException">There is nothing to train, a parameter is not float32, or names of states are not free or given twice.</exception>
    public OptimizerRun(Optimizer optimizer, IReadOnlyList<ParameterGroup> groups)
        : this(optimizer, groups, allowsLowerTypes: false)
    {
    }

    /// <param name="optimizer">The rule.</param>
    /// <param name="groups">The groups.</param>
    /// <param name="allowsLowerTypes">See <see cref="ParameterStore(IReadOnlyList{ParameterGroup}, bool)"/>.</param>
    internal OptimizerRun(Optimizer optimizer, IReadOnlyList<ParameterGroup> groups, bool allowsLowerTypes)
    {
        ArgumentNullException.ThrowIfNull(optimizer);
        _optimizer = optimizer;
        _store = new ParameterStore(groups, allowsLowerTypes);
        List<StateTensor> declared = [.. optimizer.States(_store.Shapes)];
        string[] wrong = [.. declared
            .Select(static state => state.Name)
            .Concat([Weights, TrainingState.Losses])
            .GroupBy(static name => name)
            .Where(static name => name.Count() > 1)
            .Select(static name => name.Key)];
        if (wrong.Length > 0)
        {
            _store.Dispose();
            throw new ArgumentException(
                $"Got states of {optimizer.Name} called {string.Join(", ", wrong)}, "
                    + $"expected a name for each that is neither {Weights} nor {TrainingState.Losses}, which the state's file has of its own.",
                nameof(optimizer));
        }

        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        _states = declared.ToDictionary(
            static state => state.Name,
            state => zeros([.. state.Shape], state.Type, _store.Weights.device).DetachFromDisposeScope());
        optimizer.Start(_store.Weights, _states);
    }

    /// <summary>The groups, in the order of the learning rates that <see cref="Step"/> takes.</summary>
    public IReadOnlyList<ParameterGroup> Groups => _store.Groups;

    /// <summary>t, the number of steps taken.</summary>
    public long Steps { get; private set; }

    /// <summary>The parameters that the last step left alone, because they had no gradient.</summary>
    public IReadOnlyList<Parameter> WithoutGradient { get; private set; } = [];

    /// <summary>
    /// Clips the gradients of all groups together to a global L2 norm, and takes one step. The gradients stay, see <see cref="ClearGradients"/>.
    /// </summary>
    /// <param name="learningRates">η of each group.</param>
    /// <param name="maxNorm">The norm that gradients are scaled down to when theirs is larger; <see langword="null"/>: no clipping.</param>
    /// <returns>The norm before clipping. If it is not finite, nothing was changed.</returns>
    /// <exception cref="ArgumentException">There is not one learning rate per group.</exception>
    /// <exception cref="InvalidOperationException">No parameter has a gradient, or the parameters hold the weights for evaluation.</exception>
    public double Step(IReadOnlyList<double> learningRates, double? maxNorm = null)
    {
        ArgumentNullException.ThrowIfNull(learningRates);
        if (learningRates.Count != Groups.Count)
        {
            throw new ArgumentException($"Got {learningRates.Count} learning rates, expected {Groups.Count}, one for each group.", nameof(learningRates));
        }

        if (_trainingWeights is not null)
        {
            throw new InvalidOperationException(
                "The parameters hold the weights for evaluation, whose gradients train nothing. Call UseTrainingWeights before the forward pass.");
        }

        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        var (gradient, stretches) = _store.GatherGradients();
        WithoutGradient = _store.WithoutGradient;
        var norm = ParameterStore.Clip(gradient, maxNorm);
        if (float.IsFinite(norm))
        {
            Steps++;
            _optimizer.Update(new OptimizerStep(_store, _states, Steps, gradient, stretches, learningRates));
            _store.Publish();
        }

        return norm;
    }

    /// <summary>Forgets the gradients, so that the next backward pass starts anew.</summary>
    public void ClearGradients() => _store.ClearGradients();

    /// <summary>
    /// Puts the optimizer's weights for evaluation into the parameters, for drawing and writing, where it has such; calling it again changes nothing.
    /// </summary>
    public void UseEvaluationWeights()
    {
        if (_optimizer.HasEvaluationWeights && _trainingWeights is null)
        {
            using var scope = NewDisposeScope();
            using var noGradient = no_grad();
            _trainingWeights = _store.Weights.clone().DetachFromDisposeScope();
            _store.Weights.copy_(_optimizer.EvaluationWeights(_trainingWeights, _states));
            _store.Publish();
        }
    }

    /// <summary>Puts the weights that train back, to the bit.</summary>
    public void UseTrainingWeights()
    {
        if (_trainingWeights is not null)
        {
            using var noGradient = no_grad();
            _store.Weights.copy_(_trainingWeights);
            _store.Publish();
            _trainingWeights.Dispose();
            _trainingWeights = null;
        }
    }

    /// <summary>Copies of everything that the next step needs: weights [P], all parameters in a row, and the optimizer's states by name.</summary>
    public Dictionary<string, Tensor> State() => Targets().ToDictionary(
        static target => target.Name,
        target => (target.Name == Weights ? _trainingWeights ?? target.Target : target.Target).clone());

    /// <summary>Continues from a saved state; the parameters take its weights.</summary>
    /// <param name="state">What <see cref="State"/> gave.</param>
    /// <param name="steps">t, the number of steps taken by then.</param>
    /// <exception cref="InvalidDataException">The state belongs to other parameters; nothing was changed.</exception>
    public void Restore(IReadOnlyDictionary<string, Tensor> state, long steps)
    {
        ArgumentNullException.ThrowIfNull(state);
        var wrong = Targets()
            .Where(target => !state.TryGetValue(target.Name, out var stored) || stored.numel() != target.Target.numel() || stored.dtype != target.Target.dtype)
            .GroupBy(
                static target => $"{target.Target.numel()} numbers{(target.Target.dtype == ScalarType.Float32 ? "" : $" of {target.Target.dtype}")} long",
                static target => target.Name)
            .Select(static names => $"{string.Join(", ", names)} missing or not {names.Key}").ToList();
        if (wrong.Count > 0)
        {
            throw new InvalidDataException(
                $"The optimizer's state does not fit: {string.Join("; ", wrong)}. "
                    + "Resume with the adapter configuration that the state was made with, or start anew.");
        }

        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        UseTrainingWeights();
        foreach (var (name, target) in Targets())
        {
            target.copy_(state[name].reshape(target.shape));
        }

        _store.Publish();

        Steps = steps;
    }

    /// <summary>Frees the states; the parameters stay as they are.</summary>
    public void Dispose()
    {
        _store.Dispose();
        _trainingWeights?.Dispose();
        foreach (var state in _states.Values)
        {
            state.Dispose();
        }
    }

    private IEnumerable<(string Name, Tensor Target)> Targets() => _states.Select(static state => (state.Key, state.Value)).Prepend((Weights, _store.Weights));
}
