using LoraNotebooks.Tensors;
using LoraNotebooks.Tensors.Convolutions;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace LoraNotebooks.Models;

/// <summary>
/// The layers that all models here are made of. Inside <see cref="WithoutMemory"/> they have shapes and no memory, so that a model whose
/// weights come from a file is not first filled with random numbers, which would take as much memory again and longer than reading.
/// </summary>
internal static class Layers
{
    /// <summary>Per thread, so that models built elsewhere at the same time are not concerned.</summary>
    [ThreadStatic]
    private static bool s_isWithoutMemory;

    private static Device? Place => s_isWithoutMemory ? META : null;

    /// <summary>Builds a model of layers that have no memory; every parameter must be replaced before it can run.</summary>
    /// <typeparam name="T">The model's class.</typeparam>
    /// <param name="create">Builds it.</param>
    public static T WithoutMemory<T>(Func<T> create)
    {
        var before = s_isWithoutMemory;
        s_isWithoutMemory = true;
        try
        {
            return create();
        }
        finally
        {
            s_isWithoutMemory = before;
        }
    }

    /// <summary>y = W·x + b.</summary>
    public static nn.Module<Tensor, Tensor> Linear(long inFeatures, long outFeatures, bool hasBias = true) =>
        nn.Linear(inFeatures, outFeatures, hasBias, Place);

    /// <summary>y = x·W + b with W kept as [in, out].</summary>
    public static nn.Module<Tensor, Tensor> TransposedLinear(long inFeatures, long outFeatures) => new TransposedLinear(inFeatures, outFeatures, Place);

    /// <summary>A convolution over height and width, right on every processor.</summary>
    public static nn.Module<Tensor, Tensor> Conv2d(long inChannels, long outChannels, long kernel_size, long stride = 1, long padding = 0) =>
        new CheckedConv2d(inChannels, outChannels, kernel_size, ConvolutionGeometry.Square(stride, padding), Place);

    /// <summary>Layer norm over the last dimension.</summary>
    public static nn.Module<Tensor, Tensor> LayerNorm(long size, double epsilon = 1e-5) => nn.LayerNorm(size, epsilon, device: Place);

    /// <summary>Root-mean-square norm over the last dimension.</summary>
    public static nn.Module<Tensor, Tensor> RmsNorm(long size, double epsilon) => new RmsNorm(size, epsilon, Place);

    /// <summary>Group norm with weight 1 and bias 0. TorchSharp 0.107 allocates both and leaves in them whatever the memory held.</summary>
    /// <param name="groups">The number of groups.</param>
    /// <param name="channels">The number of channels.</param>
    /// <param name="epsilon">ε under the root.</param>
    public static nn.Module<Tensor, Tensor> GroupNorm(int groups, int channels, double epsilon)
    {
        var norm = nn.GroupNorm(groups, channels, epsilon, device: Place);
        nn.init.ones_(norm.weight!);
        nn.init.zeros_(norm.bias!);
        return norm;
    }

    /// <summary>A table of vectors. TorchSharp 0.107 always allocates one of its own, unless it is handed a table, which it then shares.</summary>
    public static nn.Module<Tensor, Tensor> Embedding(long count, long size)
    {
        if (!s_isWithoutMemory)
        {
            // Else a scope around would take the registered table along when it ends, and leave the layer one that nobody can ask for.
            var embedding = nn.Embedding(count, size);
            Table(embedding).DetachFromDisposeScope();
            return embedding;
        }

        using var table = empty(count, size, device: META);
        return nn.Embedding_from_pretrained(table, freeze: false);
    }

    /// <summary>The table of an <see cref="Embedding"/>. The layer's own property makes a new handle at each question, which nobody frees.</summary>
    public static Tensor Table(nn.Module<Tensor, Tensor> embedding) => embedding.get_parameter("weight")!;

    /// <summary>
    /// Lays a network's convolution kernels out with the channels last in memory; shapes, values and names stay, and so do the layout's strides
    /// where there is no memory yet. Convolutions then give their outputs that layout, too, which a CPU's kernels like better (0.74 times as long
    /// a prediction at Stable Diffusion's size), and pixels become tokens without a copy.
    /// </summary>
    /// <param name="network">The network. An autoencoder is better left as it is: in this layout its images are three times as far from upstream's.</param>
    public static void ChannelsLast(nn.Module network)
    {
        foreach (var convolution in network.modules().OfType<CheckedConv2d>())
        {
            var old = convolution.Weight;
            convolution.Weight = new Parameter(ChannelsLast(old), old.requires_grad);
        }
    }

    /// <summary>
    /// A copy of a kernel [out, in, h, w] with the channels last in memory. No view of another tensor: in-place changes of such are not recorded.
    /// </summary>
    public static Tensor ChannelsLast(Tensor kernel)
    {
        using var noGradient = no_grad();
        var (channels, height, width) = (kernel.size(1), kernel.size(2), kernel.size(3));
        var copy = empty_strided(kernel.shape, [height * width * channels, 1, width * channels, channels], kernel.dtype, kernel.device)
            .DetachFromDisposeScope();
        copy.copy_(kernel);
        return copy;
    }

    /// <summary>Whether a kernel's channels are last in memory.</summary>
    public static bool IsChannelsLast(Tensor kernel) => kernel.dim() == 4 && kernel.stride(1) == 1 && kernel.stride(3) == kernel.size(1);
}
