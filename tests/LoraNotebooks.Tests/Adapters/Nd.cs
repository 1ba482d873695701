using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Adapters;

/// <summary>An array of float64 of any number of axes, for formulas that are written as plain loops.</summary>
internal sealed class Nd(params long[] shape)
{
    private readonly double[] _values = new double[shape.Aggregate(1L, static (all, size) => all * size)];

    public long[] Shape { get; } = shape;

    public double this[params long[] index]
    {
        get => _values[Position(index)];
        set => _values[Position(index)] = value;
    }

    public static Nd Of(Tensor tensor)
    {
        var result = new Nd(tensor.shape);
        tensor.detach().to(ScalarType.Float64).contiguous().data<double>().ToArray().CopyTo(result._values, 0);
        return result;
    }

    /// <summary>Every index in order.</summary>
    public IEnumerable<long[]> Indices()
    {
        for (var i = 0L; i < _values.LongLength; i++)
        {
            var index = new long[Shape.Length];
            for (var (axis, rest) = (Shape.Length - 1, i); axis >= 0; rest /= Shape[axis--])
            {
                index[axis] = rest % Shape[axis];
            }

            yield return index;
        }
    }

    /// <summary>An array of this shape with a number for each index.</summary>
    public Nd Map(Func<long[], double> number)
    {
        var result = new Nd(Shape);
        foreach (var index in Indices())
        {
            result[index] = number(index);
        }

        return result;
    }

    public Tensor ToTensor() => tensor(_values).reshape(Shape);

    private long Position(long[] index)
    {
        var position = 0L;
        for (var axis = 0; axis < Shape.Length; axis++)
        {
            position = (position * Shape[axis]) + index[axis];
        }

        return position;
    }
}
