namespace LoraNotebooks.Interactive.Tests;

/// <summary>Which points of a long series are kept, against a plain search.</summary>
public class GrowingSeriesTests
{
    public static TheoryData<int, int> Lengths
    {
        get
        {
            var data = new TheoryData<int, int>();
            foreach (var most in (int[])[6, 7, 8, 9, 21])
            {
                // Around each place where neighbours are joined.
                var stretches = (most - 2) / 2;
                foreach (var count in Enumerable.Range(0, 4)
                    .SelectMany(k => new[] { -1, 0, 1, 2 }.Select(more => stretches * (1 << k) + more))
                    .Append(1)
                    .Append(0)
                    .Distinct()
                    .Where(count => count >= 0))
                {
                    data.Add(most, count);
                }
            }

            return data;
        }
    }

    [Theory]
    [MemberData(nameof(Lengths))]
    public void ToSeries_AnyLength_KeepsEndsAndOfEachStretchItsLowestAndHighest(int most, int count)
    {
        double[] values = [.. Enumerable.Range(0, count).Select(i => i % 5 == 3 ? double.NaN : Math.Sin(7.0 * i * i))];
        var series = new GrowingSeries(most);
        for (var i = 0; i < count; i++)
        {
            series.Add(10 + i, values[i]);
        }

        var kept = series.ToSeries("name");
        Assert.Equal("name", kept.Name);
        Assert.Equal(Kept(values, (most - 2) / 2).Select(i => 10.0 + i), kept.X);
        Assert.Equal(kept.X.Select(x => values[(int)x - 10]), kept.Y);
        Assert.InRange(kept.X.Count, 0, most);
    }

    [Fact]
    public void GrowingSeries_FewerThanSixPoints_IsRefused()
    {
        Assert.Throws<ArgumentOutOfRangeException>(() => new GrowingSeries(5));
        Assert.Empty(new GrowingSeries(6).ToSeries("").X);
    }

    [Theory]
    [InlineData(1, 2, true)]
    [InlineData(2, 1, false)]
    [InlineData(1, 1, false)]
    [InlineData(1, double.NaN, true)]
    [InlineData(double.NaN, 1, false)]
    [InlineData(double.NaN, double.NaN, false)]
    [InlineData(double.NegativeInfinity, 1, false)]
    [InlineData(1, double.PositiveInfinity, true)]
    [InlineData(1, double.NegativeInfinity, true)]
    public void IsBelow_WhatIsNotFinite_NeverHidesWhatIs(double a, double b, bool expected)
    {
        Assert.Equal(expected, Series.IsBelow(a, b));
        Assert.Equal(expected, Series.IsAbove(-a, -b));
    }

    [Theory]
    [InlineData(double.NaN)]
    [InlineData(double.PositiveInfinity)]
    [InlineData(double.NegativeInfinity)]
    public void Thin_ValueThatIsNotFiniteBesideTheExtremes_HidesNeither(double odd)
    {
        double[] values = [.. Enumerable.Range(0, 400).Select(i => i switch { 200 => 5, 201 => odd, 202 => -5, _ => Math.Sin(i) })];
        double[] kept = [.. Series.Thin(values, 20).Select(i => values[i])];
        Assert.Contains(5, kept);
        Assert.Contains(-5, kept);
    }

    /// <summary>
    /// The indices of the first and the last value, and of the lowest and highest of each stretch, of which there are at most so many,
    /// all of 2^k values.
    /// </summary>
    private static int[] Kept(double[] values, int stretches)
    {
        var length = 1;
        while (length * stretches < values.Length)
        {
            length *= 2;
        }

        var kept = new SortedSet<int>(values.Length == 0 ? [] : [0, values.Length - 1]);
        for (var start = 0; start < values.Length; start += length)
        {
            int[] stretch = [.. Enumerable.Range(start, Math.Min(length, values.Length - start))];
            int[] finite = [.. stretch.Where(i => double.IsFinite(values[i]))];
            kept.UnionWith(finite.Length == 0
                ? [stretch[0]]
                : [finite.First(i => values[i] == finite.Min(j => values[j])), finite.First(i => values[i] == finite.Max(j => values[j]))]);
        }

        return [.. kept];
    }
}
