using System.Diagnostics;
using LoraNotebooks.Tensors.Convolutions;
using static TorchSharp.torch;

namespace Benchmarks.Step;

/// <summary>One piece of a network's heavy work, by shape; it can be done alone, in every way that is known here.</summary>
/// <param name="Kind">For grouping: 3×3, 1×1, linear or attention.</param>
/// <param name="Flops">The operations of a forward pass, a multiplication and an addition being two.</param>
/// <param name="Backward">Whether the gradient of its input is computed, too.</param>
internal abstract record Kernel(string Kind, double Flops, bool Backward)
{
    private const int LeastRuns = 3, MostRuns = 30;
    private const double LeastSeconds = 0.15;

    /// <summary>The operations, with those of the gradient: as many again, of attention one and a half times as many more.</summary>
    public double AllFlops => Flops * (!Backward ? 1 : this is AttentionKernel ? 3.5 : 2);

    /// <summary>The seconds that the fastest way takes, and which it is.</summary>
    public (double Seconds, string Way) Best(ScalarType type) =>
        Ways(type).Select(way => (Seconds: Seconds(way.Inputs, way.Compute), way.Name)).MinBy(static way => way.Seconds);

    /// <summary>The ways: name, the inputs as the way likes them laid out (the first takes the gradient), and what computes.</summary>
    protected abstract IEnumerable<(string Name, Func<Tensor[]> Inputs, Func<Tensor[], Tensor> Compute)> Ways(ScalarType type);

    /// <summary>An image [n, c, h, w] with the channels last in memory.</summary>
    protected static Tensor ChannelsLast(long n, long c, long h, long w, ScalarType type) => randn([n, h, w, c]).to(type).permute(0, 3, 1, 2);

    private double Seconds(Func<Tensor[]> create, Func<Tensor[], Tensor> compute)
    {
        using var scope = NewDisposeScope();
        var inputs = create();
        inputs = [.. inputs.Select((tensor, i) => tensor.detach().requires_grad_(Backward && i < Differentiated))];
        using var mode = Backward ? enable_grad() : (IDisposable)no_grad();
        var gradient = randn_like(Once(null)!);
        List<double> seconds = [];
        var whole = Stopwatch.StartNew();
        while (seconds.Count < LeastRuns || (whole.Elapsed.TotalSeconds < LeastSeconds && seconds.Count < MostRuns))
        {
            var clock = Stopwatch.StartNew();
            Once(gradient);
            seconds.Add(clock.Elapsed.TotalSeconds);
        }

        return StepBenchmark.Middle(seconds);

        Tensor? Once(Tensor? dy)
        {
            using var run = NewDisposeScope();
            var y = compute(inputs);
            if (dy is null)
            {
                return y.detach().MoveToOuterDisposeScope();
            }

            if (Backward)
            {
                autograd.grad([y], [.. inputs.Take(Differentiated)], [dy]);
            }

            return null;
        }
    }

    /// <summary>How many of the inputs, the first ones, take a gradient.</summary>
    private protected virtual int Differentiated => 1;
}

/// <summary>A convolution of one group.</summary>
internal sealed record ConvolutionKernel(long Images, long Inputs, long Height, long Width, long Outputs, long Size, long Stride, long Padding, bool Backward)
    : Kernel(
        $"{Size}×{Size}",
        2.0 * Images * Inputs * Outputs * Size * Size * (((Height + (2 * Padding) - Size) / Stride) + 1) * (((Width + (2 * Padding) - Size) / Stride) + 1),
        Backward)
{
    protected override IEnumerable<(string Name, Func<Tensor[]> Inputs, Func<Tensor[], Tensor> Compute)> Ways(ScalarType type)
    {
        yield return ("channels last", () => [ChannelsLast(Images, Inputs, Height, Width, type), ChannelsLast(Outputs, Inputs, Size, Size, type)], Convolve);
        yield return ("contiguous", () => [randn([Images, Inputs, Height, Width]).to(type), randn([Outputs, Inputs, Size, Size]).to(type)], Convolve);
        if (Size == 1 && Stride == 1)
        {
            yield return ("linear", () => [randn([Images * Height * Width, Inputs]).to(type), randn([Outputs, Inputs]).to(type)], static x => nn.functional.linear(x[0], x[1]));
        }
    }

    private Tensor Convolve(Tensor[] x) => CheckedConvolution.Apply(x[0], x[1], null, ConvolutionGeometry.Square(Stride, Padding));
}

/// <summary>A linear layer.</summary>
internal sealed record LinearKernel(long Rows, long Inputs, long Outputs, bool Backward) : Kernel("linear", 2.0 * Rows * Inputs * Outputs, Backward)
{
    protected override IEnumerable<(string Name, Func<Tensor[]> Inputs, Func<Tensor[], Tensor> Compute)> Ways(ScalarType type)
    {
        yield return ("product", () => [randn([Rows, Inputs]).to(type), randn([Outputs, Inputs]).to(type)], static x => nn.functional.linear(x[0], x[1]));
        yield return (
            "1×1 convolution",
            () => [ChannelsLast(1, Inputs, Rows, 1, type), ChannelsLast(Outputs, Inputs, 1, 1, type)],
            static x => CheckedConvolution.Apply(x[0], x[1], null, ConvolutionGeometry.Square()));
    }
}

/// <summary>softmax(QKᵀ/√d)·V, without the projections.</summary>
internal sealed record AttentionKernel(long Images, long Heads, long Tokens, long Context, long Dimension, bool Backward)
    : Kernel("attention", 4.0 * Images * Heads * Tokens * Context * Dimension, Backward)
{
    private protected override int Differentiated => 3;

    protected override IEnumerable<(string Name, Func<Tensor[]> Inputs, Func<Tensor[], Tensor> Compute)> Ways(ScalarType type)
    {
        yield return ("fused", () => [Head(Tokens), Head(Context), Head(Context)], static x => nn.functional.scaled_dot_product_attention(x[0], x[1], x[2]));
        yield return (
            "written out",
            () => [Head(Tokens), Head(Context), Head(Context)],
            x => x[0].flatten(0, 1).bmm((x[1].flatten(0, 1) * (1 / Math.Sqrt(Dimension))).transpose(1, 2)).softmax(-1).bmm(x[2].flatten(0, 1)));

        Tensor Head(long length) => randn([Images, Heads, length, Dimension]).to(type);
    }
}
