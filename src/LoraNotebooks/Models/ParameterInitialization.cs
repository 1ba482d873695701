using LoraNotebooks.Tensors.Convolutions;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace LoraNotebooks.Models;

/// <summary>PyTorch's default weight initialisation, drawn from a generator of one's own instead of the global one.</summary>
public static class ParameterInitialization
{
    /// <summary>
    /// Draws the weights and biases of every <see cref="Linear"/> and <see cref="CheckedConv2d"/> anew:
    /// W, b ~ U(−1/√fan_in, 1/√fan_in), which is what Kaiming's uniform rule with a = √5 amounts to.
    /// Norm layers keep weight 1 and bias 0.
    /// </summary>
    /// <param name="module">The module; its sub-modules are visited in the order of registration.</param>
    /// <param name="generator">Where the random numbers come from.</param>
    /// <remarks>Source: PyTorch, torch/nn/modules/linear.py and conv.py, <c>reset_parameters</c>.</remarks>
    public static void Reset(nn.Module module, Generator generator)
    {
        ArgumentNullException.ThrowIfNull(module);
        ArgumentNullException.ThrowIfNull(generator);
        using var noGradient = no_grad();
        foreach (var part in module.modules())
        {
            switch (part)
            {
                case Linear linear:
                    Draw(linear.weight, linear.bias, generator);
                    break;
                case CheckedConv2d convolution:
                    Draw(convolution.Weight, convolution.Bias, generator);
                    break;
            }
        }
    }

    private static void Draw(Tensor weight, Tensor? bias, Generator generator)
    {
        using var scope = NewDisposeScope();
        var fanIn = weight.numel() / weight.shape[0];
        var bound = 1 / Math.Sqrt(fanIn);
        weight.uniform_(-bound, bound, generator);
        bias?.uniform_(-bound, bound, generator);
    }
}
