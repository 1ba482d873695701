using LoraNotebooks.Adapters;
using LoraNotebooks.Data;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Models.Language;
using LoraNotebooks.Training.Optimizers;

namespace LoraNotebooks.Training;

/// <summary>The number format of the frozen networks while training; adapters, loss and optimizer are always float32.</summary>
public enum TrainingPrecision
{
    /// <summary>As the pipeline was loaded.</summary>
    AsLoaded,

    /// <summary>bfloat16: about three digits in half the memory. The pipeline's weights come back bit for bit after training.</summary>
    BFloat16,
}

/// <summary>The settings of one LoRA training run.</summary>
/// <remarks>The defaults suit a character of 10 to 20 images; Hu et al. 2021 (arXiv:2106.09685) and kohya-ss/sd-scripts, train_network.py.</remarks>
public sealed partial record TrainingConfig
{
    private static readonly char[] InvalidNameCharacters = [.. Path.GetInvalidFileNameChars(), '/', '\\'];

    /// <summary>What the files are called, and the adapter in memory. Default "lora".</summary>
    public string Name { get; init; } = "lora";

    /// <summary>The folder for checkpoints, state and run record; it is created if need be. Default "output".</summary>
    public string OutputFolder { get; init; } = "output";

    /// <summary>How often the whole dataset, with its repeats, is gone through. Default 10.</summary>
    public int Epochs { get; init; } = 10;

    /// <summary>N, images per forward pass, at least 1; 1 to 6 is usual. Default 1.</summary>
    public int BatchSize { get; init; } = 1;

    /// <summary>Batches per update: their gradients are averaged, as if the batch were that much larger. Default 1.</summary>
    public int GradientAccumulation { get; init; } = 1;

    /// <summary>η of the UNet's adapter before the schedule. Default 1e-4; 0: the UNet stays as it is, and the text encoder alone trains.</summary>
    public double UNetLearningRate { get; init; } = 1e-4;

    /// <summary>
    /// η of the text encoder's adapter, in SDXL of both; default none, as 0: the text encoder stays frozen and its outputs are computed once. Half of
    /// the UNet's is usual.
    /// </summary>
    public double? TextEncoderLearningRate { get; init; }

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

    /// <summary>The largest norm of a layer's ΔW; after each update larger ones are scaled down, see <see cref="MaxNormRegularization"/>. 1 is usual. Default none.</summary>
    public double? ScaleWeightNorms { get; init; }

    /// <summary>The seed of everything that is random: adapter, order, noise, timesteps, captions. Default 0.</summary>
    public long Seed { get; init; }

    /// <summary>The UNet's adapter. Default rank 8, alpha 8 on the projections of all attention layers.</summary>
    public LoraConfig UNetLora { get; init; } = new() { TargetModules = ["to_q", "to_k", "to_v", "to_out.0"] };

    /// <summary>
    /// The text encoder's adapter, in SDXL that of both, where <see cref="TextEncoderLearningRate"/> is given. Default rank 8, alpha 8 on the
    /// projections of all attention layers; which of them learn nothing says <see cref="TrainingResult.UntrainedLayers"/>.
    /// </summary>
    public LoraConfig TextEncoderLora { get; init; } = new() { TargetModules = ["q_proj", "k_proj", "v_proj", "out_proj"] };

    /// <summary>
    /// Which hidden states of the text encoder condition the UNet: 1 (default) those that the model was trained with, the last layer's, in SDXL those
    /// of the layer before; 2 those of one layer before, …
    /// </summary>
    public int ClipSkip { get; init; } = 1;

    /// <summary>How captions are read: how long they may be, and whether <c>(word:1.3)</c> weighs. Default as long as the encoder sees at once, and brackets are text.</summary>
    public PromptReading Reading { get; init; } = new();

    /// <summary>The number format of the frozen networks. Default as loaded.</summary>
    public TrainingPrecision Precision { get; init; } = TrainingPrecision.AsLoaded;

    /// <summary>Whether each image's latents are drawn once from the autoencoder's distribution, with the seed; default no: its mean is taken.</summary>
    public bool SampleLatents { get; init; }

    /// <summary>How captions change from time to time: dropped, shuffled. Default not at all.</summary>
    public CaptionOptions Captions { get; init; } = new();

    /// <summary>A checkpoint after every so many epochs. Default none: only the final file.</summary>
    public int? SaveEveryEpochs { get; init; }

    /// <summary>Pictures of <see cref="SamplePrompts"/> before training and after every so many epochs. Default none.</summary>
    public int? SampleEveryEpochs { get; init; }

    /// <summary>What the pictures show. Default empty.</summary>
    public IReadOnlyList<string> SamplePrompts { get; init; } = [];

    /// <summary>How the pictures are drawn: seed, steps, guidance, …; its prompt is not used. Default seed 0, 20 steps, guidance 7.5.</summary>
    public GenerationOptions SampleOptions { get; init; } = new();

    /// <summary>Whether the UNet trains; otherwise the files hold the text encoder alone.</summary>
    public bool TrainsUNet => UNetLearningRate > 0;

    /// <summary>Whether the text encoder trains, in SDXL both.</summary>
    public bool TrainsTextEncoder => TextEncoderLearningRate is > 0;

    /// <summary>Every fault of these settings, alone and together: what was got, what is expected. Empty if there is none.</summary>
    public IReadOnlyList<string> Validate()
    {
        var faults = new Faults();
        faults.Require(!string.IsNullOrWhiteSpace(Name) && Name.IndexOfAny(InvalidNameCharacters) < 0, $"Name: got '{Name}', expected a file name without folder");
        faults.Require(!string.IsNullOrWhiteSpace(OutputFolder), $"OutputFolder: got '{OutputFolder}', expected a folder");
        faults.Positive(nameof(Epochs), Epochs);
        faults.Positive(nameof(BatchSize), BatchSize);
        faults.Positive(nameof(GradientAccumulation), GradientAccumulation);
        faults.Require(
            double.IsFinite(UNetLearningRate) && UNetLearningRate >= 0,
            $"UNetLearningRate: got {UNetLearningRate}, expected a positive number, or 0 to train the text encoder alone; 1e-4 is usual with alpha equal to the rank");
        faults.Require(TextEncoderLearningRate is null || (double.IsFinite(TextEncoderLearningRate.Value) && TextEncoderLearningRate >= 0), $"TextEncoderLearningRate: got {TextEncoderLearningRate}, expected a positive number, or 0 or null to leave it frozen");
        faults.Require(double.IsFinite(WeightDecay) && WeightDecay >= 0, $"WeightDecay: got {WeightDecay}, expected 0 or more");
        faults.Require(MaxGradientNorm is null || IsPositive(MaxGradientNorm.Value), $"MaxGradientNorm: got {MaxGradientNorm}, expected a positive number, or null for no clipping");
        faults.Require(LoraPlusLrRatio is null || IsPositive(LoraPlusLrRatio.Value), $"LoraPlusLrRatio: got {LoraPlusLrRatio}, expected a positive number, or null for none; 16 is usual");
        faults.Require(ScaleWeightNorms is null || IsPositive(ScaleWeightNorms.Value), $"ScaleWeightNorms: got {ScaleWeightNorms}, expected a positive number, or null for none; 1 is usual");
        ValidateObjective(faults);
        faults.Positive(nameof(ClipSkip), ClipSkip);
        faults.Require(Enum.IsDefined(Precision), $"Precision: got {Precision}, expected one of {string.Join(", ", Enum.GetNames<TrainingPrecision>())}");
        faults.Require(SaveEveryEpochs is null or > 0, $"SaveEveryEpochs: got {SaveEveryEpochs}, expected a positive number, or null for the final file only");
        faults.Require(SampleEveryEpochs is null or > 0, $"SampleEveryEpochs: got {SampleEveryEpochs}, expected a positive number, or null for no samples");
        faults.Require(SampleEveryEpochs is null || SamplePrompts.Count > 0, "SamplePrompts: got none, expected at least one prompt, as SampleEveryEpochs asks for samples");
        faults.AddRange(Reading.Validate().Select(fault => $"Reading.{fault}"));
        faults.AddRange(Captions.Validate().Select(fault => $"Captions.{fault}"));
        faults.AddRange(Optimizer.Validate().Select(fault => $"Optimizer.{fault}"));
        faults.AddRange(Schedule.Validate().Select(fault => $"Schedule.{fault}"));
        faults.AddRange(UNetLearningRate != 0 ? UNetLora.Validate().Select(fault => $"UNetLora.{fault}") : []);
        faults.AddRange(TrainsTextEncoder ? TextEncoderLora.Validate().Select(fault => $"TextEncoderLora.{fault}") : []);
        faults.AddRange(SampleOptions.Validate().Select(fault => $"SampleOptions.{fault}"));
        faults.AddRange(SettingPairs.Faults(this));
        return faults;
    }

    /// <summary>Throws if there are faults.</summary>
    /// <exception cref="ArgumentException">There are; the message lists them all.</exception>
    public void ThrowIfInvalid() => Faults.ThrowIfAny(Validate());
}
