using System.Reflection;
using System.Runtime.InteropServices;
using LoraNotebooks.Data;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Tests.Diffusion;
using LoraNotebooks.Tests.Models;
using LoraNotebooks.Training;

namespace LoraNotebooks.Tests.Training;

/// <summary>The numbers that a run tells, beside a clock that moves by hand.</summary>
public sealed class RunNumbersTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly StableDiffusionPipeline _pipeline = TinyPipeline.Create();
    private readonly HandClock _clock = new();

    public void Dispose()
    {
        _pipeline.Dispose();
        _folder.Dispose();
    }

    /// <summary>
    /// Five images in batches of two, two batches to a step: steps of 4 and 1 images. Forward pass k takes k seconds, what happens between steps a
    /// hundred: it counts in the time of the run, not in the speed.
    /// </summary>
    [Fact]
    public void Train_TimeAndSpeed_AreThoseOfTheSteps()
    {
        var config = TinyRun.Config(_folder.Path) with
        {
            Epochs = 2,
            GradientAccumulation = 2,
            SaveEveryEpochs = 1,
            SampleEveryEpochs = 1,
            SamplePrompts = ["portrait"],
            SampleOptions = new() { Steps = 1, Guidance = 1 },
        };
        var (passes, samples) = (0, 0);
        _pipeline.UNet.register_forward_hook((_, _, _, _, output) =>
        {
            _clock.Pass(output.requires_grad ? ++passes : 0);
            return output;
        });
        var trainer = new LoraTrainer
        {
            Clock = _clock,
            Samples = new Immediate<TrainingSample>(_ =>
            {
                samples++;
                _clock.Pass(100);
            }),
        };

        using var result = trainer.Train(config, _pipeline, TinyRun.Dataset, new Immediate<TrainingStep>(_ => _clock.Pass(1000)));

        // Steps take 1+2, 3, 4+5 and 6 seconds.
        double[] seconds = [3, 3, 9, 6];
        int[] images = [4, 1, 4, 1];
        Assert.Equal(3, samples);
        Assert.Equal([100 + 3, 1100 + 6, 2200 + 15, 3200 + 21], result.Steps.Select(static step => step.Seconds));
        Assert.Equal(4300 + 21, result.Seconds);
        for (var i = 0; i < 4; i++)
        {
            var (time, shown) = (0.0, 0);
            for (var k = 0; k <= i; k++)
            {
                time += seconds[k];
                shown += images[k];
            }

            Assert.Equal(shown / time, result.Steps[i].ExamplesPerSecond, 1e-12);
            Assert.Equal(time / (i + 1) * (3 - i), result.Steps[i].SecondsLeft, 1e-12);
            Assert.Equal((i + 1, 4, i / 2 + 1, 2), (result.Steps[i].Step, result.Steps[i].TotalSteps, result.Steps[i].Epoch, result.Steps[i].TotalEpochs));
        }

        var record = RunFiles.Record(result);
        Assert.Equal(HandClock.Start, record["started"]!.GetValue<DateTimeOffset>());
        Assert.Equal(HandClock.Start.AddSeconds(4321), record["written"]!.GetValue<DateTimeOffset>());
        var run = record["runs"]!.AsArray().Single()!;
        Assert.Equal(HandClock.Start, run["started"]!.GetValue<DateTimeOffset>());
        Assert.Equal(HandClock.Start.AddSeconds(4321), run["written"]!.GetValue<DateTimeOffset>());
        using var file = LoraNotebooks.Formats.SafetensorsFile.Open(result.File);
        Assert.Equal(HandClock.Start.ToUnixTimeSeconds(),
            double.Parse(file.Metadata["ss_training_started_at"], System.Globalization.CultureInfo.InvariantCulture));
    }

    [Fact]
    public void SpeedMeter_MoreStepsThanItsWindow_ForgetsTheOldest()
    {
        var meter = new SpeedMeter(_clock);
        for (var step = 1; step <= 120; step++)
        {
            _clock.Pass(7);
            meter.Start();
            _clock.Pass(step);
            meter.Stop(2 * step + 1);

            var (time, images, count) = (0.0, 0, 0);
            for (var i = Math.Max(1, step - 49); i <= step; i++)
            {
                (time, images, count) = (time + i, images + 2 * i + 1, count + 1);
            }

            Assert.Equal(time / count, meter.SecondsPerStep, 1e-9);
            Assert.Equal(images / time, meter.ExamplesPerSecond, 1e-9);
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Train_RatesAndAverages_FollowTheirFormulas(bool resumes)
    {
        var config = TinyRun.Config(_folder.Path) with { TextEncoderLearningRate = 4e-4 };
        var steps = new List<TrainingStep>();
        string? state = null;
        if (resumes)
        {
            using var source = new CancellationTokenSource();
            using var first = new LoraTrainer().Train(config, _pipeline, TinyRun.Dataset,
                new Immediate<TrainingStep>(step => { if (step.Step == 5) { source.Cancel(); } }), source.Token);
            steps.AddRange(first.Steps);
            state = first.StateFile;
        }

        using var result = new LoraTrainer { ResumeFrom = state }.Train(config, _pipeline, TinyRun.Dataset);
        steps.AddRange(result.Steps);

        Assert.Equal(12, steps.Count);
        for (var i = 0; i < 12; i++)
        {
            // A warm-up of two steps, then half a cosine wave over the ten others; m = 0.98·m + 0.02·loss, over 1 − 0.98ⁿ.
            var factor = i < 2 ? i / 2.0 : 0.5 * (1 + Math.Cos(Math.PI * (i - 2) / 10));
            Assert.Equal(1e-3 * factor, steps[i].LearningRates["UNet"], 1e-15);
            Assert.Equal(4e-4 * factor, steps[i].LearningRates["text encoder"], 1e-15);
            var average = 0.0;
            for (var k = 0; k <= i; k++)
            {
                average += 0.02 * Math.Pow(0.98, i - k) * steps[k].Loss;
            }

            Assert.Equal(average / (1 - Math.Pow(0.98, i + 1)), steps[i].SmoothedLoss, 1e-12);
            Assert.Equal((i + 1, 12, i / 3 + 1, 4), (steps[i].Step, steps[i].TotalSteps, steps[i].Epoch, steps[i].TotalEpochs));
        }
    }

    [Fact]
    public void Train_Record_TellsAllThatTheRunHangsOn()
    {
        var images = TinyRun.Dataset.Images;
        var data = new PreparedDataset([images[0] with { Repeats = 2, LossWeight = 0.5 }]).WithRegularization(new PreparedDataset([images[1], images[2]]));
        var config = TinyRun.Config(_folder.Path) with { Epochs = 1, SaveEveryEpochs = 3 };
        var basis = DiffusionBase.Of(_pipeline).ToJson().ToJsonString();

        using var result = new LoraTrainer().Train(config, _pipeline, data);

        var record = RunFiles.Record(result);
        Assert.Equal(
            ["name", "seed", "started", "written", "wasCancelled", "fault", "warnings", "plan", "data", "base", "config", "runs", "checkpoints",
                "untrainedLayers", "losses", "steps", "scheduler"],
            record.AsObject().Select(static pair => pair.Key));
        Assert.Equal(("tiny", 3L), ((string?)record["name"], (long)record["seed"]!));
        Assert.Equal(result.Warnings, record["warnings"]!.AsArray().Select(static warning => (string)warning!));
        Assert.Contains(result.Warnings, static warning => warning.StartsWith("SaveEveryEpochs is 3", StringComparison.Ordinal));
        Assert.Equal((3, 4, 2, 2, 2, 1),
            ((int)record["plan"]!["examples"]!, (int)record["plan"]!["examplesPerEpoch"]!, (int)record["plan"]!["regularizationPerEpoch"]!,
            (int)record["plan"]!["batchesPerEpoch"]!, (int)record["plan"]!["totalSteps"]!, (int)record["plan"]!["epochs"]!));
        const string origin = """
            "origin":{"width":16,"height":16,"left":0,"top":0}}
            """;
        Assert.Equal(data.ComputeHash(), (string?)record["data"]!["hash"]);
        Assert.Equal(
            [
                """{"name":"image0","caption":"portrait","repeats":2,"isRegularization":false,"lossWeight":0.5,""" + origin,
                """{"name":"regularization-image1","caption":"portrait, long hair 1","repeats":1,"isRegularization":true,"lossWeight":1,""" + origin,
                """{"name":"regularization-image2","caption":"portrait, long hair 2","repeats":1,"isRegularization":true,"lossWeight":1,""" + origin,
            ],
            record["data"]!["images"]!.AsArray().Select(static image => image!.ToJsonString()));
        Assert.Equal(basis, record["base"]!.ToJsonString());
        Assert.Equal(_pipeline.Scheduler.ToJson().ToJsonString(), record["scheduler"]!.ToJsonString());
        Assert.Equal(config.ToJson().ToJsonString(), record["config"]!.ToJsonString());
        Assert.Equal(
            ["step", "totalSteps", "epoch", "totalEpochs", "loss", "smoothedLoss", "learningRates", "metrics", "gradientNorm", "seconds",
                "unit", "examplesPerSecond", "secondsLeft"],
            record["steps"]![0]!.AsObject().Select(static pair => pair.Key));
        Assert.Equal(result.Steps[1].GradientNorm, (double)record["steps"]![1]!["gradientNorm"]!);
        var run = record["runs"]![0]!;
        Assert.Equal(["firstStep", "lastStep", "started", "written", "machine", "device", "versions"], run.AsObject().Select(static pair => pair.Key));
        Assert.Equal("cpu", (string?)run["device"]);
        Assert.Equal(["loraNotebooks", "torchSharp", "runtime", "system"], run["versions"]!.AsObject().Select(static pair => pair.Key));
        Assert.Equal((Version(typeof(LoraTrainer)), Version(typeof(TorchSharp.torch))),
            ((string?)run["versions"]!["loraNotebooks"], (string?)run["versions"]!["torchSharp"]));
        Assert.Equal((RuntimeInformation.FrameworkDescription, RuntimeInformation.RuntimeIdentifier),
            ((string?)run["versions"]!["runtime"], (string?)run["versions"]!["system"]));
        Assert.Contains("\n  \"name\": \"tiny\",", File.ReadAllText(result.RecordFile).ReplaceLineEndings("\n"), StringComparison.Ordinal);

        static string? Version(Type type) => type.Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion;
    }

    [Fact]
    public void Train_Result_TellsTheRun()
    {
        var config = TinyRun.Config(_folder.Path) with
        {
            SaveEveryEpochs = 3,
            SampleEveryEpochs = 4,
            SamplePrompts = ["portrait"],
            SampleOptions = new() { Steps = 1, Seed = 5, Count = 3, BatchSize = 2 }
        };
        config = config with { UNetLora = config.UNetLora with { Dropout = 0.5 } };
        var samples = new List<TrainingSample>();

        using var result = new LoraTrainer { Samples = new Immediate<TrainingSample>(samples.Add) }.Train(config, _pipeline, TinyRun.Dataset);

        Assert.Same(config, result.Config);
        Assert.Equal(config.PlanFor(TinyRun.Dataset, _pipeline).ToString(), result.Plan.ToString());
        Assert.Equal(samples, result.Samples);
        Assert.Equal([(0, 5L), (0, 6L), (0, 7L), (4, 5L), (4, 6L), (4, 7L)], samples.Select(static sample => (sample.Epoch, sample.Seed)));
        for (var i = 0; i < 3; i++)
        {
            var alone = _pipeline.Generate(config.SampleOptions with { Prompt = "portrait", Seed = 5 + i, Count = 1 })[0];
            StableDiffusionPipelineTests.AssertSame(alone.Pixels, ((PictureSample)samples[3 + i]).Image.Pixels);
        }

        Assert.Equal((_folder.In("tiny-state.safetensors"), _folder.In("tiny-run.json"), _folder.In("tiny.safetensors")),
            (result.StateFile, result.RecordFile, result.File));
        Assert.Equal("tiny", result.Lora.Name);
        Assert.Empty(result.UntrainedLayers);
        Assert.Equal(result.Plan.Warnings, result.Warnings);
    }
}
