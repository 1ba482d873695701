using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Training.Loop;

/// <summary>Puts frozen networks into another number format for a while and gives their weights back bit for bit.</summary>
internal sealed class LoweredPrecision : IDisposable
{
    private readonly List<(nn.Module Module, ScalarType Type, Dictionary<string, Tensor> Weights)> _originals = [];

    /// <summary>Converts networks; those that have the format already stay as they are.</summary>
    public LoweredPrecision(ScalarType type, params IEnumerable<nn.Module> modules)
    {
        foreach (var module in modules)
        {
            var current = module.parameters().First().dtype;
            if (current == type)
            {
                continue;
            }

            using (no_grad())
            {
                _originals.Add((module, current, module.state_dict().ToDictionary(pair => pair.Key, pair => pair.Value.clone().DetachFromDisposeScope())));
                module.to(type);
            }
        }
    }

    public void Dispose()
    {
        using var noGradient = no_grad();
        foreach (var (module, type, weights) in _originals)
        {
            module.to(type);
            foreach (var (name, weight) in module.state_dict())
            {
                weight.copy_(weights[name]);
                weights[name].Dispose();
            }
        }

        _originals.Clear();
    }
}
