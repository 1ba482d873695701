using static TorchSharp.torch;

namespace LoraNotebooks.Tensors;

/// <summary>
/// A tensor in a formula: +, −, · and / compute what a <see cref="Tensor"/>'s own do, safely while another thread collects garbage
/// (TorchSharp's own may not, where a number takes part). Where a formula's tensors are declared as terms, it can stay as it is written in the paper.
/// </summary>
/// <remarks>A tensor becomes a term by itself; any other operation is one of the tensor: <c>Term y = x.Tensor.exp();</c>.</remarks>
/// <param name="Tensor">The tensor.</param>
public readonly record struct Term(Tensor Tensor)
{
    /// <summary>The tensor in a formula.</summary>
    public static implicit operator Term(Tensor tensor) => new(tensor);

    /// <summary>x + y.</summary>
    public static Term operator +(Term x, Term y) => x.Tensor.Plus(y.Tensor);

    /// <summary>x + n.</summary>
    public static Term operator +(Term x, Number n) => x.Tensor.Plus(n);

    /// <summary>n + x.</summary>
    public static Term operator +(Number n, Term x) => x.Tensor.Plus(n);

    /// <summary>x − y.</summary>
    public static Term operator -(Term x, Term y) => x.Tensor - y.Tensor;

    /// <summary>x − n.</summary>
    public static Term operator -(Term x, Number n) => x.Tensor.Minus(n);

    /// <summary>n − x.</summary>
    public static Term operator -(Number n, Term x) => x.Tensor.negative().Plus(n);

    /// <summary>x·y.</summary>
    public static Term operator *(Term x, Term y) => x.Tensor * y.Tensor;

    /// <summary>x·n.</summary>
    public static Term operator *(Term x, Number n) => x.Tensor.Times(n);

    /// <summary>n·x.</summary>
    public static Term operator *(Number n, Term x) => x.Tensor.Times(n);

    /// <summary>x/y.</summary>
    public static Term operator /(Term x, Term y) => x.Tensor / y.Tensor;

    /// <summary>x/n.</summary>
    public static Term operator /(Term x, Number n) => x.Tensor.Over(n);

    /// <summary>n/x.</summary>
    public static Term operator /(Number n, Term x) => x.Tensor.reciprocal().Times(n);
}
