namespace LoraNotebooks.Interactive;

/// <summary>What a chart does to numbers before it draws them.</summary>
internal static class Series
{
    /// <summary>
    /// The exponential moving average with the start's bias removed: s_t = β s_{t−1} + (1−β) x_t, ŝ_t = s_t / (1 − β^t)
    /// (Kingma and Ba 2015, section 3), so that the curve starts at the first value and not at zero.
    /// </summary>
    /// <param name="values">The raw series; what is not finite leaves the average as it was.</param>
    /// <param name="beta">β in [0, 1): 0 leaves the series as it is.</param>
    public static double[] Smooth(IReadOnlyList<double> values, double beta)
    {
        var result = new double[values.Count];
        double average = 0, weight = 1;
        for (var t = 0; t < values.Count; t++)
        {
            if (double.IsFinite(values[t]))
            {
                average = beta * average + (1 - beta) * values[t];
                weight *= beta;
            }

            result[t] = weight < 1 ? average / (1 - weight) : double.NaN;
        }

        return result;
    }

    /// <summary>
    /// Thins a series to at most <paramref name="most"/> points, keeping the first and the last and of each stretch between
    /// its lowest and its highest, so that no spike is lost.
    /// </summary>
    /// <returns>The indices of the points kept, ascending.</returns>
    public static int[] Thin(IReadOnlyList<double> values, int most)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(most, 4);
        var count = values.Count;
        if (count <= most)
        {
            return [.. Enumerable.Range(0, count)];
        }

        var kept = new List<int>(most) { 0 };
        var stretches = (most - 2) / 2;
        for (var i = 0; i < stretches; i++)
        {
            var from = 1 + (int)((long)i * (count - 2) / stretches);
            var to = 1 + (int)((long)(i + 1) * (count - 2) / stretches);
            int low = from, high = from;
            for (var j = from + 1; j < to; j++)
            {
                low = IsBelow(values[j], values[low]) ? j : low;
                high = IsAbove(values[j], values[high]) ? j : high;
            }

            kept.Add(Math.Min(low, high));
            if (low != high)
            {
                kept.Add(Math.Max(low, high));
            }
        }

        kept.Add(count - 1);
        return [.. kept];
    }

    /// <summary>Round numbers 1, 2, 5 × 10^k that cover a range in about <paramref name="wanted"/> steps.</summary>
    public static double[] Ticks(double low, double high, int wanted)
    {
        if (!(high > low))
        {
            return [low];
        }

        var rough = (high - low) / wanted;
        var power = Math.Pow(10, Math.Floor(Math.Log10(rough)));
        var step = (rough / power) switch { < 1.5 => 1, < 3.5 => 2, < 7.5 => 5, _ => 10 } * power;
        var first = Math.Ceiling(low / step - 1e-9);
        var last = Math.Floor(high / step + 1e-9);
        return [.. Enumerable.Range(0, (int)(last - first) + 1).Select(i => (first + i) * step)];
    }

    /// <summary>Whether a value is lower than another; what is not finite never hides what is.</summary>
    public static bool IsBelow(double a, double b) => double.IsFinite(a) && (a < b || !double.IsFinite(b));

    /// <summary>Whether a value is higher than another; what is not finite never hides what is.</summary>
    public static bool IsAbove(double a, double b) => IsBelow(-a, -b);
}
