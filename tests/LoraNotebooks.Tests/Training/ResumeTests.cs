using System.Text.Json.Nodes;
using LoraNotebooks.Data;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Models.Language;
using LoraNotebooks.Tests.Diffusion;
using LoraNotebooks.Tests.Models;
using LoraNotebooks.Training;
using TorchSharp;

namespace LoraNotebooks.Tests.Training;

/// <summary>What a run that goes on carries over, what it refuses, and what a late fault leaves behind.</summary>
public sealed class ResumeTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly StableDiffusionPipeline _pipeline = TinyPipeline.Create();

    public void Dispose()
    {
        _pipeline.Dispose();
        _folder.Dispose();
    }

    [Fact]
    public void Resume_MoreEpochsTwice_CarriesStepsLossesRunsAndCheckpointsOver()
    {
        var config = TinyRun.Config(_folder.Path) with { Epochs = 2, SaveEveryEpochs = 1, ClipSkip = 2, TextEncoderLearningRate = 1e-3 };
        var state = Train(config, null).StateFile;
        Train(config with { Epochs = 4 }, state);
        var last = Train(config with { Epochs = 5 }, state);

        var record = Record(last);

        Assert.Equal(Enumerable.Range(1, 15), record["steps"]!.AsArray().Select(static step => step!["step"]!.GetValue<int>()));
        Assert.Equal(
            record["losses"]!.AsArray().Select(static loss => loss!.GetValue<double>()),
            record["steps"]!.AsArray().Select(static step => step!["loss"]!.GetValue<double>()));
        Assert.Equal(
            [(1, 6), (7, 12), (13, 15)],
            record["runs"]!.AsArray().Select(static run => (run!["firstStep"]!.GetValue<int>(), run["lastStep"]!.GetValue<int>())));
        Assert.Equal(
            ["tiny-000001.safetensors", "tiny.safetensors", "tiny-000003.safetensors"],
            record["checkpoints"]!.AsArray().Select(static name => name!.GetValue<string>()));

        // A state without steps to take keeps all that the record tells.
        var again = Record(Train(config with { Epochs = 5 }, state));
        Assert.Equal(record["steps"]!.ToJsonString(), again["steps"]!.ToJsonString());
        Assert.NotEmpty(record["untrainedLayers"]!.AsArray());
        Assert.Equal(record["untrainedLayers"]!.ToJsonString(), again["untrainedLayers"]!.ToJsonString());
    }

    [Fact]
    public void Resume_FewerEpochsThanAreDone_IsRefusedAndNothingIsOverwritten()
    {
        var config = TinyRun.Config(_folder.Path) with { Epochs = 3 };
        var first = Train(config, null);
        var before = (File.ReadAllText(first.RecordFile), File.ReadAllBytes(first.StateFile));

        var message = Assert.Throws<InvalidDataException>(() => Train(config with { Epochs = 1 }, first.StateFile)).Message;

        Assert.Contains("9 steps are done, the plan has 3. Give 3 epochs or more", message, StringComparison.Ordinal);
        Assert.Equal(before.Item1, File.ReadAllText(first.RecordFile));
        Assert.Equal(before.Item2, File.ReadAllBytes(first.StateFile));
        Assert.True(_pipeline.UNet.parameters().First().requires_grad);
    }

    [Theory]
    [InlineData(ScheduleKind.Cosine, 0, true)]
    [InlineData(ScheduleKind.Rex, 0, true)]
    [InlineData(ScheduleKind.ConstantWithWarmup, 0.5, true)]
    [InlineData(ScheduleKind.ConstantWithWarmup, 2, false)]
    [InlineData(ScheduleKind.Constant, 0, false)]
    [InlineData(ScheduleKind.InverseSqrt, 2, false)]
    public void Resume_OtherEpochs_WarnsWhereTheRatesHangOnThem(ScheduleKind kind, double warmup, bool expected)
    {
        var config = TinyRun.Config(_folder.Path) with { Epochs = 3, Schedule = new() { Kind = kind, Warmup = warmup } };
        using var source = new CancellationTokenSource();
        var stopped = Train(config, null, new Immediate<TrainingStep>(step => { if (step.Step == 2) { source.Cancel(); } }), source.Token);

        // Shortening, too.
        TrainingResult? result = null;
        var told = Heard.During(() => result = Train(config with { Epochs = 2 }, stopped.StateFile));

        Assert.Equal(
            expected,
            result!.Warnings.Any(static warning => warning.Contains("Epochs: 3 when the 2 steps of the state were taken, here 2", StringComparison.Ordinal)));
        Assert.Equal(expected, told.Contains($"the rates of {kind} hang on the number of steps", StringComparison.Ordinal));
        if (expected)
        {
            var warning = $"Epochs: 3 when the 2 steps of the state were taken, here 2: the rates of {kind} hang on the number of steps, "
                + "so that this run is not the one of that many epochs from the start. Train anew where that matters.";
            Assert.Equal([.. ((DiffusionTrainingConfig)result.Config).PlanFor(TinyRun.Dataset, _pipeline).Warnings, warning], result.Warnings);
            Assert.Contains($"Training tiny: {warning}{Environment.NewLine}", told, StringComparison.Ordinal);
        }

        Assert.Equal(expected, Record(result)["warnings"]!.AsArray().Count > 0);
        Assert.Empty(Train(config with { Epochs = 2 }, result.StateFile).Warnings);
    }

    [Fact]
    public void Resume_OtherNoiseScheduleOrScaleOfLatents_IsRefusedByName()
    {
        var config = TinyRun.Config(_folder.Path) with { Epochs = 1 };
        var state = Train(config, null).StateFile;
        using var other = new StableDiffusionPipeline(
            _pipeline.Tokenizer,
            _pipeline.TextEncoder,
            _pipeline.UNet,
            _pipeline.Vae,
            TinyPipeline.Scheduler with { PredictionType = PredictionType.Epsilon, RescaleBetasZeroSnr = false });

        var message = Assert.Throws<InvalidDataException>(() => new LoraTrainer { ResumeFrom = state }.Train(config, other, TinyRun.Dataset)).Message;

        Assert.Contains("base model: prediction_type \"v_prediction\", here \"epsilon\"", message, StringComparison.Ordinal);
        Assert.Contains("rescale_betas_zero_snr true, here false", message, StringComparison.Ordinal);
        Assert.DoesNotContain("beta_start", message, StringComparison.Ordinal);
    }

    [Fact]
    public void Train_LateFaultOfAListener_KeepsWhatWasLearnt()
    {
        var config = TinyRun.Config(_folder.Path);
        var straight = Train(config with { OutputFolder = _folder.In("straight") }, null);
        var fault = new Immediate<TrainingStep>(static step => { if (step.Step == 7) { throw new NotSupportedException("the listener is broken"); } });

        var told = Heard.During(() => Assert.Throws<NotSupportedException>(() => Train(config, null, fault)));
        var resumed = Train(config, _folder.In("tiny-state.safetensors"));

        Assert.Contains("ended at step 7 by a fault", told, StringComparison.Ordinal);
        Assert.True(File.Exists(_folder.In("tiny-step00000007.safetensors")));
        Assert.Equal([8, 9, 10, 11, 12], resumed.Steps.Select(static step => step.Step));
        Assert.Equal(straight.Steps.Skip(7).Select(static step => step.Loss), resumed.Steps.Select(static step => step.Loss));
        Assert.Equal(12, Record(resumed)["steps"]!.AsArray().Count);
    }

    [Fact]
    public void Train_Diverged_LeavesARecordOfTheStepsBefore()
    {
        var config = TinyRun.Config(_folder.Path);
        var poison = new Immediate<TrainingStep>(step =>
        {
            if (step.Step == 4)
            {
                using var noGradient = torch.no_grad();
                _pipeline.UNet.get_parameter("conv_out.bias")!.fill_(float.NaN);
            }
        });

        var error = Assert.Throws<TrainingDivergedException>(() => Train(config, null, poison));

        var record = JsonNode.Parse(File.ReadAllText(_folder.In("tiny-run.json")))!;
        Assert.Equal(4, record["steps"]!.AsArray().Count);
        Assert.Equal(4, record["losses"]!.AsArray().Count);
        Assert.Equal(4, record["runs"]![0]!["lastStep"]!.GetValue<int>());
        Assert.Equal(error.Message, record["fault"]!.GetValue<string>());
    }

    [Fact]
    public void Train_AdapterThatKohyasFilesCannotHold_IsFoundBeforeTheFirstStep()
    {
        var config = TinyRun.Config(_folder.Path);
        config = config with { UNetLora = config.UNetLora with { ModulesToSave = ["conv_out"] } };
        var steps = 0;

        Assert.Throws<ArgumentException>(() => Train(config, null, new Immediate<TrainingStep>(_ => steps++)));

        Assert.Equal(0, steps);
        Assert.Empty(Directory.GetFiles(_folder.Path));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Train_TextEncoderAlone_LeavesTheUNetAndItsFilesHoldTheTextEncoderOnly(bool isXL)
    {
        using var model = isXL ? TinyPipeline.CreateXL() : TinyPipeline.Create();
        var config = TinyRun.Config(_folder.Path) with { UNetLearningRate = 0, TextEncoderLearningRate = 0.05, Precision = TrainingPrecision.BFloat16 };
        using var result = new LoraTrainer().Train(config, model, TinyRun.Dataset);

        Assert.Null(result.Lora.UNet);
        Assert.Empty(result.Lora.UNetParameters);
        Assert.All(result.Steps, static step => Assert.Equal(["text encoder"], step.LearningRates.Keys));
        Assert.True(result.Steps[3].LearningRates["text encoder"] > 0);
        Assert.All(model.UNet.parameters(), static parameter => Assert.True(parameter.requires_grad && parameter.grad is null));
        using (var file = LoraNotebooks.Formats.SafetensorsFile.Open(result.File))
        {
            Assert.NotEmpty(file.Tensors);
            Assert.All(file.Tensors.Keys, static name => Assert.StartsWith("lora_te", name, StringComparison.Ordinal));
            Assert.Equal(("None", "0.05"), (file.Metadata["ss_unet_lr"], file.Metadata["ss_text_encoder_lr"]));
        }

        var options = new GenerationOptions { Prompt = "long hair", Steps = 2 };
        var trained = model.Generate(options)[0].Pixels.ToArray();
        result.Lora.SavePeft(_folder.In("peft"));
        result.Dispose();
        Assert.NotEqual(trained, model.Generate(options)[0].Pixels.ToArray());
        foreach (var path in (string[])[result.File, _folder.In("peft")])
        {
            using var loaded = StableDiffusionLora.Load(model, path, "loaded");
            Assert.Equal(trained, model.Generate(options)[0].Pixels.ToArray());
        }
    }

    [Fact]
    public void Validate_NoRateAtAll_IsRefused()
    {
        Assert.Contains("nothing would be trained", Assert.Single(new DiffusionTrainingConfig { UNetLearningRate = 0 }.Validate()), StringComparison.Ordinal);
        Assert.Contains(
            "nothing would be trained",
            Assert.Single(new DiffusionTrainingConfig { UNetLearningRate = 0, TextEncoderLearningRate = 0 }.Validate()),
            StringComparison.Ordinal);
        Assert.Contains("UNetLearningRate: got -1", Assert.Single(new DiffusionTrainingConfig { UNetLearningRate = -1 }.Validate()), StringComparison.Ordinal);
    }

    [Fact]
    public void Train_CaptionsAndPromptsTooLong_AreNamedBeforeAndInTheRecord()
    {
        var tags = string.Join(", ", Enumerable.Repeat("long hair", 8));
        var data = new PreparedDataset(TinyRun.Dataset.Images.Select((image, i) => i < 2 ? image with { Caption = tags } : image));
        var config = TinyRun.Config(_folder.Path) with
        {
            TextEncoderLora = new DiffusionTrainingConfig().TextEncoderLora,
            Epochs = 1,
            SampleEveryEpochs = 1,
            SamplePrompts = ["portrait", tags + ", blue shirt"],
            SampleOptions = new() { Steps = 1, NegativePrompt = "no " + tags },
        };

        TrainingResult? result = null;
        var told = Heard.During(() => result = Train(config, null, data: data));

        // Twenty-three tokens, of which the encoder sees ten.
        Assert.Contains(
            "2 captions longer than the text encoder sees: image0: 13 of 23 tokens are not seen; set Reading.MaxTokenLength to 23; image1: 13 of 23",
            result!.Warnings[0],
            StringComparison.Ordinal);
        Assert.Contains("1 sample prompt longer", result.Warnings[1], StringComparison.Ordinal);
        Assert.Contains("1 negative sample prompt longer", result.Warnings[2], StringComparison.Ordinal);
        Assert.All(result.Warnings, warning => Assert.Contains(warning, told, StringComparison.Ordinal));
        Assert.Equal(result.Warnings.Count, told.Split(Environment.NewLine, StringSplitOptions.RemoveEmptyEntries).Length);
        Assert.Equal(result.Warnings, Record(result)["warnings"]!.AsArray().Select(static warning => warning!.GetValue<string>()));
        Assert.Equal(result.Warnings, config.PlanFor(data, _pipeline).Warnings);
        Assert.DoesNotContain(
            (config with { Reading = new() { MaxTokenLength = 23 } }).PlanFor(data, _pipeline).Warnings,
            static warning => warning.Contains("captions longer", StringComparison.Ordinal));
    }

    [Fact]
    public void Train_IntoTheFilesOfAnotherRun_SaysSo()
    {
        var config = TinyRun.Config(_folder.Path) with { Epochs = 1 };
        var told = Heard.During(() => Train(config, null));
        var again = Heard.During(() => Train(config, null));
        var resumed = Heard.During(() => Train(
            config with { Epochs = 2, Schedule = new() { Kind = ScheduleKind.Constant } },
            Train(config with { Schedule = new() { Kind = ScheduleKind.Constant } }, null).StateFile));

        Assert.DoesNotContain("earlier run", told, StringComparison.Ordinal);
        Assert.Contains("has files of an earlier run called tiny; they are replaced", again, StringComparison.Ordinal);
        Assert.Single(resumed.Split("earlier run")[1..]);
    }

    [Fact]
    public void Plan_CaptionsWithWeightsThatWeighNothing_AreTold()
    {
        var data = new PreparedDataset(TinyRun.Dataset.Images.Select(static image => image with { Caption = "(hair:1.3)" }));
        var config = TinyRun.Config(_folder.Path) with { TextEncoderLora = new DiffusionTrainingConfig().TextEncoderLora };

        Assert.Contains("(hair:1.3) is text here", Assert.Single(config.PlanFor(data, _pipeline).Warnings), StringComparison.Ordinal);
        Assert.Empty((config with { Reading = new() { Weighting = PromptWeighting.Scale } }).PlanFor(data, _pipeline).Warnings);
    }

    [Fact]
    public void Plan_ManyLongCaptions_NamesTen()
    {
        var data = new PreparedDataset(Enumerable.Range(0, 14)
            .Select(static i => new PreparedImage(
                $"i{i:D2}",
                new RgbImage(16, 16, new byte[768]),
                string.Join(' ', Enumerable.Repeat("hair", 20)),
                "a.png")));

        var warning = Assert.Single(
            (TinyRun.Config(_folder.Path) with { TextEncoderLora = new DiffusionTrainingConfig().TextEncoderLora }).PlanFor(data, _pipeline).Warnings);

        Assert.StartsWith("14 captions longer", warning, StringComparison.Ordinal);
        Assert.Contains("i09:", warning, StringComparison.Ordinal);
        Assert.DoesNotContain("i10:", warning, StringComparison.Ordinal);
        Assert.EndsWith("and 4 more", warning, StringComparison.Ordinal);
    }

    private TrainingResult Train(
        DiffusionTrainingConfig config,
        string? state,
        IProgress<TrainingStep>? progress = null,
        CancellationToken token = default,
        PreparedDataset? data = null)
    {
        config = config with { TextEncoderLora = config.TrainsTextEncoder ? config.TextEncoderLora : new DiffusionTrainingConfig().TextEncoderLora };
        using var result = new LoraTrainer { ResumeFrom = state }.Train(config, _pipeline, data ?? TinyRun.Dataset, progress, token);
        return result;
    }

    private static JsonNode Record(TrainingResult result) => JsonNode.Parse(File.ReadAllText(result.RecordFile))!;
}
