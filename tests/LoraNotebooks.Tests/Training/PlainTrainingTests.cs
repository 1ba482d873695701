using LoraNotebooks.Adapters;
using LoraNotebooks.Data;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Models.Language;
using LoraNotebooks.Tests.Diffusion;
using LoraNotebooks.Tests.Models;
using LoraNotebooks.Training;
using TorchSharp;

namespace LoraNotebooks.Tests.Training;

/// <summary>Whole runs against <see cref="PlainTraining"/>: every option, and options together, in what each step tells and in the weights.</summary>
public sealed class PlainTrainingTests(PlainTrainingTests.Models models) : IClassFixture<PlainTrainingTests.Models>, IDisposable
{
    private readonly TemporaryFolder _folder = new();

    private static readonly Dictionary<string, Case> Cases = new()
    {
        ["both networks, a short last batch and step, decay, clipping, warm-up"] = new(PredictionType.VPrediction, config => config with
        {
            Schedule = new LearningRateSchedule { Warmup = 2 },
            MaxGradientNorm = 0.05,
            Epochs = 3,
        }),
        ["perturbation, offset, min-SNR, debiased, weights of images, bounded norms"] = new(PredictionType.VPrediction, config => config with
        {
            IpNoiseGamma = 0.4,
            NoiseOffset = 0.3,
            AdaptiveNoiseScale = 0.5,
            MinSnrGamma = 2,
            DebiasedEstimationLoss = true,
            PriorLossWeight = 0.3,
            MaxGradientNorm = 0.005,
            ScaleWeightNorms = 0.1,
        }),
        ["random strengths, v-like, Huber"] = new(PredictionType.Epsilon, config => config with
        {
            IpNoiseGamma = 0.4,
            IpNoiseGammaRandomStrength = true,
            NoiseOffset = 0.3,
            NoiseOffsetRandomStrength = true,
            VPredLikeLoss = 0.5,
            LossType = LossType.Huber,
            HuberC = 0.3,
            MaxGradientNorm = null,
        }),
        ["multi-resolution, min-SNR, debiased, smooth L1"] = new(PredictionType.Sample, config => config with
        {
            MultiresNoiseIterations = 6,
            MultiresNoiseDiscount = 0.6,
            NoiseOffset = 0.1,
            MinSnrGamma = 3,
            DebiasedEstimationLoss = true,
            LossType = LossType.SmoothL1,
            HuberSchedule = HuberSchedule.Constant,
            HuberC = 0.2,
            HuberScale = 1.5,
        }),
        ["zero terminal SNR, scaled v, few timesteps"] = new(PredictionType.VPrediction, config => config with
        {
            ZeroTerminalSnr = true,
            ScaleVPredLossLikeNoisePred = true,
            MinTimestep = 700,
            LossType = LossType.Huber,
            HuberSchedule = HuberSchedule.Exponential,
            HuberScale = 2,
        }),
        ["min-SNR and debiased of noise, L1, timesteps up to a bound"] = new(PredictionType.Epsilon, config => config with
        {
            MinSnrGamma = 5,
            DebiasedEstimationLoss = true,
            LossType = LossType.L1,
            MaxTimestep = 100,
        }),
        ["dropout, LoRA+, sampled latents, captions, samples"] = new(PredictionType.VPrediction, config => config with
        {
            UNetLora = config.UNetLora with { Dropout = 0.4 },
            TextEncoderLora = config.TextEncoderLora with { Dropout = 0.2 },
            LoraPlusLrRatio = 4,
            SampleLatents = true,
            Captions = new CaptionOptions { Shuffle = true, CaptionDropout = 0.3, TagDropout = 0.2 },
            Reading = new PromptReading { MaxTokenLength = 20 },

            // What is drawn and written between the epochs changes nothing.
            SampleEveryEpochs = 1,
            SamplePrompts = ["portrait"],
            SampleOptions = new GenerationOptions { Steps = 1 },
            SaveEveryEpochs = 1,
        }),
        ["dropout of the text encoder alone, clip skip"] = new(PredictionType.VPrediction, config => config with
        {
            TextEncoderLora = config.TextEncoderLora with { Dropout = 0.4 },
            UNetLearningRate = 0,
            ClipSkip = 2,
            ScaleWeightNorms = 0.1,
        }),
        ["dropout of the UNet alone, convolutions bounded"] = new(PredictionType.Epsilon, config => config with
        {
            UNetLora = new LoraConfig { Rank = 2, Alpha = 3, Dropout = 0.4, TargetModules = ["conv1", "to_q"] },
            TextEncoderLearningRate = null,
            Captions = new CaptionOptions { CaptionDropout = 0.4 },
            ScaleWeightNorms = 0.1,
        }),
        ["SDXL"] = new(PredictionType.VPrediction, config => config with
        {
            UNetLora = config.UNetLora with { Dropout = 0.2 },
            TextEncoderLora = config.TextEncoderLora with { Dropout = 0.2 },
            LoraPlusLrRatio = 4,
            IpNoiseGamma = 0.1,
            ScaleWeightNorms = 0.1,
        }, IsXL: true),
    };

    public static TheoryData<string> Names() => [.. Cases.Keys];

    public void Dispose() => _folder.Dispose();

    [Theory]
    [MemberData(nameof(Names))]
    public void Train_OptionsTogether_GivesTheNumbersOfAPlainLoop(string name)
    {
        var pipeline = models.Of(Cases[name]);
        var dataset = new PreparedDataset(TinyRun.Dataset.Images.Select((image, i) => image with
        {
            LossWeight = 1 + (0.5 * i),
            Repeats = i == 1 ? 2 : 1,
            Origin = new ImageOrigin(40 + i, 30, 3, 5 + i),
        })).WithRegularization(new PreparedDataset(TinyRun.Dataset.Images.Skip(2).Reverse()));
        var config = Cases[name].Change(TinyRun.Config(_folder.Path) with
        {
            Epochs = 2,
            BatchSize = 5,
            GradientAccumulation = 2,
            UNetLearningRate = 0.02,
            TextEncoderLearningRate = 0.01,
            WeightDecay = 2,
            UNetLora = new LoraConfig { Rank = 2, Alpha = 3, TargetModules = ["to_q", "to_v", "to_out.0"] },
            TextEncoderLora = new LoraConfig { Rank = 2, Alpha = 1, TargetModules = ["q_proj", "v_proj"] },
            Schedule = new LearningRateSchedule { Kind = ScheduleKind.Constant },
        });
        var plain = new PlainTraining(config, pipeline, dataset);
        plain.Run();

        var live = new List<long>();
        using var result = new LoraTrainer().Train(
            config,
            pipeline,
            dataset,
            new Immediate<TrainingStep>(_ => live.Add(DisposeScopeManager.Statistics.ThreadTotalLiveCount)));

        Assert.Single(live.Skip(1).Distinct());

        Assert.Equal(plain.Updates.Select(update => (update.Step, update.Epoch)), result.Steps.Select(step => (step.Step, step.Epoch)));
        foreach (var (expected, actual) in plain.Updates.Zip(result.Steps))
        {
            Equal(expected.Loss, actual.Loss);
            Equal(expected.SmoothedLoss, actual.SmoothedLoss);
            Equal(expected.GradientNorm, actual.GradientNorm);
            Assert.Equal(expected.UNetRate, actual.LearningRates.GetValueOrDefault("UNet"), 1e-12);
            Assert.Equal(expected.TextRate ?? -1, actual.LearningRates.GetValueOrDefault("text encoder", -1), 1e-12);
        }

        // Adam divides a gradient by its size, so that where it is next to nothing its last digits are seen; in all weights together they are not.
        Assert.InRange(plain.DistanceOf(PlainTraining.Weights(result.Lora)), 0, 1e-4);

        static void Equal(double expected, double actual) => Assert.Equal(expected, actual, 2e-5 * Math.Abs(expected));
    }

    internal sealed record Case(PredictionType Prediction, Func<DiffusionTrainingConfig, DiffusionTrainingConfig> Change, bool IsXL = false);

    /// <summary>The networks, which every run leaves as they are.</summary>
    public sealed class Models : IDisposable
    {
        private readonly StableDiffusionPipeline _plain = TinyPipeline.Create();
        private readonly StableDiffusionPipeline _xl = TinyPipeline.CreateXL();

        internal StableDiffusionPipeline Of(Case @case)
        {
            var scheduler = TinyPipeline.Scheduler with { PredictionType = @case.Prediction, RescaleBetasZeroSnr = false };
            return @case.IsXL
                ? new StableDiffusionPipeline(_xl.Text, _xl.UNet, _xl.Vae, scheduler)
                : new StableDiffusionPipeline(_plain.Tokenizer, _plain.TextEncoder, _plain.UNet, _plain.Vae, scheduler);
        }

        public void Dispose()
        {
            _plain.Dispose();
            _xl.Dispose();
        }
    }
}
