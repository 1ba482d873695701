using LoraNotebooks.Adapters;
using LoraNotebooks.Training.Loop;
using LoraNotebooks.Training.Optimizers;

namespace LoraNotebooks.Training;

/// <summary>The number format of the frozen networks while training; adapters, loss and optimizer are always float32.</summary>
public enum TrainingPrecision
{
    /// <summary>As the networks were loaded.</summary>
    AsLoaded,

    /// <summary>bfloat16: about three digits in half the memory. The networks' weights come back bit for bit after training.</summary>
    BFloat16,
}

/// <summary>An adapter that settings ask for.</summary>
/// <param name="Setting">The name of the setting, e.g. "UNetLora".</param>
/// <param name="Lora">Its value.</param>
/// <param name="LearningRate">η before the schedule.</param>
public sealed record AdapterSetting(string Setting, LoraConfig Lora, double LearningRate);

/// <summary>
/// The settings of one training run that the loop obeys, whatever is trained: how long, how fast, by which rule, what is kept. Each kind of training derives a
/// record with its own, e.g. <see cref="Diffusion.DiffusionTrainingConfig"/>.
/// </summary>
/// <remarks>The defaults suit a character of 10 to 20 images; Hu et al. 2021 (arXiv:2106.09685) and kohya-ss/sd-scripts, train_network.py.</remarks>
public abstract partial record TrainingConfig
{
    private static readonly char[] InvalidNameCharacters = [.. Path.GetInvalidFileNameChars(), '/', '\\'];

    /// <summary>What the files are called, and the adapter in memory. Default "lora".</summary>
    public string Name { get; init; } = "lora";

    /// <summary>The folder for checkpoints, state and run record; it is created if need be. Default "output".</summary>
    public string OutputFolder { get; init; } = "output";

    /// <summary>How often the whole dataset, with its repeats, is gone through. Default 10.</summary>
    public int Epochs { get; init; } = 10;

    /// <summary>N, examples per forward pass, at least 1; 1 to 6 is usual. Default 1.</summary>
    public int BatchSize { get; init; } = 1;

    /// <summary>Batches per update: their gradients are averaged, as if the batch were that much larger. Default 1.</summary>
    public int GradientAccumulation { get; init; } = 1;

    /// <summary>The rule by which gradients change the adapters, and its options. Default AdamW with its usual ones.</summary>
    public Optimizer Optimizer { get; init; } = new AdamWOptimizer();

    /// <summary>λ, the decoupled weight decay of whatever optimizer. Default 0.01.</summary>
    public double WeightDecay { get; init; } = 0.01;

    /// <summary>How the learning rates change, counted in updates. Default a half cosine wave without warm-up.</summary>
    public LearningRateSchedule Schedule { get; init; } = new();

    /// <summary>The norm that all gradients together are clipped to. Default 1; <see langword="null"/>: no clipping.</summary>
    public double? MaxGradientNorm { get; init; } = 1;

    /// <summary>
    /// λ of LoRA+ (Hayou et al. 2024, arXiv:2402.12354): B learns λ times as fast as A; 16 in the paper, with a smaller η. Default none: both at η.
    /// </summary>
    public double? LoraPlusLrRatio { get; init; }

    /// <summary>
    /// The largest norm of a layer's ΔW; after each update larger ones are scaled down, see <see cref="MaxNormRegularization"/>. 1 is usual. Default none.
    /// </summary>
    public double? ScaleWeightNorms { get; init; }

    /// <summary>The seed of everything that is random: adapter, order, noise, dropout. Default 0.</summary>
    public long Seed { get; init; }

    /// <summary>The number format of the frozen networks. Default as loaded.</summary>
    public TrainingPrecision Precision { get; init; } = TrainingPrecision.AsLoaded;

    /// <summary>A checkpoint after every so many epochs. Default none: only the final file.</summary>
    public int? SaveEveryEpochs { get; init; }

    /// <summary>Samples before training and after every so many epochs. Default none.</summary>
    public int? SampleEveryEpochs { get; init; }

    /// <summary>The adapters that train under these settings, so that what they do not honour is refused by name. Default none.</summary>
    public virtual IEnumerable<AdapterSetting> Adapters() => [];

    /// <summary>Names of the settings of this kind of training that decide no numbers, so that a resumed run may have others. Default none.</summary>
    protected virtual IEnumerable<string> NotDeciding => [];

    /// <summary>Every fault of these settings, alone and together: what was got, what is expected. Empty if there is none.</summary>
    public IReadOnlyList<string> Validate()
    {
        var faults = new Faults();
        faults.Require(
            !string.IsNullOrWhiteSpace(Name) && Name.IndexOfAny(InvalidNameCharacters) < 0,
            $"Name: got '{Name}', expected a file name without folder");
        faults.Require(!string.IsNullOrWhiteSpace(OutputFolder), $"OutputFolder: got '{OutputFolder}', expected a folder");
        faults.Positive(nameof(Epochs), Epochs);
        faults.Positive(nameof(BatchSize), BatchSize);
        faults.Positive(nameof(GradientAccumulation), GradientAccumulation);
        faults.NotNegative(nameof(WeightDecay), WeightDecay);
        faults.Expect(
            MaxGradientNorm is null || IsPositive(MaxGradientNorm.Value),
            nameof(MaxGradientNorm),
            MaxGradientNorm,
            "a positive number, or null for no clipping");
        faults.Expect(
            LoraPlusLrRatio is null || IsPositive(LoraPlusLrRatio.Value),
            nameof(LoraPlusLrRatio),
            LoraPlusLrRatio,
            "a positive number, or null for none; 16 is usual");
        faults.Expect(
            ScaleWeightNorms is null || IsPositive(ScaleWeightNorms.Value),
            nameof(ScaleWeightNorms),
            ScaleWeightNorms,
            "a positive number, or null for none; 1 is usual");
        faults.Defined(nameof(Precision), Precision);
        faults.Expect(SaveEveryEpochs is null or > 0, nameof(SaveEveryEpochs), SaveEveryEpochs, "a positive number, or null for the final file only");
        faults.Expect(SampleEveryEpochs is null or > 0, nameof(SampleEveryEpochs), SampleEveryEpochs, "a positive number, or null for no samples");
        faults.Within(nameof(Optimizer), Optimizer.Validate());
        faults.Within(nameof(Schedule), Schedule.Validate());
        foreach (var adapter in Adapters())
        {
            faults.Within(adapter.Setting, adapter.Lora.Validate());
        }

        faults.AddRange(OwnFaults());
        faults.AddRange(LoopPairs.Faults(this));
        return faults;
    }

    /// <summary>Throws if there are faults.</summary>
    /// <exception cref="ArgumentException">There are; the message lists them all.</exception>
    public void ThrowIfInvalid() => Faults.ThrowIfAny(Validate());

    /// <summary>What works, but not as it seems, whatever is trained.</summary>
    internal IReadOnlyList<string> Warnings() => [.. OwnWarnings(), .. LoopPairs.Warnings(this)];

    /// <summary>The faults of the settings of this kind of training: what was got, what is expected. Default none.</summary>
    protected virtual IEnumerable<string> OwnFaults() => [];

    /// <summary>What works among the settings of this kind of training, but not as it seems. Default nothing.</summary>
    protected virtual IEnumerable<string> OwnWarnings() => [];

    /// <summary>Whether a setting is a finite number above 0.</summary>
    private protected static bool IsPositive(double value) => double.IsFinite(value) && value > 0;
}
