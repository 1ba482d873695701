using System.Text.Json.Nodes;
using LoraNotebooks.Adapters;
using LoraNotebooks.Formats;
using LoraNotebooks.Tests.Models;
using LoraNotebooks.Training;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Training;

/// <summary>What a task costs that is written in a notebook: a record of settings and a class. Everything else is the loop's.</summary>
public sealed class ToyTaskTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    /// <summary>A frozen network of two layers shall learn y = x₁ − x₂ by a LoRA beside its first layer.</summary>
    public sealed class DifferenceTask : TrainingTask<AdaptedModel>
    {
        private readonly DifferenceConfig _config;
        private readonly Tensor _x;

        public DifferenceTask(DifferenceConfig config, nn.Module<Tensor, Tensor> network)
            : base(config)
        {
            (_config, Network) = (config, network);
            using var generator = Seeds.Generator(RandomUse.Weights);
            _x = randn([10, 2], generator: generator).DetachFromDisposeScope();
            Lora = new AdaptedModel(network);
            Lora.Add(config.Name, config.Lora, generator);
        }

        public nn.Module<Tensor, Tensor> Network { get; }

        public override AdaptedModel Lora { get; }

        public override IReadOnlyList<TrainedNetwork> Networks => [new("model", Lora, _config.Name, _config.LearningRate)];

        public override int Examples => 10;

        public override Tensor Loss(TrainingBatch batch)
        {
            using var scope = NewDisposeScope();
            var rows = _x.index_select(0, tensor(batch.Examples.Select(static i => (long)i).ToArray()));
            var error = Network.call(rows).squeeze(1) - (rows.select(1, 0) - rows.select(1, 1));
            batch.Note("largest error", error.abs().max().item<float>());
            return error.square().mean().MoveToOuterDisposeScope();
        }

        public override IEnumerable<TrainingSample> Samples(int epoch, CancellationToken cancellationToken) =>
            [new TextSample(epoch, "3 − 1", 0, Network.call(tensor([3f, 1f], [1, 2])).item<float>().ToString("F3"))];
    }

    public sealed record DifferenceConfig : TrainingConfig
    {
        public double LearningRate { get; init; } = 0.05;

        public LoraConfig Lora { get; init; } = new() { Rank = 2, Alpha = 2, TargetModules = ["0"] };

        public override IEnumerable<AdapterSetting> Adapters() => [new(nameof(Lora), Lora, LearningRate)];
    }

    [Fact]
    public void Train_TaskOfOnesOwn_LearnsAndTellsStepsMetricsAndSamples()
    {
        using var network = Network();
        var config = Config("toy") with { SampleEveryEpochs = 20 };
        var told = new List<string>();

        using var task = new DifferenceTask(config, network);
        using var result = new LoraTrainer { Samples = new Immediate<TrainingSample>(sample => told.Add(((TextSample)sample).Text)) }.Train(task);

        Assert.Equal("10 examples, 10 per epoch with repeats; batches of 4: 3 steps per epoch; 40 epochs = 120 steps.", result.Plan.ToString());
        Assert.Equal(120, result.Steps.Count);
        Assert.True(result.Steps[^1].Loss < 0.05 * result.Steps[0].Loss, $"{result.Steps[0].Loss} to {result.Steps[^1].Loss}");
        Assert.All(
            result.Steps,
            static step => Assert.Equal(("model", "largest error", "example"), (step.LearningRates.Keys.Single(), step.Metrics.Keys.Single(), step.Unit)));
        Assert.All(result.Steps, static step => Assert.True(step.Metrics["largest error"] >= Math.Sqrt(step.Loss) * 0.999));
        Assert.Equal(told, result.Samples.Select(static sample => ((TextSample)sample).Text));
        Assert.Equal([0, 20, 40], result.Samples.Select(static sample => sample.Epoch));
        Assert.Same(task.Lora, result.Lora);
        Assert.Equal(2, double.Parse(told[^1], System.Globalization.CultureInfo.CurrentCulture), 0.5);
    }

    [Fact]
    public void Train_TaskOfOnesOwn_WritesPeftsFolderWhichReadsBack()
    {
        using var network = Network();
        using var result = new LoraTrainer().Train(new DifferenceTask(Config("toy") with { SaveEveryEpochs = 20 }, network));
        using var input = randn(5, 2);
        var expected = PlainTraining.Numbers(network.call(input));
        Assert.Equal([_folder.In("toy-000020"), _folder.In("toy")], result.Checkpoints);
        Assert.True(PeftFolder.IsAt(result.File));
        result.Dispose();

        using var state = PeftFolder.Read(result.File);
        using var again = new AdaptedModel(network);
        again.Add("again", state);

        Assert.Equal(expected, PlainTraining.Numbers(network.call(input)));
        again.Remove("again");
        Assert.NotEqual(expected, PlainTraining.Numbers(network.call(input)));
    }

    [Fact]
    public void Train_TaskOfOnesOwnStopped_GoesOnToTheNumbersOfOneThatWasNot()
    {
        using var first = Network();
        using var straight = new LoraTrainer().Train(new DifferenceTask(Config("straight"), first));
        using var second = Network();
        using var source = new CancellationTokenSource();
        using var stopped = new LoraTrainer().Train(
            new DifferenceTask(Config("stopped"), second), new Immediate<TrainingStep>(step => { if (step.Step == 50) { source.Cancel(); } }), source.Token);
        Assert.True(stopped.WasCancelled);
        stopped.Dispose();

        using var resumed = new LoraTrainer { ResumeFrom = stopped.StateFile }.Train(new DifferenceTask(Config("stopped"), second));

        Assert.Equal(straight.Steps.Skip(50).Select(static step => step.Loss), resumed.Steps.Select(static step => step.Loss));
        Assert.Equal(PlainTraining.Numbers(first.parameters().First()), PlainTraining.Numbers(second.parameters().First()));
        var record = JsonNode.Parse(File.ReadAllText(resumed.RecordFile))!;
        Assert.Equal(120, record["steps"]!.AsArray().Count);
        Assert.Equal(0.05, (double)record["config"]!["LearningRate"]!);
    }

    [Fact]
    public void Train_TaskOfOnesOwnWithOtherSettingsOrBase_IsNotResumed()
    {
        using var network = Network();
        using var done = new LoraTrainer().Train(new DifferenceTask(Config("toy") with { Epochs = 1 }, network));
        done.Dispose();
        var resuming = new LoraTrainer { ResumeFrom = done.StateFile };

        var settings = Assert.Throws<InvalidDataException>(() => resuming.Train(new DifferenceTask(Config("toy") with { LearningRate = 0.1 }, network)));
        Assert.Contains("- LearningRate: 0.05, here 0.1", settings.Message, StringComparison.Ordinal);
        using (no_grad())
        {
            network.parameters().First().add_(1);
        }

        var weights = Assert.Throws<InvalidDataException>(() => resuming.Train(new DifferenceTask(Config("toy"), network)));
        Assert.Contains("- base model: weights of model ", weights.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Config_OfOnesOwn_IsRefusedAndReadLikeAnother()
    {
        var config = Config("toy") with { Lora = new() { Method = AdapterMethod.Loha, TargetModules = ["0"] }, LoraPlusLrRatio = 16, BatchSize = 0 };
        Assert.Equal(["BatchSize", "LoraPlusLrRatio"], config.Validate().Select(static fault => fault.Split(':')[0]));
        var json = (Config("toy") with { LearningRate = 0.25 }).ToJson();
        Assert.Equal(
            (0.25, json.ToJsonString()),
            (TrainingConfig.FromJson<DifferenceConfig>(json).LearningRate, TrainingConfig.FromJson<DifferenceConfig>(json).ToJson().ToJsonString()));
    }

    private static LoraConfig Lora { get; } = new() { Rank = 2, Alpha = 2, TargetModules = ["0"] };

    private DifferenceConfig Config(string name) =>
        new()
        {
            Name = name,
            OutputFolder = _folder.Path,
            Epochs = 40,
            BatchSize = 4,
            Lora = Lora,
            Schedule = new() { Kind = ScheduleKind.Constant },
            WeightDecay = 0,
            Seed = 1,
        };

    private static nn.Module<Tensor, Tensor> Network()
    {
        manual_seed(5);
        return nn.Sequential(nn.Linear(2, 8), nn.Linear(8, 1));
    }
}
