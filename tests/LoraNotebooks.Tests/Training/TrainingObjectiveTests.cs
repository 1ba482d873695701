using System.Text.Json.Nodes;
using LoraNotebooks.Data;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Formats;
using LoraNotebooks.Tests.Diffusion;
using LoraNotebooks.Tests.Models;
using LoraNotebooks.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Training;

/// <summary>
/// Options of what is learnt, in whole runs: on the embedded base, and stopped and resumed on a tiny model.
/// Their numbers are in <see cref="PlainTrainingTests"/>.
/// </summary>
public sealed class TrainingObjectiveTests(TrainingObjectiveTests.EmbeddedBase embedded) : IClassFixture<TrainingObjectiveTests.EmbeddedBase>, IDisposable
{
    private readonly TemporaryFolder _folder = new();

    private static readonly Dictionary<string, Func<DiffusionTrainingConfig, DiffusionTrainingConfig>> Options = new()
    {
        ["v-like"] = config => config with { VPredLikeLoss = 0.5 },
        ["zero terminal SNR"] = config => config with { ZeroTerminalSnr = true },
        ["timesteps"] = config => config with { MinTimestep = 200, MaxTimestep = 300 },
        ["offset"] = config => config with { NoiseOffset = 0.1 },
        ["offset, adaptive"] = config => config with { NoiseOffset = 0.1, AdaptiveNoiseScale = 0.1 },
        ["offset, random"] = config => config with { NoiseOffset = 0.1, NoiseOffsetRandomStrength = true },
        ["multi-resolution"] = config => config with { MultiresNoiseIterations = 6 },
        ["perturbation"] = config => config with { IpNoiseGamma = 0.1 },
        ["perturbation, random"] = config => config with { IpNoiseGamma = 0.1, IpNoiseGammaRandomStrength = true },
        ["caption dropout"] = config => config with { Captions = new CaptionOptions { CaptionDropout = 0.7, Shuffle = true } },
        ["LoRA+"] = config => config with { LoraPlusLrRatio = 16 },
        ["bounded norms"] = config => config with { ScaleWeightNorms = 1e-3 },
        ["text encoder"] = config => config with { TextEncoderLearningRate = 1e-3 },
        ["prior preservation"] = config => config with { PriorLossWeight = 0.5 },
    };

    public static TheoryData<string> RandomNames() => [.. Options.Keys.Except(["v-like", "zero terminal SNR", "text encoder"])];

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("v-like")]
    [InlineData("zero terminal SNR")]
    [InlineData("multi-resolution")]
    [InlineData("text encoder")]
    public void Train_OnTheEmbeddedBase_StaysFiniteAndKeepsNoTensors(string option)
    {
        // Without rescaling, so that asking for it changes something; the weights are the same.
        var prediction = option == "v-like" ? PredictionType.Epsilon : PredictionType.VPrediction;
        var pipeline = With(embedded.Pipeline, embedded.Pipeline.Scheduler with { RescaleBetasZeroSnr = false, PredictionType = prediction });
        var size = pipeline.NativeSize / 2;
        var dataset = Pictures(4, size).WithRegularization(Pictures(4, size));
        var plain = new DiffusionTrainingConfig { Name = "base", OutputFolder = _folder.Path, Epochs = 2, BatchSize = 2, UNetLearningRate = 1e-3, Seed = 5 };
        var live = new List<long>();

        var losses = Losses(pipeline, dataset, Options[option](plain), live);

        Assert.Equal(8, losses.Length);
        Assert.All(losses, loss => Assert.True(double.IsFinite(loss)));
        Assert.Equal(live[1], live.Skip(1).Max());
    }

    [Theory]
    [MemberData(nameof(RandomNames))]
    public void Train_StoppedAndResumed_GivesTheNumbersOfAnUninterruptedRun(string option)
    {
        using var pipeline = TinyPipeline.Create();
        var dataset = TinyRun.Dataset.WithRegularization(TinyRun.Dataset);
        var config = Options[option](TinyRun.Config(_folder.In("straight"))) with { TextEncoderLearningRate = 1e-3 };
        var straight = Losses(pipeline, dataset, config, null);
        using var source = new CancellationTokenSource();
        var stop = new Immediate<TrainingStep>(step =>
        {
            if (step.Step == 7)
            {
                source.Cancel();
            }
        });

        var interrupted = config with { OutputFolder = _folder.In("stopped") };
        using var first = new LoraTrainer().Train(interrupted, pipeline, dataset, stop, source.Token);
        first.Dispose();
        using var second = new LoraTrainer { ResumeFrom = first.StateFile }.Train(interrupted, pipeline, dataset);

        Assert.True(first.WasCancelled);
        Assert.Equal(straight, first.Steps.Concat(second.Steps).Select(step => step.Loss));
    }

    [Fact]
    public void Train_ClipSkip_ReachesTheTextEncoderUpToTheLayerThatIsUsed()
    {
        using var pipeline = TinyPipeline.Create();
        var config = TinyRun.Config(_folder.Path) with { TextEncoderLearningRate = 1e-3, ClipSkip = 2 };

        using var result = new LoraTrainer().Train(config, pipeline, TinyRun.Dataset);

        var learnt = result.Lora.TextEncoder!.GetLayers("tiny").ToLookup(
            layer => layer.Path.Contains("layers.0.", StringComparison.Ordinal),
            layer => layer.Parameters["lora_B.weight"].abs().max().item<float>());
        Assert.NotEmpty(learnt[true]);
        Assert.NotEmpty(learnt[false]);
        Assert.All(learnt[true], size => Assert.True(size > 0));
        Assert.All(learnt[false], size => Assert.Equal(0, size));
        Assert.Equal(2 * result.Steps[3].LearningRates["text encoder"], 2 * result.Steps[3].LearningRates["UNet"], 1e-12);
    }

    [Fact]
    public void Train_LoraPlus_MovesBThatMuchFasterInTheFirstStep()
    {
        using var pipeline = TinyPipeline.Create();
        var config = TinyRun.Config(_folder.Path) with
        {
            Epochs = 1,
            BatchSize = 5,
            WeightDecay = 0,
            Schedule = new LearningRateSchedule { Kind = ScheduleKind.Constant },
        };

        // Adam's first step is η·g/|g|: η in every number, whatever the gradient.
        Assert.Equal((1e-3, 1.6e-2), (Largest(config), Largest(config with { LoraPlusLrRatio = 16 })), new Close(1e-5));

        double Largest(DiffusionTrainingConfig settings)
        {
            using var result = new LoraTrainer().Train(settings, pipeline, TinyRun.Dataset);
            return result.Lora.UNet!.NamedParameters("tiny")
                .Where(pair => pair.Name.Contains("lora_B", StringComparison.Ordinal))
                .Max(pair => pair.Parameter.abs().max().item<float>());
        }
    }

    [Fact]
    public void Train_ScaleWeightNorms_HoldsAtTheEndOfEveryRun()
    {
        using var pipeline = TinyPipeline.Create();
        var config = TinyRun.Config(_folder.Path) with { UNetLearningRate = 0.1, TextEncoderLearningRate = 0.1, ScaleWeightNorms = 0.2 };

        using var result = new LoraTrainer().Train(config, pipeline, TinyRun.Dataset);

        using var scope = NewDisposeScope();
        float[] norms = [.. result.Lora.UNet!.GetLayers("tiny")
            .Concat(result.Lora.TextEncoder!.GetLayers("tiny"))
            .Select(layer => layer.WeightDelta()!.norm().item<float>())];
        Assert.Equal(0.2, norms.Max(), 1e-5);
    }

    [Fact]
    public void Train_LossWeightOfZero_LearnsNothingFromTheImage()
    {
        using var pipeline = TinyPipeline.Create();
        var config = TinyRun.Config(_folder.Path) with { PriorLossWeight = 0, BatchSize = 10, Epochs = 1 };
        var other = new PreparedDataset(TinyRun.Dataset.Images.Reverse().Select((image, i) => image with { Name = $"other{i}" }));

        var losses = Losses(pipeline, TinyRun.Dataset.WithRegularization(TinyRun.Dataset), config, null);

        Assert.Equal(losses, Losses(pipeline, TinyRun.Dataset.WithRegularization(other), config, null));
        Assert.NotEqual(losses, Losses(pipeline, TinyRun.Dataset.WithRegularization(other), config with { PriorLossWeight = 1 }, null));
    }

    [Fact]
    public void Train_Files_TellEveryOption()
    {
        using var pipeline = TinyPipeline.Create();
        var config = TinyRun.Config(_folder.Path) with
        {
            Epochs = 1,
            LossType = LossType.SmoothL1,
            HuberSchedule = HuberSchedule.Exponential,
            MinSnrGamma = 5,
            DebiasedEstimationLoss = true,
            ZeroTerminalSnr = true,
            NoiseOffset = 0.05,
            AdaptiveNoiseScale = 0.01,
            MultiresNoiseIterations = 4,
            IpNoiseGamma = 0.1,
            PriorLossWeight = 0.5,
            LoraPlusLrRatio = 16,
            ScaleWeightNorms = 1,
            MinTimestep = 10,
            MaxTimestep = 900,
        };

        using var result = new LoraTrainer().Train(config, pipeline, TinyRun.Dataset.WithRegularization(TinyRun.Dataset));

        using var file = SafetensorsFile.Open(result.File);
        Dictionary<string, string> expected = new()
        {
            ["ss_loss_type"] = "smooth_l1",
            ["ss_huber_schedule"] = "exponential",
            ["ss_huber_c"] = "0.1",
            ["ss_min_snr_gamma"] = "5",
            ["ss_debiased_estimation"] = "True",
            ["ss_zero_terminal_snr"] = "True",
            ["ss_noise_offset"] = "0.05",
            ["ss_noise_offset_random_strength"] = "False",
            ["ss_adaptive_noise_scale"] = "0.01",
            ["ss_multires_noise_iterations"] = "4",
            ["ss_multires_noise_discount"] = "0.3",
            ["ss_ip_noise_gamma"] = "0.1",
            ["ss_prior_loss_weight"] = "0.5",
            ["ss_scale_weight_norms"] = "1",
            ["ss_num_train_images"] = "5",
            ["ss_num_reg_images"] = "5",
            ["ss_reg_dataset_dirs"] = """{"1_regularization":{"n_repeats":1,"img_count":5}}""",
            ["ss_network_args"] = """{"loraplus_lr_ratio":"16"}""",
        };
        Assert.All(expected, pair => Assert.Equal(pair.Value, file.Metadata[pair.Key]));
        var record = JsonNode.Parse(File.ReadAllText(result.RecordFile))!;
        Assert.Equal(config.ToJson().ToJsonString(), TrainingConfig.FromJson<DiffusionTrainingConfig>(record["config"]!.AsObject()).ToJson().ToJsonString());
        Assert.Equal(5, record["data"]!["images"]!.AsArray().Count(image => image!["isRegularization"]!.GetValue<bool>()));
        Assert.Contains("10 per epoch with repeats, 5 of them for regularization", result.Plan.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public void Train_OptionsThatDoNotFitTheModel_SaysWhichAndWhy()
    {
        using var pipeline = TinyPipeline.Create();
        var noise = With(pipeline, pipeline.Scheduler with { PredictionType = PredictionType.Epsilon, RescaleBetasZeroSnr = false });
        var config = TinyRun.Config(_folder.Path) with { ScaleVPredLossLikeNoisePred = true, ZeroTerminalSnr = true, MaxTimestep = 5000 };

        var forNoise = Assert.Throws<ArgumentException>(() => new LoraTrainer().Train(config, noise, TinyRun.Dataset)).Message;
        var forVelocity = Assert.Throws<ArgumentException>(
            () => new LoraTrainer().Train(TinyRun.Config(_folder.Path) with { VPredLikeLoss = 1 }, pipeline, TinyRun.Dataset)).Message;

        Assert.Contains("ScaleVPredLossLikeNoisePred: got true for a model that predicts Epsilon", forNoise, StringComparison.Ordinal);
        Assert.Contains("ZeroTerminalSnr: got true", forNoise, StringComparison.Ordinal);
        Assert.Contains("MaxTimestep: got 0 and 5000", forNoise, StringComparison.Ordinal);
        Assert.Contains("VPredLikeLoss: got 1 for a model that predicts VPrediction", forVelocity, StringComparison.Ordinal);
    }

    private static double[] Losses(StableDiffusionPipeline pipeline, PreparedDataset dataset, DiffusionTrainingConfig config, List<long>? live)
    {
        using var result = new LoraTrainer().Train(
            config,
            pipeline,
            dataset,
            new Immediate<TrainingStep>(_ => live?.Add(DisposeScopeManager.Statistics.ThreadTotalLiveCount)));
        return [.. result.Steps.Select(step => step.Loss)];
    }

    /// <summary>The same networks with another schedule.</summary>
    private static StableDiffusionPipeline With(StableDiffusionPipeline pipeline, SchedulerConfig scheduler) =>
        new(pipeline.Tokenizer, pipeline.TextEncoder, pipeline.UNet, pipeline.Vae, scheduler);

    private static PreparedDataset Pictures(int count, int size) => new(Enumerable.Range(0, count).Select(i =>
    {
        var pixels = new byte[size * size * 3];
        new Random(i).NextBytes(pixels);
        return new PreparedImage($"image{i}", new RgbImage(size, size, pixels), $"portrait, long hair, picture {i}", $"image{i}.png");
    }));

    public sealed class EmbeddedBase : IDisposable
    {
        internal StableDiffusionPipeline Pipeline { get; } = StableDiffusionPipeline.FromFolder(BaseModel.Folder);

        public void Dispose() => Pipeline.Dispose();
    }

    private sealed class Close(double tolerance) : IEqualityComparer<(double, double)>
    {
        public bool Equals((double, double) x, (double, double) y) => Math.Abs(x.Item1 - y.Item1) < tolerance && Math.Abs(x.Item2 - y.Item2) < tolerance;

        public int GetHashCode((double, double) pair) => 0;
    }
}
