using static TorchSharp.torch;

namespace LoraNotebooks.Tensors;

/// <summary>
/// How far a computed tensor is from a right one. What is sought are kernels that compute something else, which are off by a third of the
/// largest value and more; what must pass is rounding in another order.
/// </summary>
internal static class Agreement
{
    /// <summary>The largest difference, as a part of the largest expected value; infinite where a number is not finite.</summary>
    public static double Error(Tensor actual, Tensor expected)
    {
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        var (a, e) = (actual.to(ScalarType.Float64), expected.to(ScalarType.Float64));
        if (e.numel() == 0)
        {
            return 0;
        }

        var scale = e.abs().max().item<double>();
        var error = (a - e).abs().max().item<double>();
        return !double.IsFinite(error) ? double.PositiveInfinity : scale == 0 ? error : error / scale;
    }

    /// <summary>The error up to which results of a type agree: far over rounding, far under a misplaced half block.</summary>
    public static double Limit(ScalarType type) => type switch
    {
        ScalarType.Float64 => 1e-9,
        ScalarType.Float32 => 1e-3,
        _ => 6e-2,
    };
}
