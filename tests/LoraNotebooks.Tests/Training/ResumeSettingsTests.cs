using System.Text.Json.Nodes;
using LoraNotebooks.Adapters;
using LoraNotebooks.Data;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Models.Diffusion;
using LoraNotebooks.Models.Language;
using LoraNotebooks.Tests.Diffusion;
using LoraNotebooks.Tests.Models;
using LoraNotebooks.Training;
using LoraNotebooks.Training.Optimizers;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Training;

/// <summary>Every setting of a run and of its base model, changed when resuming: it is refused by name, or changes no number.</summary>
public sealed class ResumeSettingsTests : IDisposable
{
    private static readonly Type[] Nested =
        [typeof(LearningRateSchedule), typeof(LoraConfig), typeof(PromptReading), typeof(CaptionOptions), typeof(GenerationOptions), typeof(AdamWOptimizer)];

    /// <summary>What may change; that it changes no number is shown by a run.</summary>
    private static readonly Dictionary<string, Func<DiffusionTrainingConfig, DiffusionTrainingConfig>> Harmless = new()
    {
        ["Name"] = static config => config with { Name = "renamed" },
        ["OutputFolder"] = static config => config with { OutputFolder = config.OutputFolder + "-elsewhere" },
        ["Epochs"] = static config => config with { Epochs = 3 },
        ["SaveEveryEpochs"] = static config => config with { SaveEveryEpochs = 1 },
        ["SampleEveryEpochs"] = static config => config with { SampleEveryEpochs = 3 },
        ["SamplePrompts"] = static config => config with { SampleEveryEpochs = 1, SamplePrompts = ["long hair", "shirt"] },
        ["SampleOptions"] = static config =>
            config with
            {
                SampleEveryEpochs = 1,
                SampleOptions = new() { Seed = 3, Steps = 2, Count = 2, Guidance = 3, Width = 8, Eta = 1, NegativePrompt = "shirt" }
            },
    };

    /// <summary>What of a model's scheduler decides training; the rest is for drawing.</summary>
    private static readonly Dictionary<string, string> OfTraining = new()
    {
        ["NumTrainTimesteps"] = "num_train_timesteps",
        ["BetaStart"] = "beta_start",
        ["BetaEnd"] = "beta_end",
        ["BetaSchedule"] = "beta_schedule",
        ["TrainedBetas"] = "trained_betas",
        ["PredictionType"] = "prediction_type",
        ["RescaleBetasZeroSnr"] = "rescale_betas_zero_snr",
    };

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void DifferencesInNumbers_EverySettingChanged_IsNamedUnlessItIsHarmless()
    {
        var names = Changes.Names(typeof(DiffusionTrainingConfig), Nested).ToList();
        var wrong = new List<string>();
        foreach (var name in names)
        {
            var first = TinyRun.Config("out") with { TextEncoderLearningRate = 1e-3 };
            if (name.EndsWith(".UseEffectiveConv2d", StringComparison.Ordinal))
            {
                // Settings of this method alone.
                first = first with
                {
                    UNetLora = first.UNetLora with { Method = AdapterMethod.Lokr },
                    TextEncoderLora = first.TextEncoderLora with { Method = AdapterMethod.Lokr }
                };
            }

            var second = Changes.With(first, name);
            var top = name.Split('.')[0];
            string[] expected = Harmless.ContainsKey(top) ? [] : [$"{top}: {Text(first.ToJson()[top])}, here {Text(second.ToJson()[top])}"];
            if (!second.DifferencesInNumbers(first.ToJson()).SequenceEqual(expected))
            {
                wrong.Add($"{name}: {string.Join("; ", second.DifferencesInNumbers(first.ToJson()))}");
            }
        }

        Assert.Empty(wrong);
        Assert.True(names.Count > 100, $"{names.Count} settings");
        Assert.All(Harmless.Keys, name => Assert.Contains(names, setting => setting.Split('.')[0] == name));

        static string Text(JsonNode? node) => node?.ToJsonString() ?? "null";
    }

    [Fact]
    public void DifferencesInNumbers_SettingThatAnEarlierVersionDidNotHave_HadItsDefault()
    {
        var config = TinyRun.Config("out") with { WeightDecay = 0.01, MaxGradientNorm = null };
        var theirs = config.ToJson();
        theirs.Remove("WeightDecay");
        theirs.Remove("MaxGradientNorm");
        theirs["OfALaterVersion"] = 3;

        Assert.Equal(["MaxGradientNorm: 1, here null"], config.DifferencesInNumbers(theirs));
        Assert.Equal(["WeightDecay: 0.01, here 0.5"], (config with { WeightDecay = 0.5, MaxGradientNorm = 1 }).DifferencesInNumbers(theirs));
    }

    [Fact]
    public void Resume_HarmlessSettingChanged_GivesTheNumbersOfTheUnchangedRun()
    {
        using var pipeline = TinyPipeline.Create();
        var data = TinyRun.First(2);
        var config = TinyRun.Config(_folder.In("straight")) with
        {
            BatchSize = 1,
            SamplePrompts = ["portrait"],
            SampleEveryEpochs = 2,
            SampleOptions = new() { Steps = 1 },
            TextEncoderLora = new DiffusionTrainingConfig().TextEncoderLora,
            Schedule = new() { Kind = ScheduleKind.ConstantWithWarmup, Warmup = 2 },
            Captions = new() { Shuffle = true },
        };
        using var straight = new LoraTrainer().Train(config, pipeline, data);
        straight.Dispose();
        using var source = new CancellationTokenSource();
        config = config with { OutputFolder = _folder.In("stopped") };
        using var first = new LoraTrainer().Train(config, pipeline, data, new Immediate<TrainingStep>(step => { if (step.Step == 3) { source.Cancel(); } }),
            source.Token);
        first.Dispose();
        File.Copy(first.StateFile, _folder.In("tiny-state.safetensors"));

        foreach (var (name, change) in Harmless)
        {
            using var second = new LoraTrainer { ResumeFrom = _folder.In("tiny-state.safetensors") }.Train(change(config), pipeline, data);

            Assert.Equal(name == "Epochs" ? 3 : 5, second.Steps.Count);
            Assert.Equal(straight.Steps.Skip(3).Take(second.Steps.Count).Select(static step => (step.Loss, step.LearningRates["UNet"])), second.Steps
                .Select(static step => (step.Loss, step.LearningRates["UNet"])));
            if (name != "Epochs")
            {
                Assert.Equal(RunFiles.Numbers(straight.File), RunFiles.Numbers(second.File));
            }

            Assert.Empty(second.Warnings);
            Assert.DoesNotContain(second.Samples, static sample => sample.Epoch == 0);
            Assert.Equal(3 + second.Steps.Count, RunFiles.Record(second)["losses"]!.AsArray().Count);
        }
    }

    [Fact]
    public void TrainingBase_EverySettingOfTheScheduler_IsNamedIfItDecidesTraining()
    {
        using var pipeline = TinyPipeline.Create();
        var values = new Dictionary<string, object>
        {
            ["ClassName"] = "PNDMScheduler",
            ["BetaEnd"] = 0.015,
            ["TrainedBetas"] = Enumerable.Repeat(0.01, 1000).ToArray(),
            ["SolverType"] = "heun",
            ["AlgorithmType"] = "sde-dpmsolver++",
            ["NumTrainTimesteps"] = 900,
            ["BetaStart"] = 0.001,
        };
        var scheduler = TinyPipeline.Scheduler with { RescaleBetasZeroSnr = false };
        var ours = Of(scheduler);
        var schedule = new NoiseSchedule(scheduler);

        foreach (var name in Changes.Names(typeof(SchedulerConfig)))
        {
            var changed = Changes.With(scheduler, name, values);
            var theirs = Of(changed);
            var other = new NoiseSchedule(changed);

            var differences = ours.DifferencesFrom(theirs).ToList();

            var isOfTraining = OfTraining.TryGetValue(name, out var key);
            Assert.Equal(isOfTraining, !schedule.Betas.SequenceEqual(other.Betas) || schedule.PredictionType != other.PredictionType);
            string[] expected = isOfTraining ? [$"base model: {key} {Text(changed, key!)}, here {Text(scheduler, key!)}"] : [];
            Assert.Equal(expected, differences);
        }

        TrainingBase Of(SchedulerConfig config)
        {
            // The networks stay the pipeline's own.
            var changed = new StableDiffusionPipeline(pipeline.Tokenizer, pipeline.TextEncoder, pipeline.UNet, pipeline.Vae, config);
            return DiffusionBase.Of(changed);
        }

        static string Text(SchedulerConfig config, string key) => config.ToJson()[key]?.ToJsonString() ?? "null";
    }

    [Fact]
    public void TrainingBase_OtherScaleShiftOrAdapters_IsNamed()
    {
        using var pipeline = TinyPipeline.Create();
        var vae = new AutoencoderKL(TinyModels.Vae with { ShiftFactor = 0.5, ScalingFactor = 0.25 }, new Generator(1));
        var text = pipeline.Vae.state_dict();
        vae.load_state_dict(text);
        using var other = new StableDiffusionPipeline(pipeline.Tokenizer, pipeline.TextEncoder, pipeline.UNet, vae, pipeline.Scheduler);
        var (ours, theirs) = (DiffusionBase.Of(pipeline), DiffusionBase.Of(other));

        Assert.Equal(["base model: scaling_factor 0.25, here 0.18215", "base model: shift_factor 0.5, here null"], ours.DifferencesFrom(theirs));
        Assert.Equal(["base model: scaling_factor 0.18215, here 0.25", "base model: shift_factor null, here 0.5"], theirs.DifferencesFrom(ours));
        Assert.Equal(["base model: scaling_factor none, here 0.18215"],
            ours.DifferencesFrom(ours with { Settings = ours.Settings!.Where(static pair => pair.Key != "scaling_factor").ToDictionary() }));
        Assert.Empty(ours.DifferencesFrom(theirs with { Settings = null }));
        Assert.Empty(ours.DifferencesFrom(ours with { Source = "elsewhere", HubName = "org/name@1", Type = "BFloat16" }));
        Assert.Equal(["adapters beside the base model: a, b, here none"], ours.DifferencesFrom(ours with { Adapters = ["a", "b"] }));
        Assert.Equal(["adapters beside the base model: none, here b, a"], (ours with { Adapters = ["b", "a"] }).DifferencesFrom(ours));
        Assert.Single((ours with { Adapters = ["b", "a"] }).DifferencesFrom(ours with { Adapters = ["a", "b"] }));
    }

    [Fact]
    public void TrainingBase_OtherWeights_SaysOfWhatModelTheyWere()
    {
        var ours = new TrainingBase { Type = "Float32", Weights = new Dictionary<string, string> { ["unet"] = "1", ["vae"] = "2" }, Adapters = [] };
        var theirs = ours with { Type = "BFloat16", Weights = new Dictionary<string, string> { ["unet"] = "3", ["text_encoder"] = "4" } };

        Assert.Equal(
            [
                "base model: weights of unet 3 (BFloat16 of a model in memory), here 1 (Float32 of org/name@5)",
                "base model: weights of vae none, here 2 (Float32 of org/name@5)",
                "base model: weights of text_encoder 4 (BFloat16 of a model in memory), here none",
            ],
            (ours with { Source = "folder", HubName = "org/name@5" }).DifferencesFrom(theirs));
        Assert.StartsWith("base model: weights of unet 3 (BFloat16 of folder), here", ours.DifferencesFrom(theirs with { Source = "folder" }).First(),
            StringComparison.Ordinal);
    }

    [Fact]
    public void TrainingBase_JsonAndBack_IsTheSame()
    {
        using var pipeline = TinyPipeline.CreateXL();
        pipeline.Save(_folder.In("base"));
        using var saved = StableDiffusionPipeline.FromFolder(_folder.In("base"));
        var ours = DiffusionBase.Of(saved) with { HubName = "org/name@5", Adapters = ["unet: a × 1"] };

        var again = TrainingBase.FromJson(ours.ToJson().ToJsonString());

        Assert.Equal(ours.ToJson().ToJsonString(), again.ToJson().ToJsonString());
        Assert.Empty(ours.DifferencesFrom(again));
        Assert.Equal((_folder.In("base"), "org/name@5", "Float32"), (again.Source, again.HubName, again.Type));
        Assert.Equal(["source", "hubName", "type", "weights", "settings", "adapters"], ours.ToJson().Select(static pair => pair.Key));
        Assert.Equal(saved.HashWeights(), again.Weights);
        Assert.Equal(ours.Settings, again.Settings);
    }
}
