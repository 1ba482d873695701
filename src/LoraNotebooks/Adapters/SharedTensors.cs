using static TorchSharp.torch;

namespace LoraNotebooks.Adapters;

/// <summary>
/// Tensors that all layers of one adapter share, e.g. the frozen random matrices of VeRA. The adapter owns them. They are not trained and not part of a file:
/// a method makes them anew from a seed among its options, which a configuration carries.
/// </summary>
public sealed class SharedTensors : IDisposable
{
    private readonly Dictionary<string, Tensor> _tensors = new(StringComparer.Ordinal);

    /// <summary>A tensor, made by the first layer that asks for it.</summary>
    /// <param name="name">Its name; for layers of several sizes with the size in it.</param>
    /// <param name="device">Where the layer computes.</param>
    /// <param name="create">Makes it.</param>
    public Tensor Get(string name, Device device, Func<Tensor> create)
    {
        ArgumentNullException.ThrowIfNull(create);
        ArgumentNullException.ThrowIfNull(device);
        var key = $"{name} on {device}";
        if (!_tensors.TryGetValue(key, out var tensor))
        {
            using var scope = NewDisposeScope();
            using var noGrad = no_grad();
            tensor = create().detach().to(device).DetachFromDisposeScope();
            _tensors.Add(key, tensor);
        }

        return tensor;
    }

    /// <summary>Releases them.</summary>
    public void Dispose()
    {
        foreach (var tensor in _tensors.Values)
        {
            tensor.Dispose();
        }

        _tensors.Clear();
    }
}
