using System.Globalization;
using LoraNotebooks.Tensors.Convolutions;
using LoraNotebooks.Tensors.Kernels;
using TorchSharp;

namespace LoraNotebooks.Tensors;

/// <summary>
/// What numbers were computed on: the same program gives others, in their last digits, on another processor, with another libtorch or number of threads.
/// </summary>
public sealed record Machine
{
    /// <summary>The processor.</summary>
    public required Processor Processor { get; init; }

    /// <summary>libtorch's version, that which TorchSharp was built with; null where it was not in use.</summary>
    public string? LibTorch { get; init; }

    /// <summary>How many threads libtorch shares an operation among; null where it was not in use.</summary>
    public int? Threads { get; init; }

    /// <summary>
    /// Which kernels libtorch was told to use, see <see cref="CheckedConvolution.Describe"/> and <see cref="KernelChoices.Describe"/>; null where it was
    /// not in use.
    /// </summary>
    public string? Kernels { get; init; }

    /// <summary>This machine as it is set now.</summary>
    /// <param name="loadLibTorch">Whether libtorch is loaded to ask it; otherwise it is told of only where it is loaded already. Default yes.</param>
    /// <exception cref="DllNotFoundException">libtorch is to be loaded and cannot be found.</exception>
    public static Machine Here(bool loadLibTorch = true)
    {
        var machine = new Machine { Processor = Processor.Current };
        return loadLibTorch || NativeRuntime.IsLoaded
            ? machine with
            {
                LibTorch = Version.Parse(torch.__version__).ToString(fieldCount: 3),
                Threads = torch.get_num_threads(),
                Kernels = string.Join(", ", new[] { CheckedConvolution.Describe(), KernelChoices.Describe() }.Where(static part => part.Length > 0)),
            }
            : machine;
    }

    /// <summary>
    /// This machine in one line, to stand beside numbers, e.g. <c>AMD EPYC (family 26, model 2, stepping 1), 1 thread, libtorch 2.10.0, kernels: default</c>.
    /// </summary>
    /// <exception cref="DllNotFoundException">libtorch cannot be found.</exception>
    public static string Describe() => Here().ToString();

    /// <inheritdoc/>
    public override string ToString() => LibTorch is null
        ? $"{Processor}"
        : string.Create(CultureInfo.InvariantCulture, $"{Processor}, {Threads} thread{(Threads == 1 ? "" : "s")}, libtorch {LibTorch}, kernels: {Kernels}");
}
