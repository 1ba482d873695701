using System.Collections;
using System.Globalization;

namespace LoraNotebooks.Kernel.Sessions;

/// <summary>The values of the last cells that had one, by the number of the cell: <c>Out[3]</c>.</summary>
/// <remarks>Only some are kept, since each keeps alive what it refers to.</remarks>
public sealed class CellValues : IEnumerable<KeyValuePair<int, object>>
{
    /// <summary>How many values are kept: 20.</summary>
    public const int MostKept = 20;

    private readonly List<KeyValuePair<int, object>> _values = [];

    /// <summary>How many there are.</summary>
    public int Count => _values.Count;

    /// <summary>The value of a cell.</summary>
    /// <param name="number">The cell's number.</param>
    /// <exception cref="KeyNotFoundException">The cell had no value, or it is no longer kept.</exception>
    public dynamic this[int number] => _values.FindLast(value => value.Key == number) is { Value: { } found } ? found : throw new KeyNotFoundException(
        $"Got Out[{number}]; "
        + (Count == 0
            ? "no cell has had a value yet"
            : $"there are the values of cells {string.Join(", ", _values.Select(value => value.Key.ToString(CultureInfo.InvariantCulture)))}")
        + $". The last {MostKept} values are kept; give one a name to keep it for longer.");

    /// <inheritdoc/>
    public IEnumerator<KeyValuePair<int, object>> GetEnumerator() => _values.GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

    /// <summary>The value of the last cell but some; null if there is none.</summary>
    internal object? FromEnd(int before) => before < Count ? _values[Count - 1 - before].Value : null;

    internal void Add(int number, object value)
    {
        _values.RemoveAll(known => known.Key == number);
        _values.Add(new(number, value));
        if (Count > MostKept)
        {
            _values.RemoveAt(0);
        }
    }
}
