namespace LoraNotebooks.Tensors.Convolutions;

/// <summary>How a two-dimensional kernel moves over an image; each pair is (vertical, horizontal).</summary>
/// <param name="Stride">Pixels between two places of the kernel.</param>
/// <param name="Padding">Rows and columns of zeros on each side of the image.</param>
/// <param name="Dilation">Pixels between two taps of the kernel.</param>
/// <param name="Groups">Into how many separate parts the channels are split.</param>
public readonly record struct ConvolutionGeometry((long Y, long X) Stride, (long Y, long X) Padding, (long Y, long X) Dilation, long Groups)
{
    /// <summary>A kernel that moves alike in both directions.</summary>
    /// <param name="stride">Pixels between two places of the kernel.</param>
    /// <param name="padding">Rows and columns of zeros on each side of the image.</param>
    public static ConvolutionGeometry Square(long stride = 1, long padding = 0) => new((stride, stride), (padding, padding), (1, 1), 1);

    /// <summary>The size of an output: ⌊(n + 2p − d·(k − 1) − 1)/s⌋ + 1.</summary>
    /// <param name="height">Rows of the image.</param>
    /// <param name="width">Columns of the image.</param>
    /// <param name="kernelHeight">Rows of the kernel.</param>
    /// <param name="kernelWidth">Columns of the kernel.</param>
    public (long Height, long Width) OutputSize(long height, long width, long kernelHeight, long kernelWidth) => (
        ((height + (2 * Padding.Y) - (Dilation.Y * (kernelHeight - 1)) - 1) / Stride.Y) + 1,
        ((width + (2 * Padding.X) - (Dilation.X * (kernelWidth - 1)) - 1) / Stride.X) + 1);
}
