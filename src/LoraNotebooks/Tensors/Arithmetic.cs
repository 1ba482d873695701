using System.Runtime.CompilerServices;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Tensors;

/// <summary>
/// The operations that take a number: TorchSharp's own, to the bit, but safe while another thread collects garbage. An underscore at a name's
/// end means, as in torch, that the tensor itself is changed.
/// </summary>
/// <remarks>
/// TorchSharp 0.107 turns the number into an object whose finalizer frees the native scalar, and does not keep that object until libtorch has
/// read it. Here every scalar is held over its operation. That <c>a + b</c> of two tensors is among them is no mistake: it is a + 1·b.
/// <c>tests/LoraNotebooks.Tests/Tensors/ScalarTests.cs</c> finds the operations of TorchSharp's that must not be called instead.
/// Formulas of several operations read better with <see cref="Term"/>.
/// </remarks>
internal static class Arithmetic
{
    private static readonly Scalar Zero = 0;
    private static readonly Scalar One = 1;
    private static readonly Scalar Two = 2;

    /// <summary>x + y.</summary>
    public static Tensor Plus(this Tensor x, Tensor y) => x.add(y, One);

    /// <summary>x + k·y in one operation, with k as <paramref name="times"/>.</summary>
    public static Tensor Plus(this Tensor x, Tensor y, Number times)
    {
        using var held = times.Hold();
        return x.add(y, held);
    }

    /// <summary>x + n. A number could become a tensor too; that it is one takes precedence.</summary>
    [OverloadResolutionPriority(1)]
    public static Tensor Plus(this Tensor x, Number n)
    {
        using var held = n.Hold();
        return x.add(held, One);
    }

    /// <summary>x − n.</summary>
    public static Tensor Minus(this Tensor x, Number n)
    {
        using var held = n.Hold();
        return x.sub(held);
    }

    /// <summary>x·n.</summary>
    public static Tensor Times(this Tensor x, Number n)
    {
        using var held = n.Hold();
        return x.mul(held);
    }

    /// <summary>x/n.</summary>
    public static Tensor Over(this Tensor x, Number n)
    {
        using var held = n.Hold();
        return x.div(held);
    }

    /// <summary>x².</summary>
    public static Tensor Squared(this Tensor x) => x.pow(Two);

    /// <summary>xⁿ.</summary>
    public static Tensor ToThe(this Tensor x, Number n)
    {
        using var held = n.Hold();
        return x.pow(held);
    }

    /// <summary>x + y∘z.</summary>
    public static Tensor PlusProduct(this Tensor x, Tensor y, Tensor z) => x.addcmul(y, z, One);

    /// <summary>min(max(x, lowest), highest).</summary>
    public static Tensor Within(this Tensor x, Number lowest, Number highest)
    {
        using var low = lowest.Hold();
        using var high = highest.Hold();
        return x.clamp(low, high);
    }

    /// <summary>max(x, lowest).</summary>
    public static Tensor AtLeast(this Tensor x, Number lowest)
    {
        using var low = lowest.Hold();
        return x.clamp(min: low);
    }

    /// <summary>min(x, highest).</summary>
    public static Tensor AtMost(this Tensor x, Number highest)
    {
        using var high = highest.Hold();
        return x.clamp(max: high);
    }

    /// <summary>x = n, element by element.</summary>
    public static Tensor Is(this Tensor x, Number n)
    {
        using var held = n.Hold();
        return x.eq(held);
    }

    /// <summary>x ≠ n, element by element.</summary>
    public static Tensor IsNot(this Tensor x, Number n)
    {
        using var held = n.Hold();
        return x.ne(held);
    }

    /// <summary>x &lt; n, element by element.</summary>
    public static Tensor IsBelow(this Tensor x, Number n)
    {
        using var held = n.Hold();
        return x.lt(held);
    }

    /// <summary>x ← x + y.</summary>
    public static Tensor Plus_(this Tensor x, Tensor y) => x.add_(y, One);

    /// <summary>x ← x + k·y, with k as <paramref name="times"/>.</summary>
    public static Tensor Plus_(this Tensor x, Tensor y, Number times)
    {
        using var held = times.Hold();
        return x.add_(y, held);
    }

    /// <summary>x ← x + n.</summary>
    [OverloadResolutionPriority(1)]
    public static Tensor Plus_(this Tensor x, Number n)
    {
        using var held = n.Hold();
        return x.add_(held, One);
    }

    /// <summary>x ← x − n.</summary>
    public static Tensor Minus_(this Tensor x, Number n)
    {
        using var held = n.Hold();
        return x.sub_(held);
    }

    /// <summary>x ← x·n.</summary>
    public static Tensor Times_(this Tensor x, Number n)
    {
        using var held = n.Hold();
        return x.mul_(held);
    }

    /// <summary>x ← x/n.</summary>
    public static Tensor Over_(this Tensor x, Number n)
    {
        using var held = n.Hold();
        return x.div_(held);
    }

    /// <summary>x ← x + k·y∘z.</summary>
    public static Tensor PlusProduct_(this Tensor x, Tensor y, Tensor z, Number k)
    {
        using var held = k.Hold();
        return x.addcmul_(y, z, held);
    }

    /// <summary>x ← x + k·y/z.</summary>
    public static Tensor PlusQuotient_(this Tensor x, Tensor y, Tensor z, Number k)
    {
        using var held = k.Hold();
        return x.addcdiv_(y, z, held);
    }

    /// <summary>0, 1, …, up to but without <paramref name="end"/>; torch's <c>arange</c>.</summary>
    public static Tensor Range(Number end, ScalarType? dtype = null, Device? device = null)
    {
        using var held = end.Hold();
        return arange(Zero, held, One, dtype, device);
    }

    /// <summary>Start, start + 1, …, up to but without <paramref name="end"/>; torch's <c>arange</c>.</summary>
    public static Tensor Range(Number start, Number end, ScalarType? dtype = null, Device? device = null)
    {
        using var first = start.Hold();
        using var held = end.Hold();
        return arange(first, held, One, dtype, device);
    }

    /// <summary>A tensor of one number everywhere; torch's <c>full</c>.</summary>
    public static Tensor Full(long[] size, Number n, ScalarType dtype, Device? device = null)
    {
        using var held = n.Hold();
        return full(size, held, dtype, device);
    }

    /// <summary>A tensor of another's shape, type and device, of one number everywhere; torch's <c>full_like</c>.</summary>
    public static Tensor FullLike(Tensor x, Number n)
    {
        using var held = n.Hold();
        return full_like(x, held);
    }
}
