using System.Text.Json.Nodes;
using LoraNotebooks.Adapters;
using LoraNotebooks.Data;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Formats;
using LoraNotebooks.Models.Language;
using LoraNotebooks.Tensors;
using LoraNotebooks.Tests.Diffusion;
using LoraNotebooks.Tests.Models;
using LoraNotebooks.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Training;

public sealed class LoraTrainerTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly StableDiffusionPipeline _pipeline = TinyPipeline.Create();

    public void Dispose()
    {
        _pipeline.Dispose();
        _folder.Dispose();
    }

    [Fact]
    public void Train_SmallRun_LearnsAndWritesItsFiles()
    {
        var config = TinyRun.Config(_folder.Path) with { SaveEveryEpochs = 2, TextEncoderLearningRate = 5e-4, MinSnrGamma = 5 };
        var reported = new List<TrainingStep>();

        using var result = new LoraTrainer().Train(config, _pipeline, TinyRun.Dataset, new Immediate<TrainingStep>(reported.Add));

        Assert.Equal(12, result.Plan.TotalSteps);
        Assert.Equal(result.Steps, reported);
        Assert.Equal(Enumerable.Range(1, 12), reported.Select(step => step.Step));
        Assert.Equal([1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4], reported.Select(step => step.Epoch));
        Assert.Equal([0, 5e-4, 1e-3], reported.Take(3).Select(step => step.LearningRates["UNet"]));
        Assert.Equal(5e-4, reported[2].LearningRates["text encoder"]);
        Assert.All(reported, step => Assert.True(step.GradientNorm > 0 && step.ExamplesPerSecond > 0));
        Assert.Equal(["tiny-000002.safetensors", "tiny.safetensors"], result.Checkpoints.Select(Path.GetFileName));
        Assert.All([.. result.Checkpoints, result.StateFile, result.RecordFile], file => Assert.True(File.Exists(file), file));
        Assert.Empty(Directory.GetFiles(_folder.Path, "*.tmp"));
        Assert.False(result.WasCancelled);
        Assert.All(
            result.Lora.UNet!.NamedParameters("tiny").Where(pair => pair.Name.EndsWith("lora_B.weight", StringComparison.Ordinal)),
            pair => Assert.True(pair.Parameter.abs().max().item<float>() > 0));
    }

    [Fact]
    public void Train_Files_TellTheTruthAboutTheRun()
    {
        var config = TinyRun.Config(_folder.Path) with { SaveEveryEpochs = 1, Epochs = 2, GradientAccumulation = 2 };

        using var result = new LoraTrainer().Train(config, _pipeline, TinyRun.Dataset);

        using var checkpoint = SafetensorsFile.Open(result.Checkpoints[0]);
        Assert.Equal(
            ("1", "2", "4", "2", "3"),
            (checkpoint.Metadata["ss_epoch"], checkpoint.Metadata["ss_steps"],
                checkpoint.Metadata["ss_max_train_steps"], checkpoint.Metadata["ss_network_dim"], checkpoint.Metadata["ss_seed"]));
        Assert.Equal("None", checkpoint.Metadata["ss_text_encoder_lr"]);
        var record = JsonNode.Parse(File.ReadAllText(result.RecordFile))!;
        Assert.Equal(result.Steps.Select(step => step.Loss), record["losses"]!.AsArray().Select(loss => loss!.GetValue<double>()));
        Assert.Equal(TinyRun.Dataset.ComputeHash(), record["data"]!["hash"]!.GetValue<string>());
        Assert.Equal(config.ToJson().ToJsonString(), TrainingConfig.FromJson<DiffusionTrainingConfig>(record["config"]!.AsObject()).ToJson().ToJsonString());
    }

    [Fact]
    public void Train_SameSeed_GivesTheSameLossesBitForBit()
    {
        var config = TinyRun.Config(_folder.Path) with { Captions = new CaptionOptions { Shuffle = true, CaptionDropout = 0.2 }, SampleLatents = true };

        Assert.Equal(Losses(config), Losses(config));
    }

    [Theory]
    [InlineData(null)]
    [InlineData(1e-4)]
    public void Train_LongOrWeightedCaptions_AreReadAsAsked(double? textRate)
    {
        // Past the tokens that the encoder sees at once, only the end of the caption tells the pictures apart.
        var data = new PreparedDataset(TinyRun.Dataset.Images.Select(image => image with
        {
            Caption = string.Join(", ", Enumerable.Repeat("long hair", 8)) + ", (blue shirt:1.5)",
        }));
        var config = TinyRun.Config(_folder.Path) with { TextEncoderLearningRate = textRate, Epochs = 1 };
        PromptReading[] readings = [new(), new() { MaxTokenLength = 40 }, new() { MaxTokenLength = 40, Weighting = PromptWeighting.Scale }];

        var losses = readings.Select(reading => Losses(config with { Reading = reading }, data)).ToList();

        Assert.Equal(3, losses.Select(static l => string.Join(' ', l)).Distinct().Count());
        Assert.Contains(
            "Reading.MaxTokenLength",
            Assert.ThrowsAny<ArgumentException>(() => Losses(config with { Reading = new() { MaxTokenLength = 0 } }, data)).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public void Train_OtherSeed_GivesOtherLosses()
    {
        var config = TinyRun.Config(_folder.Path);

        Assert.NotEqual(Losses(config), Losses(config with { Seed = 4 }));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Train_StoppedAndResumed_GivesTheNumbersOfAnUninterruptedRun(bool everything)
    {
        var config = TinyRun.Config(_folder.In("straight"));
        if (everything)
        {
            config = config with
            {
                TextEncoderLearningRate = 1e-3,
                GradientAccumulation = 2,
                UNetLora = config.UNetLora with { Dropout = 0.3 },
                Captions = new CaptionOptions { Shuffle = true, CaptionDropout = 0.3 },
            };
        }

        using var straight = new LoraTrainer().Train(config, _pipeline, TinyRun.Dataset);
        var expected = Weights(straight);
        straight.Dispose();

        using var source = new CancellationTokenSource();
        var interrupted = config with { OutputFolder = _folder.In("stopped") };
        using var first = new LoraTrainer().Train(interrupted, _pipeline, TinyRun.Dataset, StopAt(5, source), source.Token);
        first.Dispose();
        using var second = new LoraTrainer { ResumeFrom = first.StateFile }.Train(interrupted, _pipeline, TinyRun.Dataset);

        Assert.True(first.WasCancelled);
        Assert.Equal(straight.Steps.Select(step => step.Loss), first.Steps.Concat(second.Steps).Select(step => step.Loss));
        Assert.Equal(
            straight.Steps.Select(step => (step.Step, step.SmoothedLoss, step.GradientNorm, step.LearningRates["UNet"])),
            first.Steps.Concat(second.Steps).Select(step => (step.Step, step.SmoothedLoss, step.GradientNorm, step.LearningRates["UNet"])));
        Assert.Equal(expected, Weights(second));
    }

    [Fact]
    public void Train_ResumedWithOtherSettings_NamesEveryDifference()
    {
        var config = TinyRun.Config(_folder.Path) with { Epochs = 1 };
        using var result = new LoraTrainer().Train(config, _pipeline, TinyRun.Dataset);
        result.Dispose();
        var changed = config with { Seed = 9, BatchSize = 1 };

        var error = Assert.Throws<InvalidDataException>(() => new LoraTrainer { ResumeFrom = result.StateFile }.Train(changed, _pipeline, TinyRun.Dataset));
        var noState = Assert.Throws<InvalidDataException>(() => new LoraTrainer { ResumeFrom = result.File }.Train(config, _pipeline, TinyRun.Dataset));

        Assert.Contains("Seed: 3, here 9", error.Message, StringComparison.Ordinal);
        Assert.Contains("BatchSize: 2, here 1", error.Message, StringComparison.Ordinal);
        Assert.Contains("no training state", noState.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Train_Record_NamesBaseModelAndMachine()
    {
        _pipeline.Save(_folder.In("base"));
        using var saved = StableDiffusionPipeline.FromFolder(_folder.In("base"));
        var weights = saved.HashWeights();
        using var beside = StableDiffusionLora.Create(saved, "beside", new LoraConfig { Rank = 1, Alpha = 1, TargetModules = ["to_q"] }, null, seed: 1);
        beside.Weight = 0.5;

        // Lowered precision is of the run, not of the base.
        using var result = new LoraTrainer().Train(
            TinyRun.Config(_folder.Path) with { Epochs = 1, Precision = TrainingPrecision.BFloat16 },
            saved,
            TinyRun.Dataset);

        var record = RunFiles.Record(result);
        Assert.Equal(_folder.In("base"), record["base"]!["source"]!.GetValue<string>());
        Assert.Equal("Float32", record["base"]!["type"]!.GetValue<string>());
        Assert.Equal(weights, record["base"]!["weights"]!.AsObject().ToDictionary(static pair => pair.Key, static pair => pair.Value!.GetValue<string>()));
        Assert.Equal("unet: beside × 0.5", Assert.Single(record["base"]!["adapters"]!.AsArray())!.GetValue<string>());
        Assert.Equal("v_prediction", record["scheduler"]!["prediction_type"]!.GetValue<string>());
        var run = Assert.Single(record["runs"]!.AsArray())!;
        Assert.Equal((1, 3), (run["firstStep"]!.GetValue<int>(), run["lastStep"]!.GetValue<int>()));
        var machine = Machine.Here();
        Assert.Equal(machine.Processor.Name, run["machine"]!["processor"]!["name"]!.GetValue<string>());
        Assert.Equal(machine.Processor.Instructions, run["machine"]!["processor"]!["instructions"]!.AsArray().Select(static name => name!.GetValue<string>()));
        Assert.Equal(
            (machine.LibTorch, machine.Threads, machine.Kernels),
            (run["machine"]!["libTorch"]!.GetValue<string>(), run["machine"]!["threads"]!.GetValue<int>(), run["machine"]!["kernels"]!.GetValue<string>()));
    }

    [Fact]
    public void Train_ResumedOnAnotherMachine_GoesOnAndTellsBoth()
    {
        var config = TinyRun.Config(_folder.Path);
        using var source = new CancellationTokenSource();
        using var first = new LoraTrainer().Train(config, _pipeline, TinyRun.Dataset, StopAt(5, source), source.Token);
        first.Dispose();
        var elsewhere = JsonNode.Parse(RunFiles.Metadata(first.StateFile)["runs"])!.AsArray();
        elsewhere[0]!["machine"]!["processor"]!["name"] = "another";
        RunFiles.Change(first.StateFile, "runs", elsewhere.ToJsonString());

        using var second = new LoraTrainer { ResumeFrom = first.StateFile }.Train(config, _pipeline, TinyRun.Dataset);

        var runs = RunFiles.Record(second)["runs"]!.AsArray();
        Assert.Equal([(1, 5), (6, 12)], runs.Select(static run => (run!["firstStep"]!.GetValue<int>(), run["lastStep"]!.GetValue<int>())));
        Assert.Equal(["another", Processor.Current.Name], runs.Select(static run => run!["machine"]!["processor"]!["name"]!.GetValue<string>()));
        Assert.Equal(Enumerable.Range(1, 12), RunFiles.Record(second)["steps"]!.AsArray().Select(static step => step!["step"]!.GetValue<int>()));
        Assert.Equal(
            first.Steps.Concat(second.Steps).Select(static step => step.Loss),
            RunFiles.Record(second)["steps"]!.AsArray().Select(static step => step!["loss"]!.GetValue<double>()));
    }

    [Fact]
    public void Train_ResumedOnAnotherBase_IsRefusedByTheNetworksName()
    {
        var config = TinyRun.Config(_folder.Path) with { Epochs = 1 };
        using var result = new LoraTrainer().Train(config, _pipeline, TinyRun.Dataset);
        result.Dispose();
        var hash = _pipeline.HashWeights()["unet"];
        using (var merged = StableDiffusionLora.Create(_pipeline, "merged", new LoraConfig { Rank = 1, Alpha = 1, TargetModules = ["to_q"] }, null, seed: 1))
        {
            using var noGradient = no_grad();
            merged.UNetParameters.ToList().ForEach(static parameter => parameter.fill_(0.1f));
            merged.Merge();

            var error = Assert.Throws<InvalidDataException>(
                () => new LoraTrainer { ResumeFrom = result.StateFile }.Train(config, _pipeline, TinyRun.Dataset)).Message;

            Assert.Contains(
                $"base model: weights of unet {hash} (Float32 of a model in memory), here {_pipeline.HashWeights()["unet"]}",
                error,
                StringComparison.Ordinal);
            Assert.Contains("adapters beside the base model: none, here unet: merged × 1, merged", error, StringComparison.Ordinal);
            Assert.DoesNotContain("vae", error, StringComparison.Ordinal);
        }

        // A state that notes no base model is one of an earlier version.
        RunFiles.Change(result.StateFile, "base_model", null);
        using var resumed = new LoraTrainer { ResumeFrom = result.StateFile }.Train(config with { Epochs = 2 }, _pipeline, TinyRun.Dataset);
        Assert.Equal([4, 5, 6], resumed.Steps.Select(static step => step.Step));
    }

    [Fact]
    public void Train_ResumedBesideADamagedRecord_SaysWhatToDo()
    {
        var config = TinyRun.Config(_folder.Path) with { Epochs = 1 };
        using var result = new LoraTrainer().Train(config, _pipeline, TinyRun.Dataset);
        result.Dispose();
        File.WriteAllText(result.RecordFile, "{}");

        var error = Assert.Throws<InvalidDataException>(
            () => new LoraTrainer { ResumeFrom = result.StateFile }.Train(config with { Epochs = 2 }, _pipeline, TinyRun.Dataset)).Message;
        File.Delete(result.RecordFile);
        using var resumed = new LoraTrainer { ResumeFrom = result.StateFile }.Train(config with { Epochs = 2 }, _pipeline, TinyRun.Dataset);

        Assert.Contains("move it away", error, StringComparison.Ordinal);
        Assert.Equal(3, RunFiles.Record(resumed)["steps"]!.AsArray().Count);
        Assert.Equal(6, RunFiles.Record(resumed)["losses"]!.AsArray().Count);
    }

    [Fact]
    public void Train_Cancelled_StopsWithinOneStepAndKeepsWhatWasLearnt()
    {
        using var source = new CancellationTokenSource();

        using var result = new LoraTrainer().Train(TinyRun.Config(_folder.Path), _pipeline, TinyRun.Dataset, StopAt(4, source), source.Token);

        Assert.True(result.WasCancelled);
        Assert.Equal(4, result.Steps.Count);
        Assert.Equal("tiny-step00000004.safetensors", Path.GetFileName(result.File));
        var learnt = Weights(result);
        result.Dispose();
        using var loaded = StableDiffusionLora.Load(_pipeline, result.File, "loaded");
        Assert.Equal(learnt, Weights(loaded, "loaded"));
    }

    [Fact]
    public void Train_CancelledBeforeTheFirstStep_ThrowsAndLeavesThePipelineAlone()
    {
        using var source = new CancellationTokenSource();
        source.Cancel();

        Assert.ThrowsAny<OperationCanceledException>(
            () => new LoraTrainer().Train(TinyRun.Config(_folder.Path), _pipeline, TinyRun.Dataset, cancellationToken: source.Token));
        Assert.All(_pipeline.UNet.parameters(), parameter => Assert.True(parameter.requires_grad));
    }

    [Fact]
    public void Train_LossNotFinite_StopsAndKeepsTheLastCheckpoint()
    {
        var config = TinyRun.Config(_folder.Path) with { SaveEveryEpochs = 1 };
        var poison = new Immediate<TrainingStep>(step =>
        {
            if (step.Step == 4)
            {
                using var noGradient = no_grad();
                _pipeline.UNet.get_parameter("conv_out.bias")!.fill_(float.NaN);
            }
        });

        var error = Assert.Throws<TrainingDivergedException>(() => new LoraTrainer().Train(config, _pipeline, TinyRun.Dataset, poison));

        Assert.Equal(5, error.Step);
        Assert.Equal(_folder.In("tiny-000001.safetensors"), error.LastCheckpoint);
        Assert.Contains("Lower the learning rate", error.Message, StringComparison.Ordinal);
        using var file = SafetensorsFile.Open(error.LastCheckpoint!);
        using var scope = NewDisposeScope();
        Assert.All(file.Tensors.Keys, name => Assert.True(file.Load(name).isfinite().all().item<bool>()));
    }

    [Fact]
    public void Train_Samples_AreDrawnFromTheSameNoiseBeforeAndAfterEpochs()
    {
        var config = TinyRun.Config(_folder.Path) with
        {
            UNetLearningRate = 0.05,
            SampleEveryEpochs = 2,
            SamplePrompts = ["portrait", "long hair"],
            SampleOptions = new GenerationOptions { Steps = 2, Seed = 11 },
        };
        var reported = new List<TrainingSample>();

        using var result = new LoraTrainer { Samples = new Immediate<TrainingSample>(reported.Add) }.Train(config, _pipeline, TinyRun.Dataset);

        Assert.Equal(
            [(0, "portrait", 11L), (0, "long hair", 11L), (2, "portrait", 11L), (2, "long hair", 11L), (4, "portrait", 11L), (4, "long hair", 11L)],
            reported.Select(sample => (sample.Epoch, sample.Prompt, sample.Seed)));
        Assert.Equal(
            _pipeline.Generate(config.SampleOptions with { Prompt = "portrait" })[0].Pixels.ToArray(),
            ((PictureSample)reported[4]).Image.Pixels.ToArray());
        Assert.NotEqual(((PictureSample)reported[0]).Image.Pixels.ToArray(), ((PictureSample)reported[4]).Image.Pixels.ToArray());
    }

    [Fact]
    public void Train_BFloat16_GivesTheBaseBackBitForBit()
    {
        var before = _pipeline.UNet.state_dict().ToDictionary(pair => pair.Key, pair => pair.Value.clone());
        var config = TinyRun.Config(_folder.Path) with { Precision = TrainingPrecision.BFloat16 };
        var full = Losses(config with { Precision = TrainingPrecision.AsLoaded });

        using var result = new LoraTrainer().Train(config, _pipeline, TinyRun.Dataset);

        Assert.All(_pipeline.UNet.state_dict(), pair => Assert.True(pair.Value.equal(before[pair.Key]).all().item<bool>()));
        Assert.NotEqual(full, result.Steps.Select(step => step.Loss));
        Assert.All(result.Steps.Zip(full), pair => Assert.Equal(pair.Second, pair.First.Loss, 0.05 * pair.Second));
    }

    [Fact]
    public void Train_ManySteps_KeepsNoTensors()
    {
        var live = new List<long>();
        var config = TinyRun.Config(_folder.Path) with { Epochs = 100, SaveEveryEpochs = 10, TextEncoderLearningRate = 1e-4 };

        using var result = new LoraTrainer().Train(
            config,
            _pipeline,
            TinyRun.Dataset,
            new Immediate<TrainingStep>(_ => live.Add(DisposeScopeManager.Statistics.ThreadTotalLiveCount)));

        Assert.Equal(300, live.Count);
        Assert.Equal(live[1], live.Skip(1).Max());
    }

    [Fact]
    public void Train_ImageSizeThatDoesNotFit_SaysSo()
    {
        var odd = new PreparedDataset([new PreparedImage("odd", new RgbImage(15, 15, new byte[15 * 15 * 3]), "", "odd.png")]);

        var error = Assert.Throws<ArgumentException>(() => new LoraTrainer().Train(TinyRun.Config(_folder.Path), _pipeline, odd));

        Assert.Contains("Got images of 15 × 15 pixels, expected multiples of 2", error.Message, StringComparison.Ordinal);
    }

    private static Immediate<TrainingStep> StopAt(int step, CancellationTokenSource source) => new(done =>
    {
        if (done.Step == step)
        {
            source.Cancel();
        }
    });

    private double[] Losses(DiffusionTrainingConfig config, PreparedDataset? data = null)
    {
        using var result = new LoraTrainer().Train(config, _pipeline, data ?? TinyRun.Dataset);
        return [.. result.Steps.Select(step => step.Loss)];
    }

    private static float[] Weights(TrainingResult<StableDiffusionLora> result) => Weights(result.Lora, result.Config.Name);

    private static float[] Weights(StableDiffusionLora lora, string name)
    {
        using var scope = NewDisposeScope();
        AdaptedModel?[] models = [lora.UNet, lora.TextEncoder];
        return [.. models
            .SelectMany(model => model?.NamedParameters(name) ?? [])
            .OrderBy(pair => pair.Name, StringComparer.Ordinal)
            .SelectMany(pair => pair.Parameter.detach().data<float>().ToArray())];
    }
}
