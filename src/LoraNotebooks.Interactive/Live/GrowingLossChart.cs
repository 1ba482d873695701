using LoraNotebooks.Training;

namespace LoraNotebooks.Interactive;

/// <summary>The loss chart of a run that goes on: takes in steps and can be drawn at any time at the same small cost.</summary>
internal sealed class GrowingLossChart
{
    /// <summary>The most points of one series while the run goes on; the chart that stays at the end has more.</summary>
    public const int MostPoints = 200;

    private readonly GrowingSeries _losses = new(MostPoints);
    private readonly GrowingSeries _smoothed = new(MostPoints);
    private readonly OrderedDictionary<string, GrowingSeries> _rates = [];
    private readonly OrderedDictionary<string, GrowingSeries> _others = [];
    private readonly List<(int Epoch, ChartMark Mark)> _epochs = [];
    private TrainingStep? _last;
    private int _every = 1; // a mark for every epoch, then for every second, fourth, …

    /// <summary>Takes in a step.</summary>
    public void Add(TrainingStep step)
    {
        if (_last is not null && step.Epoch > _last.Epoch)
        {
            AddEpochEnd(_last);
        }

        _losses.Add(step.Step, step.Loss);
        _smoothed.Add(step.Step, step.SmoothedLoss);
        Add(_rates, step.Step, step.LearningRates);
        Add(_others, step.Step, step.Metrics.Where(static metric => LossChart.IsLoss(metric.Key)));
        _last = step;
    }

    /// <summary>The chart as it stands.</summary>
    public LossChart ToChart() => new(
        _losses.ToSeries(LossChart.LossName),
        _smoothed.ToSeries(LossChart.SmoothedName),
        [.. _others.Select(static other => other.Value.ToSeries(other.Key))],
        [.. LossChart.RateNames(_last is null ? [] : [_last]).Select(name => _rates[name.Name].ToSeries(name.Shown))],
        [.. _epochs.Select(epoch => epoch.Mark)]);

    private static void Add(OrderedDictionary<string, GrowingSeries> series, int step, IEnumerable<KeyValuePair<string, double>> values)
    {
        foreach (var (name, value) in values)
        {
            if (!series.TryGetValue(name, out var growing))
            {
                series.Add(name, growing = new(MostPoints));
            }

            growing.Add(step, value);
        }
    }

    private void AddEpochEnd(TrainingStep last)
    {
        if (last.Epoch % _every != 0)
        {
            return;
        }

        _epochs.Add((last.Epoch, LossChart.EpochEnd(last)));
        if (_epochs.Count > LineChart.MostMarks)
        {
            _every *= 2;
            _epochs.RemoveAll(epoch => epoch.Epoch % _every != 0);
        }
    }
}
