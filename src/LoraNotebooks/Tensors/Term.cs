using static TorchSharp.torch;

namespace LoraNotebooks.Tensors;

/// <summary>
/// A tensor in a formula: +, −, · and / compute what a <see cref="Tensor"/>'s own do, safely while another thread collects garbage
/// (<see cref="Arithmetic"/>). Where a formula's tensors are declared as terms, it can stay as it is written in the paper.
/// </summary>
/// <param name="Tensor">The tensor.</param>
internal readonly record struct Term(Tensor Tensor)
{
    public static implicit operator Term(Tensor tensor) => new(tensor);

    public static Term operator +(Term x, Term y) => x.Tensor.Plus(y.Tensor);

    public static Term operator +(Term x, Number n) => x.Tensor.Plus(n);

    public static Term operator +(Number n, Term x) => x.Tensor.Plus(n);

    public static Term operator -(Term x, Term y) => x.Tensor - y.Tensor;

    public static Term operator -(Term x, Number n) => x.Tensor.Minus(n);

    public static Term operator -(Number n, Term x) => x.Tensor.negative().Plus(n);

    public static Term operator *(Term x, Term y) => x.Tensor * y.Tensor;

    public static Term operator *(Term x, Number n) => x.Tensor.Times(n);

    public static Term operator *(Number n, Term x) => x.Tensor.Times(n);

    public static Term operator /(Term x, Term y) => x.Tensor / y.Tensor;

    public static Term operator /(Term x, Number n) => x.Tensor.Over(n);

    public static Term operator /(Number n, Term x) => x.Tensor.reciprocal().Times(n);
}
