namespace LoraNotebooks.Training.Loop;

/// <summary>The losses of a run and their moving average, mᵢ = β·mᵢ₋₁ + (1 − β)·lossᵢ, divided by 1 − βⁱ because it begins at zero.</summary>
internal sealed class LossCurve
{
    private const double Beta = 0.98;

    private readonly List<double> losses = [];
    private double average;

    public IReadOnlyList<double> Losses => losses;

    /// <summary>Adds a loss and returns the average.</summary>
    public double Add(double loss)
    {
        losses.Add(loss);
        average = (Beta * average) + ((1 - Beta) * loss);
        return average / (1 - Math.Pow(Beta, losses.Count));
    }
}

/// <summary>How fast the last steps were, without what happens between them.</summary>
/// <param name="clock">Tells the time.</param>
internal sealed class SpeedMeter(TimeProvider clock)
{
    private const int Window = 50;

    private readonly Queue<(double Seconds, int Examples)> recent = new();
    private long started;

    public double SecondsPerStep => recent.Average(step => step.Seconds);

    public double ExamplesPerSecond => recent.Sum(step => step.Examples) / recent.Sum(step => step.Seconds);

    public void Start() => started = clock.GetTimestamp();

    public void Stop(int examples)
    {
        recent.Enqueue((clock.GetElapsedTime(started).TotalSeconds, examples));
        if (recent.Count > Window)
        {
            recent.Dequeue();
        }
    }
}
