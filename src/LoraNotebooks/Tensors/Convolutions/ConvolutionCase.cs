using System.Globalization;
using static TorchSharp.torch;

namespace LoraNotebooks.Tensors.Convolutions;

/// <summary>What libtorch's choice of kernel hangs on, apart from processor and library: sizes, layout, type, threads.</summary>
/// <param name="Type">The numbers' type.</param>
/// <param name="ChannelsLast">Whether images, or the kernel, have the channels last in memory; libtorch then takes kernels for that layout.</param>
/// <param name="Images">N.</param>
/// <param name="Inputs">The image's channels.</param>
/// <param name="Outputs">The output's channels.</param>
/// <param name="Size">(H, W) of the image in pixels.</param>
/// <param name="Kernel">(kh, kw) in taps.</param>
/// <param name="Geometry">How the kernel moves.</param>
/// <param name="Threads">The threads that libtorch computes with.</param>
internal readonly record struct ConvolutionCase(
    ScalarType Type,
    bool ChannelsLast,
    long Images,
    long Inputs,
    long Outputs,
    (long Height, long Width) Size,
    (long Height, long Width) Kernel,
    ConvolutionGeometry Geometry,
    int Threads)
{
    private const long Seed = 20260213;

    /// <summary>Of a square kernel on a square image of float32.</summary>
    public static ConvolutionCase Square(
        bool channelsLast,
        long images,
        long inputs,
        long outputs,
        long side,
        long kernel,
        long stride = 1,
        ScalarType type = ScalarType.Float32) =>
        new(type, channelsLast, images, inputs, outputs, (side, side), (kernel, kernel), ConvolutionGeometry.Square(stride, kernel / 2), get_num_threads());

    /// <summary>The case that a call is.</summary>
    public static ConvolutionCase Of(Tensor x, Tensor weight, ConvolutionGeometry geometry) => new(
        x.dtype,
        IsChannelsLast(x) || IsChannelsLast(weight),
        x.size(0),
        x.size(1),
        weight.size(0),
        (x.size(2), x.size(3)),
        (weight.size(2), weight.size(3)),
        geometry,
        get_num_threads());

    /// <summary>Whether all channels of each group fill whole blocks.</summary>
    public bool IsWhole => HasWholeBlocks(Inputs / Geometry.Groups, Outputs / Geometry.Groups);

    /// <summary>Whether the kernel has one tap, so that the convolution is a product of a matrix with the pixels.</summary>
    public bool IsPointwise => Kernel == (1, 1);

    /// <summary>Whether channels of a group fill whole blocks.</summary>
    public static bool HasWholeBlocks(long inputs, long outputs) => ConvolutionWays.Missing(inputs) == 0 && ConvolutionWays.Missing(outputs) == 0;

    /// <summary>An image and a kernel of standard normal numbers, the same at every call and laid out as the case says. The caller's scope owns them.</summary>
    public (Tensor X, Tensor Weight) Draw()
    {
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        using var generator = new Generator(Seed);
        var x = Lay(randn([Images, Inputs, Size.Height, Size.Width], generator: generator).to(Type));
        var weight = Lay(randn([Outputs, Inputs / Geometry.Groups, Kernel.Height, Kernel.Width], generator: generator).to(Type));
        return (x.MoveToOuterDisposeScope(), weight.MoveToOuterDisposeScope());
    }

    /// <summary>The output of a way, and the gradients of Σ g⊙y in the image and in the kernel for a fixed g. The caller's scope owns them.</summary>
    /// <param name="kernel">The way.</param>
    /// <param name="type">The type to compute in; default the case's own.</param>
    public (Tensor Output, Tensor OfImage, Tensor OfKernel) Run(ConvolutionKernel kernel, ScalarType? type = null)
    {
        using var scope = NewDisposeScope();
        using var gradient = enable_grad();
        var drawn = Draw();
        var x = drawn.X.to(type ?? Type).detach().requires_grad_(true);
        var weight = drawn.Weight.to(type ?? Type).detach().requires_grad_(true);
        var y = kernel(x, weight, null, Geometry);
        using var generator = new Generator(Seed + 1);
        y.backward([randn(y.shape, generator: generator).to(Type).to(y.dtype)]);
        return (y.detach().MoveToOuterDisposeScope(), x.grad!.MoveToOuterDisposeScope(), weight.grad!.MoveToOuterDisposeScope());
    }

    /// <summary>Short enough for one line, and unique: the key under which a verdict is kept.</summary>
    public override string ToString()
    {
        var g = Geometry;
        return string.Create(
                CultureInfo.InvariantCulture,
                $"{Type} {(ChannelsLast ? "channels last" : "contiguous")}, {Images}×{Inputs}×{Size.Height}×{Size.Width} → {Outputs}, ")
            + string.Create(
                CultureInfo.InvariantCulture,
                $"kernel {Kernel.Height}×{Kernel.Width}, stride {g.Stride.Y}×{g.Stride.X}, padding {g.Padding.Y}×{g.Padding.X}, ")
            + string.Create(CultureInfo.InvariantCulture, $"dilation {g.Dilation.Y}×{g.Dilation.X}, groups {g.Groups}, threads {Threads}");
    }

    private static bool IsChannelsLast(Tensor t) => t.size(1) > 1 && t.stride(1) == 1 && t.stride(3) == t.size(1);

    /// <summary>The same numbers with the channels last in memory, where the case has them there.</summary>
    private Tensor Lay(Tensor t) => ChannelsLast ? t.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2) : t;
}
