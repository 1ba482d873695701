using LoraNotebooks.Training;

namespace LoraNotebooks.Interactive;

/// <summary>The loss chart of a run that goes on: takes in steps and can be drawn at any time at the same small cost.</summary>
internal sealed class GrowingLossChart
{
    /// <summary>The most points of one series while the run goes on; the chart that stays at the end has more.</summary>
    public const int MostPoints = 200;

    private readonly GrowingSeries _losses = new(MostPoints);
    private readonly GrowingSeries _smoothed = new(MostPoints);
    private readonly GrowingSeries _unetRates = new(MostPoints);
    private readonly GrowingSeries _textEncoderRates = new(MostPoints);
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
        _unetRates.Add(step.Step, step.UNetLearningRate);
        if (step.TextEncoderLearningRate is { } rate)
        {
            _textEncoderRates.Add(step.Step, rate);
        }

        _last = step;
    }

    /// <summary>The chart as it stands.</summary>
    public LossChart ToChart() => new(
        _losses.ToSeries(LossChart.LossName),
        _smoothed.ToSeries(LossChart.SmoothedName),
        _last?.TextEncoderLearningRate is null
            ? [_unetRates.ToSeries(LossChart.RateName)]
            : [_unetRates.ToSeries(LossChart.UNetRateName), _textEncoderRates.ToSeries(LossChart.TextEncoderRateName)],
        [.. _epochs.Select(epoch => epoch.Mark)]);

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
