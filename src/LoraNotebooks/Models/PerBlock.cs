using System.Collections;

namespace LoraNotebooks.Models;

/// <summary>
/// A configuration value that is either one value for every resolution level of a network or a list with one value per level,
/// as diffusers writes it (e.g. <c>"attention_head_dim": 8</c> or <c>"attention_head_dim": [5, 10, 20, 20]</c>).
/// </summary>
/// <typeparam name="T">The type of a value.</typeparam>
public sealed class PerBlock<T> : IReadOnlyList<T>, IEquatable<PerBlock<T>>
{
    private readonly T[] _values;

    /// <summary>One value for every level.</summary>
    /// <param name="value">The value.</param>
    public PerBlock(T value)
    {
        _values = [value];
        IsUniform = true;
    }

    /// <summary>One value per level, from the highest resolution down.</summary>
    /// <param name="values">The values.</param>
    public PerBlock(IEnumerable<T> values)
    {
        _values = [.. values];
    }

    /// <summary>Whether one value holds for every level (it is then written as a single value).</summary>
    public bool IsUniform { get; }

    /// <summary>The number of values: 1 if <see cref="IsUniform"/>, else the number of levels.</summary>
    public int Count => _values.Length;

    /// <summary>The value of a level.</summary>
    /// <param name="index">The level, 0 is the highest resolution.</param>
    /// <exception cref="IndexOutOfRangeException">There is no such level.</exception>
    public T this[int index] => IsUniform ? _values[0] : _values[index];

    /// <summary>One value for every level.</summary>
    /// <param name="value">The value.</param>
    public static implicit operator PerBlock<T>(T value) => new(value);

    /// <summary>One value per level.</summary>
    /// <param name="values">The values.</param>
    public static implicit operator PerBlock<T>(T[] values) => new(values);

    /// <inheritdoc/>
    public IEnumerator<T> GetEnumerator() => ((IEnumerable<T>)_values).GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

    /// <inheritdoc/>
    public bool Equals(PerBlock<T>? other) => other is not null && IsUniform == other.IsUniform && _values.SequenceEqual(other._values);

    /// <inheritdoc/>
    public override bool Equals(object? obj) => Equals(obj as PerBlock<T>);

    /// <inheritdoc/>
    public override int GetHashCode()
    {
        var hash = new HashCode();
        hash.Add(IsUniform);
        foreach (var value in _values)
        {
            hash.Add(value);
        }

        return hash.ToHashCode();
    }

    /// <inheritdoc/>
    public override string ToString() => IsUniform ? $"{_values[0]}" : $"[{string.Join(", ", _values)}]";
}
