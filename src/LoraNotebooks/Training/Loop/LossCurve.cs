namespace LoraNotebooks.Training.Loop;

/// <summary>The losses of a run and their moving average, mᵢ = β·mᵢ₋₁ + (1 − β)·lossᵢ, divided by 1 − βⁱ because it begins at zero.</summary>
internal sealed class LossCurve
{
    private const double Beta = 0.98;

    private readonly List<double> _losses = [];
    private double _average;

    public IReadOnlyList<double> Losses => _losses;

    /// <summary>Adds a loss and returns the average.</summary>
    public double Add(double loss)
    {
        _losses.Add(loss);
        _average = (Beta * _average) + ((1 - Beta) * loss);
        return _average / (1 - Math.Pow(Beta, _losses.Count));
    }
}

/// <summary>How fast the last steps were, without what happens between them.</summary>
/// <param name="clock">Tells the time.</param>
internal sealed class SpeedMeter(TimeProvider clock)
{
    private const int Window = 50;

    private readonly Queue<(double Seconds, int Examples)> _recent = new();
    private long _started;

    public double SecondsPerStep => _recent.Average(step => step.Seconds);

    public double ExamplesPerSecond => _recent.Sum(step => step.Examples) / _recent.Sum(step => step.Seconds);

    public void Start() => _started = clock.GetTimestamp();

    public void Stop(int examples)
    {
        _recent.Enqueue((clock.GetElapsedTime(_started).TotalSeconds, examples));
        if (_recent.Count > Window)
        {
            _recent.Dequeue();
        }
    }
}
