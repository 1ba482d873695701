using System.Text.Json.Nodes;
using LoraNotebooks.Adapters;
using LoraNotebooks.Formats;
using static TorchSharp.torch;

namespace LoraNotebooks.Training;

/// <summary>A network beside which an adapter trains.</summary>
/// <param name="Name">What the network is called: "unet", "text_encoder", "model".</param>
/// <param name="Model">The network with its adapters.</param>
/// <param name="Adapter">The name of the one that trains.</param>
/// <param name="LearningRate">η before the schedule.</param>
public sealed record TrainedNetwork(string Name, AdaptedModel Model, string Adapter, double LearningRate)
{
    /// <summary>What its learning rate is called in reports and charts; networks of one name learn at one rate. Default the network's name.</summary>
    public string RateName { get; init; } = Name;
}

/// <summary>What one forward pass learns from, and where its random numbers come from.</summary>
public sealed class TrainingBatch
{
    private readonly TrainingSeeds _seeds;
    private readonly Dictionary<string, double> _metrics = [];

    internal TrainingBatch(IReadOnlyList<int> examples, long number, TrainingSeeds seeds) => (Examples, Number, _seeds) = (examples, number, seeds);

    /// <summary>The indices of N examples.</summary>
    public IReadOnlyList<int> Examples { get; }

    /// <summary>The batch's number in the whole run, from 0, which its random numbers hang on.</summary>
    public long Number { get; }

    /// <summary>What was noted, by name.</summary>
    internal IReadOnlyDictionary<string, double> Metrics => _metrics;

    /// <summary>A new generator of random numbers, the same for the same seed, batch and use; the caller disposes it.</summary>
    /// <param name="use">What the numbers are for; each use has its own.</param>
    public Generator NewGenerator(RandomUse use) => _seeds.Generator(use, Number);

    /// <summary>Notes a number beside the loss, such as the share of right answers. Of the batches of a step the mean is reported.</summary>
    /// <param name="metric">Its name; one that ends in "loss" is drawn beside the loss.</param>
    /// <param name="value">The number.</param>
    public void Note(string metric, double value) => _metrics[metric] = value;
}

/// <summary>
/// What is trained: networks with their rates, examples, the loss of a batch, samples, files. The loop does the rest alike for every task: steps, accumulation,
/// clipping, optimizer, schedule, seeds, checkpoints, resuming, record, cancellation.
/// </summary>
/// <remarks>
/// A task of one's own says what its <see cref="TrainingTask{TLora}"/> leaves, which networks train, how many examples there are, and the loss; all else has a
/// default. <see cref="Diffusion.DiffusionTask"/> is one with everything.
/// </remarks>
public abstract class TrainingTask : IDisposable
{
    private TrainingBase? _baseModel;

    private protected TrainingTask(TrainingConfig config)
    {
        ArgumentNullException.ThrowIfNull(config);
        config.ThrowIfInvalid();
        Config = config;
        Seeds = new TrainingSeeds(config.Seed);
    }

    /// <summary>The settings of the run.</summary>
    public TrainingConfig Config { get; }

    /// <summary>The networks that train, at least one; their adapters are attached.</summary>
    public abstract IReadOnlyList<TrainedNetwork> Networks { get; }

    /// <summary>How many examples there are.</summary>
    public abstract int Examples { get; }

    /// <summary>What an example is, in one word. Default "example".</summary>
    public virtual string Unit => "example";

    /// <summary>Identifies the data, so that a run is resumed on the same only. Default "": not compared.</summary>
    public virtual string DataHash => "";

    /// <summary>What the base is by its numbers, so that a run is resumed on the same only. Default the hashes of the networks' own weights.</summary>
    public virtual TrainingBase Base => _baseModel ??= TrainingBase.Of(Networks);

    /// <summary>The modules whose number format <see cref="TrainingConfig.Precision"/> changes, and which are frozen. Default the networks.</summary>
    public virtual IEnumerable<nn.Module> Modules => Networks.Select(static network => network.Model.BaseModel);

    /// <summary>The random numbers of the run.</summary>
    public TrainingSeeds Seeds { get; }

    /// <summary>How adapter files end; default "", as PEFT keeps an adapter in a folder.</summary>
    public virtual string FileEnding => "";

    /// <summary>How many steps the run takes. Default an epoch shows every example once.</summary>
    public virtual TrainingPlan Plan() => TrainingPlan.For(Config, Examples, Examples, Unit);

    /// <summary>The indices of the examples that an epoch shows, in order. Default every example once, shuffled.</summary>
    /// <param name="generator">The epoch's random numbers.</param>
    public virtual IReadOnlyList<int> Order(Generator generator)
    {
        using var scope = NewDisposeScope();
        return [.. randperm(Examples, ScalarType.Int64, generator: generator).data<long>().Select(static index => (int)index)];
    }

    /// <summary>The mean loss of a batch.</summary>
    /// <param name="batch">Which examples, and their random numbers.</param>
    /// <returns>A scalar, float32, with its graph.</returns>
    public abstract Tensor Loss(TrainingBatch batch);

    /// <summary>
    /// Draws or writes samples with the weights as they are;
    /// asked before training and after epochs, see <see cref="TrainingConfig.SampleEveryEpochs"/>. Default none.
    /// </summary>
    /// <param name="epoch">The number of epochs trained so far.</param>
    /// <param name="cancellationToken">Stops between two.</param>
    public virtual IEnumerable<TrainingSample> Samples(int epoch, CancellationToken cancellationToken) => [];

    /// <summary>Adds to the run's record what is to be known of data and model. Default nothing.</summary>
    /// <param name="record">The record.</param>
    public virtual void Describe(JsonObject record)
    {
    }

    /// <summary>Writes the adapter. Default PEFT's folder, with several networks one folder for each inside it.</summary>
    /// <param name="path">The file or folder to write or replace, which ends as <see cref="FileEnding"/> says.</param>
    /// <param name="facts">What is known of the run at this point.</param>
    public virtual void Save(string path, TrainingFileFacts facts)
    {
        foreach (var network in Networks)
        {
            using var state = network.Model.ToState(network.Adapter);
            PeftFolder.Write(Networks.Count == 1 ? path : Path.Combine(path, network.Name), state);
        }
    }

    /// <summary>Frees what only the run needed, such as computed latents; called once when it ends. The adapters stay. Default nothing.</summary>
    public virtual void Release()
    {
    }

    /// <summary>Takes the adapters off the networks.</summary>
    public virtual void Dispose()
    {
        foreach (var network in Networks)
        {
            network.Model.Dispose();
        }

        GC.SuppressFinalize(this);
    }
}

/// <summary>A task that leaves something to work with.</summary>
/// <typeparam name="TLora">What it leaves: an adapter on its model, ready to use.</typeparam>
/// <param name="config">The settings of the run.</param>
/// <exception cref="ArgumentException">The settings have faults; all are listed.</exception>
public abstract class TrainingTask<TLora>(TrainingConfig config) : TrainingTask(config)
{
    /// <summary>The adapter that trains, on its model.</summary>
    public abstract TLora Lora { get; }
}

/// <summary>What is known of a run when an adapter's file is written.</summary>
/// <param name="Plan">The planned steps.</param>
/// <param name="Steps">The steps taken.</param>
/// <param name="Started">When the run began.</param>
/// <param name="Written">When the file is written.</param>
public sealed record TrainingFileFacts(TrainingPlan Plan, int Steps, DateTimeOffset Started, DateTimeOffset Written);
