using TorchSharp.Modules;
using static TorchSharp.torch;

namespace LoraNotebooks.Tensors.Convolutions;

/// <summary>
/// A layer y = W ∗ x + b like TorchSharp's <see cref="Conv2d"/>, with the same names of parameters, that is computed by <see cref="CheckedConvolution"/> and so
/// is right also where libtorch's kernels are not.
/// </summary>
public sealed class CheckedConv2d : WeightedLayer
{
    private Parameter weight;
    private Parameter bias;

    /// <summary>Creates the layer with W, b ~ U(−1/√n, 1/√n), n being the numbers that one output is made of, as PyTorch does.</summary>
    /// <param name="inChannels">The image's channels.</param>
    /// <param name="outChannels">The output's channels.</param>
    /// <param name="kernelSize">The taps of the kernel on each side.</param>
    /// <param name="geometry">How the kernel moves.</param>
    /// <param name="device">The device, default the CPU.</param>
    public CheckedConv2d(long inChannels, long outChannels, long kernelSize, ConvolutionGeometry geometry, Device? device = null)
        : base("Conv2d")
    {
        using var scope = NewDisposeScope();
        Geometry = geometry;
        var bound = 1 / Math.Sqrt(inChannels / geometry.Groups * kernelSize * kernelSize);
        weight = new Parameter(empty([outChannels, inChannels / geometry.Groups, kernelSize, kernelSize], device: device).uniform_(-bound, bound));
        bias = new Parameter(empty(outChannels, device: device).uniform_(-bound, bound));
        RegisterComponents();
        weight.DetachFromDisposeScope();
        bias.DetachFromDisposeScope();
    }

    /// <summary>How the kernel moves.</summary>
    public ConvolutionGeometry Geometry { get; }

    /// <summary>W, [out, in/groups, kh, kw]. Another one takes the place of the former, which is freed.</summary>
    public Parameter Weight
    {
        get => weight;
        set => Replace(nameof(weight), ref weight, value);
    }

    /// <summary>b, [out]. Another one takes the place of the former, which is freed.</summary>
    public Parameter Bias
    {
        get => bias;
        set => Replace(nameof(bias), ref bias, value);
    }

    /// <summary>y = W ∗ x + b.</summary>
    /// <param name="x">Images, [N, in, H, W].</param>
    /// <returns>[N, out, H', W'].</returns>
    public override Tensor forward(Tensor x) => CheckedConvolution.Apply(x, weight, bias, Geometry);
}
