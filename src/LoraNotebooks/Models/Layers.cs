using static TorchSharp.torch;

namespace LoraNotebooks.Models;

/// <summary>Layers whose TorchSharp constructor needs help.</summary>
internal static class Layers
{
    /// <summary>
    /// Group norm with weight 1 and bias 0. TorchSharp 0.107 allocates both and leaves in them whatever the memory held.
    /// </summary>
    /// <param name="groups">The number of groups.</param>
    /// <param name="channels">The number of channels.</param>
    /// <param name="epsilon">ε under the root.</param>
    public static nn.Module<Tensor, Tensor> GroupNorm(int groups, int channels, double epsilon)
    {
        var norm = nn.GroupNorm(groups, channels, epsilon);
        nn.init.ones_(norm.weight!);
        nn.init.zeros_(norm.bias!);
        return norm;
    }
}
