using static TorchSharp.torch;

namespace LoraNotebooks.Tensors;

/// <summary>Whether numbers are finite.</summary>
internal static class Finite
{
    /// <summary>
    /// Whether all numbers of a tensor are. The least and the greatest tell, which takes one pass and no memory: both are NaN where one number is.
    /// </summary>
    /// <param name="tensor">Of any type; whole numbers are always finite.</param>
    public static bool Is(Tensor tensor)
    {
        return Is(tensor, tensor.dtype);
    }

    /// <summary>Whether all numbers of a tensor are finite once they are of another type.</summary>
    /// <param name="tensor">Of any type; whole numbers are always finite.</param>
    /// <param name="dtype">The other type.</param>
    public static bool Is(Tensor tensor, ScalarType dtype)
    {
        if (!tensor.is_floating_point() || tensor.numel() == 0)
        {
            return true;
        }

        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        var (least, greatest) = tensor.detach().aminmax();
        return double.IsFinite(least.to(dtype).to(ScalarType.Float64).item<double>())
            && double.IsFinite(greatest.to(dtype).to(ScalarType.Float64).item<double>());
    }
}
