using static TorchSharp.torch;

namespace LoraNotebooks.Tensors.Convolutions;

/// <summary>Which convolutions must be looked at one by one before libtorch's kernels are trusted with them.</summary>
internal enum Suspicion
{
    /// <summary>None: all samples were right.</summary>
    None,

    /// <summary>Those with channels that do not fill whole blocks, and those of one tap, whatever their channels.</summary>
    PartialBlocksAndPoints,

    /// <summary>All.</summary>
    All,
}

/// <summary>What the self-check found.</summary>
/// <param name="Samples">How many convolutions were computed, forward and backward.</param>
/// <param name="Wrong">The wrong ones: the case, which of output and gradients is off, and by how much of the largest value.</param>
/// <param name="Suspicion">What follows.</param>
internal sealed record ConvolutionFindings(int Samples, IReadOnlyList<string> Wrong, Suspicion Suspicion);

/// <summary>
/// Computes small convolutions of the kinds that libtorch's kernels are known to get wrong on some processors, forward and both gradients, and
/// compares them with float64. A wrong kernel is wrong at every run and for all values, so a few samples tell.
/// </summary>
/// <remarks>
/// Found with libtorch 2.10.0 (oneDNN 3.7.1) on some virtual machines with AMD's Zen 5: of 11,616 shapes 665 wrong with 512-bit vectors, 440
/// with AVX2, 352 with AVX, none with SSE 4.1. What goes wrong is the reordering of a tensor whose last block of channels is half full. There, with two
/// threads, some convolutions of one tap with the channels last are wrong in 16 or 32 of their outputs as well, however whole their blocks: Stable
/// Diffusion's shortcut from 640 to 1,280 channels at 16×16 pixels for two images, from 1,920 at 12×12 for one. Of the 3×3 ones with whole blocks none was.
/// </remarks>
internal static class ConvolutionCheck
{
    /// <summary>
    /// The samples: partly filled blocks of 16 and of 8 in both layouts, as inputs and as outputs, whole blocks, and many outputs of one tap.
    /// </summary>
    public static IEnumerable<ConvolutionCase> Samples()
    {
        yield return ConvolutionCase.Square(false, images: 2, inputs: 24, outputs: 24, side: 4, kernel: 3);
        yield return ConvolutionCase.Square(false, images: 2, inputs: 40, outputs: 16, side: 4, kernel: 3, stride: 2);
        yield return ConvolutionCase.Square(false, images: 2, inputs: 16, outputs: 8, side: 4, kernel: 3);
        yield return ConvolutionCase.Square(false, images: 2, inputs: 12, outputs: 20, side: 4, kernel: 3);
        yield return ConvolutionCase.Square(false, images: 2, inputs: 4, outputs: 4, side: 8, kernel: 3);
        yield return ConvolutionCase.Square(false, images: 2, inputs: 3, outputs: 16, side: 8, kernel: 3);
        yield return ConvolutionCase.Square(false, images: 1, inputs: 24, outputs: 24, side: 32, kernel: 3);
        yield return ConvolutionCase.Square(false, images: 2, inputs: 24, outputs: 40, side: 4, kernel: 1);
        yield return ConvolutionCase.Square(true, images: 2, inputs: 24, outputs: 24, side: 4, kernel: 3);
        yield return ConvolutionCase.Square(true, images: 2, inputs: 24, outputs: 40, side: 4, kernel: 1, stride: 2);
        yield return ConvolutionCase.Square(true, images: 2, inputs: 12, outputs: 20, side: 4, kernel: 3);
        yield return ConvolutionCase.Square(true, images: 2, inputs: 24, outputs: 4, side: 4, kernel: 1);
        yield return ConvolutionCase.Square(false, images: 2, inputs: 16, outputs: 32, side: 4, kernel: 3);
        yield return ConvolutionCase.Square(false, images: 2, inputs: 32, outputs: 16, side: 4, kernel: 1);
        yield return ConvolutionCase.Square(true, images: 2, inputs: 16, outputs: 32, side: 4, kernel: 3);
        yield return ConvolutionCase.Square(true, images: 2, inputs: 32, outputs: 16, side: 4, kernel: 3, stride: 2);
        yield return ConvolutionCase.Square(true, images: 2, inputs: 32, outputs: 32, side: 4, kernel: 1);
        yield return ConvolutionCase.Square(true, images: 2, inputs: 64, outputs: 1280, side: 16, kernel: 1);
        yield return ConvolutionCase.Square(true, images: 2, inputs: 24, outputs: 24, side: 4, kernel: 3, type: ScalarType.BFloat16);
        yield return ConvolutionCase.Square(false, images: 2, inputs: 24, outputs: 16, side: 4, kernel: 3, type: ScalarType.BFloat16);
    }

    /// <summary>Whether a case is of the kinds that are looked at where anything is wrong at all.</summary>
    /// <param name="of">The case.</param>
    public static bool IsLikely(ConvolutionCase of) => !of.IsWhole || of.IsPointwise;

    /// <summary>Computes all samples.</summary>
    /// <param name="native">libtorch's convolution, or what stands in for it.</param>
    public static ConvolutionFindings Run(ConvolutionKernel native)
    {
        List<ConvolutionCase> samples = [.. Samples()];
        List<(ConvolutionCase Sample, string? Fault)> wrong =
            [.. samples.Select(sample => (sample, Fault(sample, native))).Where(static found => found.Item2 is not null)];
        return new ConvolutionFindings(
            samples.Count,
            [.. wrong.Select(static found => $"{found.Sample}: {found.Fault}")],
            wrong.Count == 0 ? Suspicion.None
                : wrong.TrueForAll(static found => IsLikely(found.Sample)) ? Suspicion.PartialBlocksAndPoints
                : Suspicion.All);
    }

    /// <summary>What is wrong with a case, against float64; <see langword="null"/> if nothing is.</summary>
    /// <param name="sample">The case.</param>
    /// <param name="way">How it is computed.</param>
    public static string? Fault(ConvolutionCase sample, ConvolutionKernel way)
    {
        using var scope = NewDisposeScope();

        // libtorch has one kernel for float64, a matrix product.
        return Difference(sample.Run(way), sample.Run(ConvolutionWays.Native, ScalarType.Float64), Agreement.Limit(sample.Type));
    }

    /// <summary>Which of output and gradients differ, and by how much; <see langword="null"/> if none does.</summary>
    public static string? Difference(
        (Tensor Output, Tensor OfImage, Tensor OfKernel) actual,
        (Tensor Output, Tensor OfImage, Tensor OfKernel) expected,
        double limit)
    {
        (string Name, double Error)[] errors =
        [
            ("output", Agreement.Error(actual.Output, expected.Output)),
            ("gradient of the image", Agreement.Error(actual.OfImage, expected.OfImage)),
            ("gradient of the kernel", Agreement.Error(actual.OfKernel, expected.OfKernel)),
        ];
        string[] faults =
        [
            .. errors
                .Where(part => part.Error > limit)
                .Select(static part => part.Error < double.PositiveInfinity
                    ? FormattableString.Invariant($"{part.Name} off by {part.Error:0.0%}")
                    : $"{part.Name} not finite"),
        ];
        return faults.Length > 0 ? string.Join(", ", faults) : null;
    }
}
