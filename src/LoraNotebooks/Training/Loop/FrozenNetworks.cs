using TorchSharp.Modules;
using static TorchSharp.torch;

namespace LoraNotebooks.Training.Loop;

/// <summary>Keeps the gradients of networks' own weights from being computed for a while; gradients still pass through them to what comes before.</summary>
internal sealed class FrozenNetworks : IDisposable
{
    private readonly IReadOnlyList<Parameter> _trainable;

    /// <summary>Freezes networks that no adapter is beside; an adapter freezes its own.</summary>
    public FrozenNetworks(IEnumerable<nn.Module> networks)
    {
        _trainable = [.. networks.SelectMany(static network => network.parameters()).Where(static parameter => parameter.requires_grad)];
        Set(false);
    }

    public void Dispose() => Set(true);

    private void Set(bool requiresGradient)
    {
        foreach (var parameter in _trainable)
        {
            parameter.requires_grad = requiresGradient;
        }
    }
}
