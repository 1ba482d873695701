using LoraNotebooks.Adapters;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Adapters;

/// <summary>Adapters as training leaves them: with no weight at zero.</summary>
internal static class TrainedAdapters
{
    /// <summary>A model with adapters of these names, all of one configuration.</summary>
    public static AdaptedModel On(nn.Module model, LoraConfig config, Generator generator, params IEnumerable<string> names)
    {
        var adapted = new AdaptedModel(model);
        foreach (var name in names)
        {
            adapted.Add(name, config, generator);
            adapted.Randomize(name, generator);
        }

        return adapted;
    }

    /// <summary>Gives every weight of an adapter another value.</summary>
    public static void Randomize(this AdaptedModel adapted, string name, Generator generator)
    {
        using var noGrad = no_grad();
        foreach (var (_, parameter) in adapted.NamedParameters(name))
        {
            parameter.copy_(randn(parameter.shape, generator: generator));
        }
    }
}
