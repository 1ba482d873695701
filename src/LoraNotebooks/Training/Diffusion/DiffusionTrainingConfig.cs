using LoraNotebooks.Adapters;
using LoraNotebooks.Data;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Models.Language;

namespace LoraNotebooks.Training.Diffusion;

/// <summary>The settings of a run that trains a LoRA of Stable Diffusion, beside those that every run has.</summary>
/// <example><code>
/// new DiffusionTrainingConfig
/// {
///     Name = "mika",
///     Epochs = 5,
///     BatchSize = 4,
///     UNetLearningRate = 1e-4,
///     UNetLora = new() { Rank = 16, TargetModules = ["to_q", "to_v"] },
/// }
/// </code></example>
public sealed partial record DiffusionTrainingConfig : TrainingConfig
{
    /// <summary>η of the UNet's adapter before the schedule. Default 1e-4; 0: the UNet stays as it is, and the text encoder alone trains.</summary>
    public double UNetLearningRate { get; init; } = 1e-4;

    /// <summary>
    /// η of the text encoder's adapter, in SDXL of both; default none, as 0: the text encoder stays frozen and its outputs are computed once. Half of
    /// the UNet's is usual.
    /// </summary>
    public double? TextEncoderLearningRate { get; init; }

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

    /// <summary>
    /// How captions are read: how long they may be, and whether <c>(word:1.3)</c> weighs.
    /// Default as long as the encoder sees at once, and brackets are text.
    /// </summary>
    public PromptReading Reading { get; init; } = new();

    /// <summary>Whether each image's latents are drawn once from the autoencoder's distribution, with the seed; default no: its mean is taken.</summary>
    public bool SampleLatents { get; init; }

    /// <summary>How captions change from time to time: dropped, shuffled. Default not at all.</summary>
    public CaptionOptions Captions { get; init; } = new();

    /// <summary>What the pictures show. Default empty.</summary>
    public IReadOnlyList<string> SamplePrompts { get; init; } = [];

    /// <summary>How the pictures are drawn: seed, steps, guidance, …; its prompt is not used. Default seed 0, 20 steps, guidance 7.5.</summary>
    public GenerationOptions SampleOptions { get; init; } = new();

    /// <summary>Whether the UNet trains; otherwise the files hold the text encoder alone.</summary>
    public bool TrainsUNet => UNetLearningRate > 0;

    /// <summary>Whether the text encoder trains, in SDXL both.</summary>
    public bool TrainsTextEncoder => TextEncoderLearningRate is > 0;

    /// <inheritdoc/>
    public override IEnumerable<AdapterSetting> Adapters() =>
    [
        .. UNetLearningRate != 0 ? [new AdapterSetting(nameof(UNetLora), UNetLora, UNetLearningRate)] : Array.Empty<AdapterSetting>(),
        .. TrainsTextEncoder ? [new AdapterSetting(nameof(TextEncoderLora), TextEncoderLora, TextEncoderLearningRate!.Value)] : Array.Empty<AdapterSetting>(),
    ];

    /// <inheritdoc/>
    protected override IEnumerable<string> NotDeciding => [nameof(SamplePrompts), nameof(SampleOptions)];

    /// <summary>Plans a run.</summary>
    /// <param name="dataset">What it learns from.</param>
    /// <exception cref="ArgumentException">The settings have faults, alone or with these images.</exception>
    public TrainingPlan PlanFor(PreparedDataset dataset)
    {
        ArgumentNullException.ThrowIfNull(dataset);
        var regularization = dataset.Images.Where(static image => image.IsRegularization).Sum(static image => image.Repeats);
        var plan = TrainingPlan.For(this, dataset.Count, dataset.ImagesPerEpoch, "image") with { RegularizationPerEpoch = regularization };
        Faults.ThrowIfAny(SettingPairs.Faults(this, dataset));
        return plan.Warn([.. SettingPairs.Warnings(this, dataset), .. dataset.Report.Summary]);
    }

    /// <summary>Plans a run on a model, which tells what captions and prompts are too long for it.</summary>
    /// <param name="dataset">What it learns from.</param>
    /// <param name="pipeline">The base model.</param>
    /// <exception cref="ArgumentException">The settings have faults, alone, with these images or with this model.</exception>
    public TrainingPlan PlanFor(PreparedDataset dataset, StableDiffusionPipeline pipeline)
    {
        ArgumentNullException.ThrowIfNull(pipeline);
        var plan = PlanFor(dataset);
        Faults.ThrowIfAny(SettingPairs.Faults(this, pipeline));
        return plan.Warn(SettingPairs.Warnings(this, dataset, pipeline));
    }

    /// <inheritdoc/>
    protected override IEnumerable<string> OwnFaults()
    {
        var faults = new Faults();
        faults.Require(
            double.IsFinite(UNetLearningRate) && UNetLearningRate >= 0,
            $"UNetLearningRate: got {UNetLearningRate}, expected a positive number, "
                + "or 0 to train the text encoder alone; 1e-4 is usual with alpha equal to the rank");
        faults.Require(
            TextEncoderLearningRate is null || (double.IsFinite(TextEncoderLearningRate.Value) && TextEncoderLearningRate >= 0),
            $"TextEncoderLearningRate: got {TextEncoderLearningRate}, expected a positive number, or 0 or null to leave it frozen");
        ValidateObjective(faults);
        faults.Positive(nameof(ClipSkip), ClipSkip);
        faults.Require(
            SampleEveryEpochs is null || SamplePrompts.Count > 0,
            "SamplePrompts: got none, expected at least one prompt, as SampleEveryEpochs asks for samples");
        faults.Within(nameof(Reading), Reading.Validate());
        faults.Within(nameof(Captions), Captions.Validate());
        faults.Within(nameof(SampleOptions), SampleOptions.Validate());
        faults.AddRange(SettingPairs.Faults(this));
        return faults;
    }

    /// <inheritdoc/>
    protected override IEnumerable<string> OwnWarnings() => SettingPairs.Warnings(this);
}
