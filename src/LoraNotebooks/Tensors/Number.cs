using TorchSharp;

namespace LoraNotebooks.Tensors;

/// <summary>
/// A number beside a tensor in a formula (<see cref="Term"/>). It becomes a native scalar only for the moment of an operation,
/// and keeps its kind until then: 2 and 2.0 are different to a tensor of integers.
/// </summary>
public readonly struct Number
{
    private readonly double _real;
    private readonly long _whole;
    private readonly Kind _kind;

    private Number(double real, long whole, Kind kind) => (_real, _whole, _kind) = (real, whole, kind);

    private enum Kind
    {
        Int32,
        Int64,
        Float32,
        Float64,
    }

    /// <summary>A whole number of 32 bits.</summary>
    public static implicit operator Number(int value) => new(0, value, Kind.Int32);

    /// <summary>A whole number of 64 bits.</summary>
    public static implicit operator Number(long value) => new(0, value, Kind.Int64);

    /// <summary>A number of single precision.</summary>
    public static implicit operator Number(float value) => new(value, 0, Kind.Float32);

    /// <summary>A number of double precision.</summary>
    public static implicit operator Number(double value) => new(value, 0, Kind.Float64);

    /// <summary>The native scalar, for a <c>using</c> around the operation that reads it.</summary>
    internal Scalar Hold() => _kind switch
    {
        // Each is converted by itself: a switch over bare numbers would make all of them doubles.
        Kind.Int32 => (Scalar)(int)_whole,
        Kind.Int64 => (Scalar)_whole,
        Kind.Float32 => (Scalar)(float)_real,
        _ => (Scalar)_real,
    };
}
