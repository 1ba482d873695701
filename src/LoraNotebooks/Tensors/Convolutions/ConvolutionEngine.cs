using System.Collections.Concurrent;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Tensors.Convolutions;

/// <summary>
/// Computes convolutions, each by a way that is right on this processor. Where the self-check finds nothing wrong, that is libtorch's own for
/// all, and nothing is spent. Else each case that is under suspicion is computed by two ways once, and where they differ, the fault is gone
/// around; the verdict is kept, so that a machine always computes a case alike.
/// </summary>
/// <param name="native">libtorch's convolution; tests put a wrong one in its place.</param>
/// <param name="store">Where findings and verdicts are kept.</param>
/// <param name="forced">A way to take for all cases, whatever the check says; default none.</param>
/// <param name="tell">Told once, in one line, if something is wrong.</param>
internal sealed class ConvolutionEngine(ConvolutionKernel native, ConvolutionVerdicts store, ConvolutionWay? forced, Action<string> tell)
{
    /// <summary>Half of the vectors of AVX2, in numbers of float32.</summary>
    private const long SmallBlock = 8;

    private readonly ConcurrentDictionary<ConvolutionCase, ConvolutionWay> _ways = new();
    private readonly Lock _gate = new();
    private volatile ConvolutionFindings? _findings;

    /// <summary>Tells the user something, in one line.</summary>
    public Action<string> Tell => tell;

    /// <summary>The way that a switch forces, if any.</summary>
    public ConvolutionWay? Forced => forced;

    /// <summary>What the self-check found; it runs at the first question, unless this machine's result is kept.</summary>
    public ConvolutionFindings Findings => _findings ?? Check();

    /// <summary>The cases that this process computes another way than libtorch's, and which.</summary>
    public IReadOnlyDictionary<ConvolutionCase, ConvolutionWay> GoneAround => _ways.Where(static pair => pair.Value != ConvolutionWay.Native).ToDictionary();

    /// <summary>y = W ∗ x + b.</summary>
    /// <param name="x">Images, [N, in, H, W].</param>
    /// <param name="weight">W, [out, in/groups, kh, kw].</param>
    /// <param name="bias">b, [out], or none.</param>
    /// <param name="geometry">How the kernel moves.</param>
    /// <returns>[N, out, H', W'].</returns>
    public Tensor Apply(Tensor x, Tensor weight, Tensor? bias, ConvolutionGeometry geometry)
    {
        var way = Way(x, weight, geometry);
        return way == ConvolutionWay.Native ? native(x, weight, bias, geometry) : WithBias(Compute(way, x, weight, geometry), bias);
    }

    /// <summary>The way of a case, as <see cref="Apply"/> takes it.</summary>
    public ConvolutionWay Way(ConvolutionCase of) => forced switch
    {
        ConvolutionWay.Padded => of.IsWhole ? ConvolutionWay.Native : of.Geometry.Groups > 1 ? ConvolutionWay.Product : ConvolutionWay.Padded,
        { } way => way,
        null when Findings.Suspicion == Suspicion.All || (Findings.Suspicion == Suspicion.PartialBlocksAndPoints && ConvolutionCheck.IsLikely(of)) =>
            _ways.GetOrAdd(of, Decide),
        _ => ConvolutionWay.Native,
    };

    private ConvolutionWay Way(Tensor x, Tensor weight, ConvolutionGeometry geometry)
    {
        if (x.device_type != DeviceType.CPU)
        {
            return ConvolutionWay.Native;
        }

        if (geometry.Stride != (1, 1) && x.requires_grad && WritesBeyondItsMemory(ConvolutionCase.Of(x, weight, geometry)))
        {
            return ConvolutionWay.Product;
        }

        return forced is null && Findings.Suspicion == Suspicion.None ? ConvolutionWay.Native : Way(ConvolutionCase.Of(x, weight, geometry));
    }

    /// <summary>
    /// With AVX2 alone, oneDNN 3.7.1 writes the gradient of an image in whole vectors of eight channels, where the kernel has one tap and a
    /// stride and the channels are last: past the end of the memory if there are fewer. That ends the process, now or later, so it is never
    /// tried. Seen with 3 and 4 channels and 2 images.
    /// </summary>
    public static bool WritesBeyondItsMemory(ConvolutionCase of) =>
        of.Geometry.Stride != (1, 1) && of.Kernel == (1, 1) && of.Geometry.Padding == (0, 0) && of.Inputs % SmallBlock != 0;

    private Tensor Compute(ConvolutionWay way, Tensor x, Tensor weight, ConvolutionGeometry geometry) => way switch
    {
        ConvolutionWay.Padded => ConvolutionWays.Padded(native, x, weight, geometry),
        ConvolutionWay.Product => ConvolutionWays.Product(x, weight, geometry),
        _ => native(x, weight, null, geometry),
    };

    private static Tensor WithBias(Tensor y, Tensor? bias)
    {
        if (bias is null)
        {
            return y;
        }

        using var unbiased = y;
        return unbiased.Plus(bias.view(1, -1, 1, 1));
    }

    private ConvolutionFindings Check()
    {
        lock (_gate)
        {
            if (_findings is null)
            {
                var found = store.Findings ?? ConvolutionCheck.Run(native);
                store.Keep(found);
                if (found.Wrong.Count > 0 && forced is null)
                {
                    tell(
                        $"libtorch computes {found.Wrong.Count} of {found.Samples} sample convolutions wrong on this processor; "
                            + "they and their like are computed another way, so results are right ('lora-notebooks doctor' tells more).");
                }

                _findings = found;
            }

            return _findings;
        }
    }

    /// <summary>
    /// libtorch's way if it agrees with the padded one, else the padded one if it agrees with the product, else the product, which no convolution
    /// kernel takes part in. In this order because it is the order of their speed: side by side (tests/Benchmarks, case convolutions), the padded
    /// way takes 0.9 to 1.2 times as long as libtorch's own, the product 0.7 to 4.3 times. A convolution of one tap is compared with the product at
    /// once, which costs no more there, and whose kernels also a channel-padded one could share.
    /// </summary>
    private ConvolutionWay Decide(ConvolutionCase of)
    {
        if (store.Find(of) is { } kept)
        {
            return kept;
        }

        using var scope = NewDisposeScope();
        var limit = Agreement.Limit(of.Type);
        var product = new Lazy<(Tensor, Tensor, Tensor)>(() => of.Run((x, weight, _, geometry) => ConvolutionWays.Product(x, weight, geometry)));
        var canPad = of.Geometry.Groups == 1 && !of.IsWhole && Findings.Suspicion == Suspicion.PartialBlocksAndPoints;
        var padded = new Lazy<(Tensor, Tensor, Tensor)>(() => of.Run((x, weight, _, geometry) => ConvolutionWays.Padded(native, x, weight, geometry)));
        var second = canPad && !of.IsPointwise ? padded.Value : product.Value;
        var way = ConvolutionCheck.Difference(of.Run(native), second, limit) is null ? ConvolutionWay.Native
            : canPad && ConvolutionCheck.Difference(padded.Value, product.Value, limit) is null ? ConvolutionWay.Padded
            : ConvolutionWay.Product;
        store.Keep(of, way);
        return way;
    }
}
