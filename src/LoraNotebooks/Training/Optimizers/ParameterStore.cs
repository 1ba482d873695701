using LoraNotebooks.Tensors;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace LoraNotebooks.Training.Optimizers;

/// <summary>Parameters that share a learning rate and a weight decay.</summary>
/// <param name="Name">What to call the group, e.g. "unet".</param>
/// <param name="Parameters">The parameters, float32 and on one device.</param>
/// <param name="WeightDecay">λ, the decoupled weight decay.</param>
public sealed record ParameterGroup(string Name, IReadOnlyList<Parameter> Parameters, double WeightDecay);

/// <summary>All parameters of a run side by side in one vector, of which each becomes a view.</summary>
/// <remarks>
/// So an optimizer's step is a handful of operations however many parameters there are; ten operations for each would cost more than their arithmetic.
/// </remarks>
internal sealed class ParameterStore : IDisposable
{
    private readonly Parameter[] _parameters;
    private readonly int[] _groupOf;
    private readonly Tensor[] _masters = [];

    /// <summary>The parameters keep their values; their memory moves into <see cref="Weights"/>.</summary>
    /// <param name="groups">The groups; no parameter may be in two of them.</param>
    /// <param name="allowsLowerTypes">
    /// Whether parameters may have a type of fewer digits: <see cref="Weights"/> are then float32 masters beside them, of which they are rounded copies, so
    /// that small updates are not lost.
    /// </param>
    /// <exception cref="ArgumentException">There is nothing to train, or a parameter is not float32.</exception>
    public ParameterStore(IReadOnlyList<ParameterGroup> groups, bool allowsLowerTypes = false)
    {
        ArgumentNullException.ThrowIfNull(groups);
        Groups = groups;
        _parameters = [.. groups.SelectMany(group => group.Parameters)];
        _groupOf = [.. groups.SelectMany((group, index) => Enumerable.Repeat(index, group.Parameters.Count))];
        if (_parameters.Length == 0)
        {
            throw new ArgumentException(
                "Got no parameters, expected at least one. Check that the adapter was attached and has target modules.",
                nameof(groups));
        }

        var lower = Array.Find(_parameters, static parameter => parameter.dtype != ScalarType.Float32);
        if (lower is { } wrong && !allowsLowerTypes)
        {
            throw new ArgumentException(
                $"Got a parameter of type {wrong.dtype}, expected Float32: small updates vanish in types with fewer digits. "
                    + "Keep the adapter in float32; the frozen base may have another type.",
                nameof(groups));
        }

        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        // Not parameters_to_vector: it cannot take a convolution's weights that lie with the channels last.
        Weights = InARow([.. _parameters.Select(static parameter => parameter.reshape(-1).to(ScalarType.Float32))]).DetachFromDisposeScope();
        if (lower is null)
        {
            nn.utils.vector_to_parameters(Weights, _parameters);
        }
        else
        {
            var parts = Weights.split([.. _parameters.Select(static parameter => parameter.numel())]);
            _masters = [.. parts.Zip(_parameters, static (part, parameter) => part.view(parameter.shape).DetachFromDisposeScope())];
        }
    }

    /// <summary>The groups.</summary>
    public IReadOnlyList<ParameterGroup> Groups { get; }

    /// <summary>θ, float32 [P], all parameters in a row.</summary>
    public Tensor Weights { get; }

    /// <summary>The parameters' shapes, in the order of the row.</summary>
    public IReadOnlyList<long[]> Shapes => [.. _parameters.Select(static parameter => parameter.shape)];

    /// <summary>The parameters that have no gradient.</summary>
    public IReadOnlyList<Parameter> WithoutGradient => [.. _parameters.Where(static parameter => parameter.grad is null)];

    /// <summary>A copy of all gradients in a row, and the stretches of neighbouring parameters of one group that have some.</summary>
    /// <exception cref="InvalidOperationException">No parameter has a gradient.</exception>
    public (Tensor Gradient, List<Stretch> Stretches) GatherGradients()
    {
        var gradients = new List<Tensor>(_parameters.Length);
        var stretches = new List<Stretch>(Groups.Count);
        var (weight, gradient) = (0L, 0L);
        for (var i = 0; i < _parameters.Length; i++)
        {
            var length = _parameters[i].numel();
            if (_parameters[i].grad is { } found)
            {
                gradients.Add(found.reshape(-1).to(ScalarType.Float32));
                if (stretches.Count > 0 && stretches[^1] is var last && last.Group == _groupOf[i] && last.Weight + last.Length == weight)
                {
                    stretches[^1] = last with { Length = last.Length + length, Parameters = last.Parameters.Start..(i + 1) };
                }
                else
                {
                    stretches.Add(new Stretch(_groupOf[i], weight, gradient, length, i..(i + 1)));
                }

                gradient += length;
            }

            weight += length;
        }

        return gradients.Count > 0
            ? (InARow(gradients), stretches)
            : throw new InvalidOperationException(
                "No parameter has a gradient. Call backward on a loss that depends on the parameters first; check that the adapter is attached and enabled.");
    }

    /// <summary>Scales gradients down to a global L2 norm where theirs is larger, as upstream's clip_grad_norm_: g ← g·min(1, max/(‖g‖ + 1e-6)).</summary>
    /// <param name="gradient">All gradients in a row.</param>
    /// <param name="maxNorm">The norm; <see langword="null"/>: no clipping.</param>
    /// <returns>The norm before.</returns>
    public static float Clip(Tensor gradient, double? maxNorm)
    {
        var norm = gradient.norm().item<float>();
        if (maxNorm / (norm + 1e-6) is { } clip and < 1)
        {
            gradient.Times_(clip);
        }

        return norm;
    }

    /// <summary>Rounds the masters into the parameters, where they are copies; call it after each change of <see cref="Weights"/>.</summary>
    public void Publish()
    {
        foreach (var (parameter, master) in _parameters.Zip(_masters))
        {
            parameter.copy_(master);
        }
    }

    /// <summary>Forgets the gradients, so that the next backward pass starts anew.</summary>
    public void ClearGradients()
    {
        foreach (var parameter in _parameters)
        {
            parameter.grad = null;
        }
    }

    /// <summary>Gives the row up; the parameters stay as they are.</summary>
    public void Dispose()
    {
        Array.ForEach(_masters, static master => master.Dispose());
        Weights.Dispose();
    }

    /// <summary>New memory in any case: TorchSharp's <c>cat</c> of one tensor is that tensor.</summary>
    private static Tensor InARow(List<Tensor> tensors) => tensors.Count == 1 ? tensors[0].clone() : cat(tensors);

    /// <summary>Neighbouring parameters of one group.</summary>
    /// <param name="Group">The group's index.</param>
    /// <param name="Weight">Where they begin among the weights.</param>
    /// <param name="Gradient">Where they begin among the gradients.</param>
    /// <param name="Length">How many numbers they are.</param>
    /// <param name="Parameters">Their indices.</param>
    public readonly record struct Stretch(int Group, long Weight, long Gradient, long Length, Range Parameters);
}
