namespace LoraNotebooks.Training.Loop;

/// <summary>What the batches of one step noted: of each name the mean over the batches that noted it.</summary>
internal sealed class MeanMetrics
{
    private readonly OrderedDictionary<string, (double Sum, int Count)> _sums = new(StringComparer.Ordinal);

    /// <summary>The means, in the order in which the names came.</summary>
    public IReadOnlyDictionary<string, double> Means =>
        new OrderedDictionary<string, double>(
            _sums.Select(static metric => KeyValuePair.Create(metric.Key, metric.Value.Sum / metric.Value.Count)),
            StringComparer.Ordinal);

    /// <summary>Takes in what a batch noted.</summary>
    public void Add(IReadOnlyDictionary<string, double> metrics)
    {
        foreach (var (name, value) in metrics)
        {
            var (sum, count) = _sums.GetValueOrDefault(name);
            _sums[name] = (sum + value, count + 1);
        }
    }
}
