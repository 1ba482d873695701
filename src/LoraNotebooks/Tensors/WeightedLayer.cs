using TorchSharp.Modules;
using static TorchSharp.torch;

namespace LoraNotebooks.Tensors;

/// <summary>A layer of one input and one output whose parameters can be replaced, as those of TorchSharp's own layers can.</summary>
/// <param name="name">What the layer is called in messages.</param>
public abstract class WeightedLayer(string name) : nn.Module<Tensor, Tensor>(name)
{
    /// <summary>Puts a parameter in the place of another, which is freed.</summary>
    /// <param name="parameterName">Its name, under which it is registered.</param>
    /// <param name="field">Where it is kept.</param>
    /// <param name="value">The new one; the old one itself changes nothing.</param>
    protected void Replace(string parameterName, ref Parameter field, Parameter value)
    {
        ArgumentNullException.ThrowIfNull(value);
        var old = field;
        field = value;
        ConditionallyRegisterParameter(parameterName, value);
        if (!ReferenceEquals(old, value))
        {
            old.Dispose();
        }
    }
}
