using System.Text.Json.Nodes;
using LoraNotebooks.Data;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Training.Loop;
using static TorchSharp.torch;

namespace LoraNotebooks.Training.Diffusion;

/// <summary>Trains a LoRA of a Stable Diffusion pipeline on images and captions.</summary>
/// <remarks>As in kohya-ss/sd-scripts, networks/lora.py, <c>prepare_optimizer_params</c>, SDXL's two text encoders learn at one rate.</remarks>
public sealed class DiffusionTask : TrainingTask<StableDiffusionLora>
{
    /// <summary>What the UNet's learning rate is called in reports and charts.</summary>
    public const string UNetRate = "UNet";

    /// <summary>What the text encoder's learning rate is called in reports and charts, in SDXL that of both.</summary>
    public const string TextEncoderRate = "text encoder";

    private readonly DiffusionTrainingConfig _config;
    private readonly StableDiffusionPipeline _pipeline;
    private readonly PreparedDataset _dataset;
    private readonly TrainingPlan _plan;
    private readonly TrainingSet _set;
    private readonly DenoisingLoss _loss;
    private readonly Lazy<string> _dataHash;

    /// <summary>Encodes the images, and captions that stay the same, and attaches the adapters.</summary>
    /// <param name="config">The settings.</param>
    /// <param name="pipeline">The base model. The LoRA stays attached to it until the task is disposed.</param>
    /// <param name="dataset">What to learn.</param>
    /// <param name="cancellationToken">Gives up; nothing is attached.</param>
    /// <exception cref="ArgumentException">The settings have faults, or do not fit the pipeline or the images.</exception>
    /// <exception cref="OperationCanceledException">The run was cancelled.</exception>
    public DiffusionTask(
        DiffusionTrainingConfig config,
        StableDiffusionPipeline pipeline,
        PreparedDataset dataset,
        CancellationToken cancellationToken = default)
        : base(config)
    {
        (_config, _pipeline, _dataset) = (config, pipeline, dataset);
        _plan = config.PlanFor(dataset, pipeline);
        var schedule = config.NoiseScheduleFor(pipeline.Scheduler);
        _loss = new DenoisingLoss(pipeline.UNet, schedule, config);
        Base = DiffusionBase.Of(pipeline);
        _dataHash = new(() => dataset.ComputeHash(withOrigins: pipeline.UNet.Config.HasAddedConditions));
        _set = new TrainingSet(pipeline, config, dataset, schedule, cancellationToken);
        try
        {
            var seed = Seeds.Derive(RandomUse.Weights);
            Lora = StableDiffusionLora.Create(
                pipeline,
                config.Name,
                config.TrainsUNet ? config.UNetLora : null,
                config.TrainsTextEncoder ? config.TextEncoderLora : null,
                seed);
        }
        catch
        {
            _set.Dispose();
            throw;
        }

        Networks = NetworksOf(Lora, config);
    }

    /// <inheritdoc/>
    public override StableDiffusionLora Lora { get; }

    /// <inheritdoc/>
    public override IReadOnlyList<TrainedNetwork> Networks { get; }

    /// <inheritdoc/>
    public override int Examples => _dataset.Count;

    /// <inheritdoc/>
    public override string Unit => _plan.Unit;

    /// <inheritdoc/>
    public override string DataHash => _dataHash.Value;

    /// <inheritdoc/>
    public override TrainingBase Base { get; }

    /// <inheritdoc/>
    public override IEnumerable<nn.Module> Modules => base.Modules.Append(_pipeline.UNet);

    /// <inheritdoc/>
    public override string FileEnding => ".safetensors";

    /// <inheritdoc/>
    public override TrainingPlan Plan() => _plan;

    /// <inheritdoc/>
    public override IReadOnlyList<int> Order(Generator generator) => _dataset.EpochIndices(generator);

    /// <inheritdoc/>
    public override Tensor Loss(TrainingBatch batch)
    {
        ArgumentNullException.ThrowIfNull(batch);
        return _loss.Of(_set.Draw(batch.Examples, batch.Number));
    }

    /// <inheritdoc/>
    public override IEnumerable<TrainingSample> Samples(int epoch, CancellationToken cancellationToken)
    {
        // The plan has told what is not seen of them.
        _pipeline.Text.MarkTold([.. _config.SamplePrompts, _config.SampleOptions.NegativePrompt], _config.SampleOptions.Reading);
        foreach (var prompt in _config.SamplePrompts)
        {
            var options = _config.SampleOptions with { Prompt = prompt };
            foreach (var (index, image) in _pipeline.Generate(options, cancellationToken).Index())
            {
                yield return new PictureSample(epoch, prompt, options.Seed + index, image);
            }
        }
    }

    /// <inheritdoc/>
    public override void Describe(JsonObject record)
    {
        ArgumentNullException.ThrowIfNull(record);
        record["data"]!["images"] = RecordJson.Of(_dataset.Images.Select(static image =>
            new { image.Name, image.Caption, image.Repeats, image.IsRegularization, image.LossWeight, image.Origin }));
        record["scheduler"] = _pipeline.Scheduler.ToJson();
    }

    /// <summary>Writes kohya's file, with what is known of the training.</summary>
    /// <inheritdoc/>
    public override void Save(string path, TrainingFileFacts facts)
    {
        ArgumentNullException.ThrowIfNull(facts);
        Lora.SaveKohya(path, KohyaTrainingFacts.Of(_config, _dataset, facts));
    }

    /// <inheritdoc/>
    public override void Release() => _set.Dispose();

    /// <inheritdoc/>
    public override void Dispose()
    {
        _set.Dispose();
        Lora.Dispose();
    }

    /// <summary>The networks of a LoRA with their rates.</summary>
    internal static IReadOnlyList<TrainedNetwork> NetworksOf(StableDiffusionLora lora, DiffusionTrainingConfig config) =>
    [
        .. lora.Networks.Select(network => network.IsTextEncoder
            ? new TrainedNetwork(network.Name, network.Model, lora.Name, config.TextEncoderLearningRate ?? 0) { RateName = TextEncoderRate }
            : new TrainedNetwork(network.Name, network.Model, lora.Name, config.UNetLearningRate) { RateName = UNetRate }),
    ];
}
