using TorchSharp.Modules;
using static TorchSharp.torch;

namespace LoraNotebooks.Training;

/// <summary>Keeps the gradients of a network's own weights from being computed for a while; gradients still pass through it to what comes before.</summary>
internal sealed class FrozenNetwork : IDisposable
{
    private readonly IReadOnlyList<Parameter> trainable;

    /// <summary>Freezes a network that no adapter is beside; an adapter freezes its own.</summary>
    public FrozenNetwork(nn.Module network)
    {
        trainable = [.. network.parameters().Where(static parameter => parameter.requires_grad)];
        Set(false);
    }

    public void Dispose() => Set(true);

    private void Set(bool requiresGradient)
    {
        foreach (var parameter in trainable)
        {
            parameter.requires_grad = requiresGradient;
        }
    }
}
