using static TorchSharp.torch;

namespace LoraNotebooks.Tensors.Convolutions;

/// <summary>Ways to compute a convolution. In exact arithmetic all are equal, and so are their gradients.</summary>
public enum ConvolutionWay
{
    /// <summary>libtorch's own choice of kernel.</summary>
    Native,

    /// <summary>
    /// libtorch's kernel on channels that zeros fill up to whole blocks of 16. The kernels that are wrong on some processors misplace what
    /// lies in a block's unused half; whole blocks they compute right.
    /// </summary>
    Padded,

    /// <summary>A matrix product of the kernel with the image's patches: no convolution kernel takes part.</summary>
    Product,
}

/// <summary>y = W ∗ x by each <see cref="ConvolutionWay"/>, differentiable in x and W.</summary>
internal static class ConvolutionWays
{
    /// <summary>The channels of one block of oneDNN's blocked layouts with 512-bit vectors; with shorter vectors it is a part of this.</summary>
    public const long Block = 16;

    /// <summary>libtorch's convolution.</summary>
    /// <param name="x">Images, [N, in, H, W].</param>
    /// <param name="weight">W, [out, in/groups, kh, kw].</param>
    /// <param name="bias">b, [out], or none.</param>
    /// <param name="geometry">How the kernel moves.</param>
    /// <returns>[N, out, H', W'].</returns>
    public static Tensor Native(Tensor x, Tensor weight, Tensor? bias, ConvolutionGeometry geometry) => nn.functional.conv2d(
        x,
        weight,
        bias,
        [geometry.Stride.Y, geometry.Stride.X],
        [geometry.Padding.Y, geometry.Padding.X],
        [geometry.Dilation.Y, geometry.Dilation.X],
        geometry.Groups);

    /// <summary>Zeros as further channels of x, and as further inputs and outputs of W; the outputs that they made are cut off again.</summary>
    /// <param name="native">libtorch's convolution.</param>
    /// <param name="x">Images, [N, in, H, W].</param>
    /// <param name="weight">W, [out, in, kh, kw], of one group.</param>
    /// <param name="geometry">How the kernel moves.</param>
    public static Tensor Padded(ConvolutionKernel native, Tensor x, Tensor weight, ConvolutionGeometry geometry)
    {
        using var scope = NewDisposeScope();
        var (outputs, inputs) = (weight.size(0), weight.size(1));
        var (missingOutputs, missingInputs) = (Missing(outputs), Missing(inputs));
        if (missingInputs > 0)
        {
            x = nn.functional.pad(x, [0, 0, 0, 0, 0, missingInputs]);
        }

        var y = native(x, nn.functional.pad(weight, [0, 0, 0, 0, 0, missingInputs, 0, missingOutputs]), null, geometry);
        return (missingOutputs > 0 ? y.narrow(1, 0, outputs) : y).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Each group's kernel as a matrix [out/g, in/g·kh·kw], times the patches of the image that it meets, one column for each place.
    /// Where a kernel has one tap, a patch is a pixel.
    /// </summary>
    /// <param name="x">Images, [N, in, H, W].</param>
    /// <param name="weight">W, [out, in/groups, kh, kw].</param>
    /// <param name="geometry">How the kernel moves.</param>
    public static Tensor Product(Tensor x, Tensor weight, ConvolutionGeometry geometry)
    {
        using var scope = NewDisposeScope();
        var (kernelHeight, kernelWidth) = (weight.size(2), weight.size(3));
        var (height, width) = geometry.OutputSize(x.size(2), x.size(3), kernelHeight, kernelWidth);
        var (images, outputs, groups) = (x.size(0), weight.size(0), geometry.Groups);
        if (kernelHeight == 1 && kernelWidth == 1 && geometry.Padding == (0, 0))
        {
            var pixels = geometry.Stride == (1, 1) ? x : x[.., .., TensorIndex.Slice(step: geometry.Stride.Y), TensorIndex.Slice(step: geometry.Stride.X)];
            if (groups == 1)
            {
                // Pixels as rows: with the channels last in memory this is a view, and so is the way back.
                return nn.functional.linear(pixels.permute(0, 2, 3, 1), weight.view(outputs, -1)).permute(0, 3, 1, 2).MoveToOuterDisposeScope();
            }

            return Grouped(pixels.reshape(images, groups, -1, height * width));
        }

        var patches = nn.functional.unfold(
            x,
            (kernelHeight, kernelWidth),
            geometry.Dilation,
            geometry.Padding,
            geometry.Stride);
        return Grouped(patches.view(images, groups, -1, height * width));

        Tensor Grouped(Tensor columns) =>
            weight.reshape(groups, outputs / groups, -1).matmul(columns).reshape(images, outputs, height, width).MoveToOuterDisposeScope();
    }

    /// <summary>How many channels are missing to whole blocks.</summary>
    /// <param name="channels">The number of channels.</param>
    public static long Missing(long channels) => (Block - (channels % Block)) % Block;
}

/// <summary>A convolution W ∗ x + b.</summary>
/// <param name="x">Images, [N, in, H, W].</param>
/// <param name="weight">W, [out, in/groups, kh, kw].</param>
/// <param name="bias">b, [out], or none.</param>
/// <param name="geometry">How the kernel moves.</param>
/// <returns>[N, out, H', W'].</returns>
internal delegate Tensor ConvolutionKernel(Tensor x, Tensor weight, Tensor? bias, ConvolutionGeometry geometry);
