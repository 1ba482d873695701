using System.Text.Json.Nodes;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Tests.Diffusion;
using LoraNotebooks.Tests.Models;
using LoraNotebooks.Training;

namespace LoraNotebooks.Tests.Training;

/// <summary>When files are written and pictures drawn, what is in them by then, and how a run ends that does not reach its end.</summary>
public sealed class RunEndingsTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly StableDiffusionPipeline _pipeline = TinyPipeline.Create();

    public void Dispose()
    {
        _pipeline.Dispose();
        _folder.Dispose();
    }

    [Theory]
    [InlineData(1, 1, 1, new string[0], new[] { 0, 1 })]
    [InlineData(3, 1, null, new[] { "tiny-000001", "tiny-000002" }, new int[0])]
    [InlineData(4, 2, 3, new[] { "tiny-000002" }, new[] { 0, 3 })]
    [InlineData(4, 3, 2, new[] { "tiny-000003" }, new[] { 0, 2, 4 })]
    [InlineData(5, 2, 1, new[] { "tiny-000002", "tiny-000004" }, new[] { 0, 1, 2, 3, 4, 5 })]
    [InlineData(2, null, 4, new string[0], new[] { 0 })]
    [InlineData(2, null, null, new string[0], new int[0])]
    public void Train_CheckpointsAndSamples_ComeAfterTheirEpochsAndNoOthers(int epochs, int? save, int? sample, string[] checkpoints, int[] samples)
    {
        var config = Config() with
        {
            Epochs = epochs,
            SaveEveryEpochs = save,
            SampleEveryEpochs = sample,
            SamplePrompts = ["portrait"],
            SampleOptions = new() { Steps = 1, Guidance = 1 }
        };
        var drawn = new List<(int Epoch, int Steps)>();
        var steps = 0;
        var trainer = new LoraTrainer { Samples = new Immediate<TrainingSample>(picture => drawn.Add((picture.Epoch, steps))) };

        using var result = trainer.Train(config, _pipeline, TinyRun.First(1), new Immediate<TrainingStep>(_ => steps++));

        string[] adapters = [.. checkpoints.Select(static name => name + ".safetensors"), "tiny.safetensors"];
        Assert.Equal(adapters, result.Checkpoints.Select(Path.GetFileName));
        Assert.Equal([.. adapters.Order(StringComparer.Ordinal), "tiny-run.json", "tiny-state.safetensors"], Files()
            .OrderBy(name => adapters.Contains(name) ? 0 : 1).ThenBy(static name => name, StringComparer.Ordinal));
        Assert.Equal(samples.Select(static epoch => (epoch, epoch)), drawn);
        Assert.Equal(adapters, RunFiles.Record(result)["checkpoints"]!.AsArray().Select(static name => (string)name!));
    }

    [Fact]
    public void Train_AtACheckpoint_AdapterStateAndRecordAreThoseOfItsStep()
    {
        var config = Config() with
        {
            SaveEveryEpochs = 2,
            ClipSkip = 2,
            TextEncoderLearningRate = 1e-3,
            SampleEveryEpochs = 2,
            SamplePrompts = ["portrait"],
            SampleOptions = new() { Steps = 1 }
        };
        JsonNode? record = null;
        double[] weights = [];
        string[] files = [];
        Dictionary<string, string> state = [];
        double[] losses = [];
        var look = new Immediate<TrainingStep>(step =>
        {
            if (step.Step == 6)
            {
                Assert.Empty(Directory.GetFiles(_folder.Path));
            }
            else if (step.Step == 7)
            {
                record = JsonNode.Parse(File.ReadAllText(_folder.In("tiny-run.json")));
                weights = RunFiles.Numbers(_folder.In("tiny-000002.safetensors"));
                state = RunFiles.Metadata(_folder.In("tiny-state.safetensors"));
                losses = RunFiles.Numbers(_folder.In("tiny-state.safetensors"), "losses");
                files = Files();
            }
        });

        using var result = new LoraTrainer().Train(config, _pipeline, TinyRun.Dataset, look);
        result.Dispose();

        Assert.Equal(["tiny-000002.safetensors", "tiny-run.json", "tiny-state.safetensors"], files.Order(StringComparer.Ordinal));
        Assert.Equal(Enumerable.Range(1, 6), RunFiles.Steps(record!));
        Assert.Equal(result.Steps.Take(6).Select(static step => step.Loss), record!["losses"]!.AsArray().Select(static loss => (double)loss!));
        Assert.Equal((false, null), ((bool)record["wasCancelled"]!, (string?)record["fault"]));
        Assert.Equal(result.UntrainedLayers, record["untrainedLayers"]!.AsArray().Select(static layer => (string)layer!));
        Assert.NotEmpty(result.UntrainedLayers);
        Assert.Equal("tiny-000002.safetensors", (string?)record["checkpoints"]!.AsArray().Single());
        Assert.Equal((1, 6), ((int)record["runs"]![0]!["firstStep"]!, (int)record["runs"]![0]!["lastStep"]!));
        Assert.Equal("6", state["steps"]);
        Assert.Equal(result.Steps.Take(6).Select(static step => step.Loss), losses);
        Assert.Equal(6, (int)JsonNode.Parse(state["runs"])![0]!["lastStep"]!);
        Assert.Equal(("6", "2"), (RunFiles.Metadata(result.Checkpoints[0])["ss_steps"], RunFiles.Metadata(result.Checkpoints[0])["ss_epoch"]));

        // The same run to there gives the same weights.
        var there = Stopped(config with { OutputFolder = _folder.In("there"), SaveEveryEpochs = null, SampleEveryEpochs = null }, 6);
        Assert.Equal(RunFiles.Numbers(there.File), weights);
    }

    /// <summary>Two epochs of two steps, two pictures before and after each; cancelled while a step or the n-th picture of an epoch is told.</summary>
    [Theory]
    [InlineData(1, 0, true, 1, "tiny-step00000001", 2)]
    [InlineData(2, 0, true, 2, "tiny-step00000002", 2)]
    [InlineData(3, 0, true, 3, "tiny-step00000003", 4)]
    [InlineData(4, 0, false, 4, "tiny", 4)]
    [InlineData(0, 1, true, 2, "tiny-step00000002", 3)]
    [InlineData(0, 2, true, 2, "tiny-step00000002", 4)]
    [InlineData(0, 3, false, 4, "tiny", 5)]
    [InlineData(0, 4, false, 4, "tiny", 6)]
    public void Train_Cancelled_IsSoBeforeItsLastStepOnly(int step, int picture, bool cancelled, int steps, string file, int pictures)
    {
        var config = Config() with
        {
            Epochs = 2,
            BatchSize = 1,
            SampleEveryEpochs = 1,
            SamplePrompts = ["portrait", "long hair"],
            SampleOptions = new() { Steps = 1, Guidance = 1 }
        };
        using var source = new CancellationTokenSource();
        var drawn = 0;
        var trainer = new LoraTrainer
        {
            Samples = new Immediate<TrainingSample>(sample =>
            {
                // The two pictures before training do not count.
                if (sample.Epoch > 0 && ++drawn == picture)
                {
                    source.Cancel();
                }
            }),
        };

        using var result = trainer.Train(config, _pipeline, TinyRun.First(2),
            new Immediate<TrainingStep>(taken => { if (taken.Step == step) { source.Cancel(); } }), source.Token);

        Assert.Equal(cancelled, result.WasCancelled);
        Assert.Equal(cancelled, (bool)RunFiles.Record(result)["wasCancelled"]!);
        Assert.Null((string?)RunFiles.Record(result)["fault"]);
        Assert.Equal(file, Path.GetFileNameWithoutExtension(result.File));
        Assert.Equal((steps, pictures), (result.Steps.Count, result.Samples.Count));
        Assert.Equal($"{steps}", RunFiles.Metadata(result.StateFile)["steps"]);
        Assert.Equal(result.Steps.Count, RunFiles.Steps(RunFiles.Record(result)).Length);
    }

    /// <summary>Two pictures are drawn after each of two epochs of two steps; a run that was stopped among them draws all of that epoch when it goes on.</summary>
    [Theory]
    [InlineData(0, false)] // before the first picture of the first epoch
    [InlineData(1, false)]
    [InlineData(2, true)] // after the last one nothing is missing
    [InlineData(3, false)]
    [InlineData(4, true)]
    public void Train_StoppedAmongTheSamplesOfAnEpoch_DrawsThemWhenResumed(int picture, bool isWhole)
    {
        var config = Config() with
        {
            Epochs = 2,
            BatchSize = 1,
            SampleEveryEpochs = 1,
            SamplePrompts = ["portrait", "long hair"],
            SampleOptions = new() { Steps = 1, Guidance = 1 },
        };
        using var source = new CancellationTokenSource();
        var drawn = 0;
        var trainer = new LoraTrainer
        {
            Samples = new Immediate<TrainingSample>(sample => { if (sample.Epoch > 0 && ++drawn == picture) { source.Cancel(); } }),
        };
        var stopped = trainer.Train(
            config, _pipeline, TinyRun.First(2), new Immediate<TrainingStep>(taken => { if (picture == 0 && taken.Step == 2) { source.Cancel(); } }), source.Token);
        stopped.Dispose();
        var epoch = picture < 3 ? 1 : 2;

        using var result = new LoraTrainer { ResumeFrom = stopped.StateFile }.Train(config, _pipeline, TinyRun.First(2));

        (int, string)[] again = isWhole ? [] : [(epoch, "portrait"), (epoch, "long hair")];
        (int, string)[] rest = epoch == 1 ? [(2, "portrait"), (2, "long hair")] : [];
        Assert.Equal([.. again, .. rest], result.Samples.Select(static sample => (sample.Epoch, sample.Prompt)));
    }

    [Fact]
    public void Train_CancelledBetweenTheBatchesOfAStep_DropsWhatTheyHadGathered()
    {
        var config = Config() with { GradientAccumulation = 2 };
        using var source = new CancellationTokenSource();
        var passes = 0;
        var hook = _pipeline.UNet.register_forward_hook((_, _, _, _, output) =>
        {
            // The first batch of the third step: passes 1, 2 and 3 are those of the first epoch.
            if (output.requires_grad && ++passes == 4)
            {
                source.Cancel();
            }

            return output;
        });
        using var result = new LoraTrainer().Train(config, _pipeline, TinyRun.Dataset, cancellationToken: source.Token);
        hook.remove();
        var weights = RunFiles.Numbers(result.File);
        result.Dispose();

        Assert.Equal((2, 4, true), (result.Steps.Count, passes, result.WasCancelled));
        Assert.Equal(RunFiles.Numbers(Stopped(config with { OutputFolder = _folder.In("there") }, 2).File), weights);
    }

    [Fact]
    public void Train_CancelledByAnotherToken_IsAFault()
    {
        var listener = new Immediate<TrainingStep>(static step => { if (step.Step == 2) { throw new OperationCanceledException("of another"); } });

        Assert.Equal("of another",
            Assert.Throws<OperationCanceledException>(() => new LoraTrainer().Train(Config(), _pipeline, TinyRun.Dataset, listener)).Message);

        var record = JsonNode.Parse(File.ReadAllText(_folder.In("tiny-run.json")))!;
        Assert.Equal((false, "of another"), ((bool)record["wasCancelled"]!, (string?)record["fault"]));
    }

    [Theory]
    [InlineData("a record that cannot be written", "tiny-run.json", 3)]
    [InlineData("a checkpoint that cannot be written", "tiny-000001.safetensors", 3)]
    public void Train_CheckpointThatCannotBeWritten_EndsTheRunWithWhatWasLearnt(string because, string file, int steps)
    {
        Directory.CreateDirectory(_folder.In(file, because));
        var config = Config() with { SaveEveryEpochs = 1 };

        var told = Heard.During(() => Assert.ThrowsAny<SystemException>(() => new LoraTrainer().Train(config, _pipeline, TinyRun.Dataset)));

        Assert.True(File.Exists(_folder.In($"tiny-step{steps:D8}.safetensors")));
        Assert.Equal($"{steps}", RunFiles.Metadata(_folder.In("tiny-state.safetensors"))["steps"]);
        Assert.DoesNotContain(Files(), static name => name.EndsWith(".tmp", StringComparison.Ordinal) || name.Contains("rehearsal", StringComparison.Ordinal));
        var (adapter, state) = (_folder.In("tiny-step00000003.safetensors"), _folder.In("tiny-state.safetensors"));
        var kept = $"Training tiny ended at step {steps} by a fault; what was learnt is in '{adapter}', to go on from in '{state}'";
        Assert.Contains(kept + (file == "tiny-run.json" ? ", but its record could not be written: " : $".{Environment.NewLine}"), told,
            StringComparison.Ordinal);
        Assert.All(_pipeline.UNet.parameters(), static parameter => Assert.True(parameter.requires_grad));
    }

    [Fact]
    public void Train_FaultThatLeavesNothingToWriteTo_SaysSoAndIsToldItself()
    {
        var breaking = new Immediate<TrainingStep>(step =>
        {
            if (step.Step == 2)
            {
                Directory.CreateDirectory(_folder.In("tiny-state.safetensors", "in the way"));
                throw new NotSupportedException("the first fault");
            }
        });

        var told = Heard.During(() =>
            Assert.Equal("the first fault",
            Assert.Throws<NotSupportedException>(() => new LoraTrainer().Train(Config(), _pipeline, TinyRun.Dataset, breaking)).Message));

        Assert.Contains("Training tiny ended at step 2 by a fault; what was learnt could not be written: ", told, StringComparison.Ordinal);
        Assert.Empty(Directory.GetFiles(_folder.Path));
    }

    [Fact]
    public void Train_SampleThatCannotBeTold_LeavesTheRecordOfItsFault()
    {
        var config = Config() with { SampleEveryEpochs = 2, SamplePrompts = ["portrait"], SampleOptions = new() { Steps = 1 } };
        var trainer = new LoraTrainer
        {
            Samples = new Immediate<TrainingSample>(static sample =>
            { if (sample.Epoch == 2) { throw new NotSupportedException("no pictures"); } })
        };

        Assert.Throws<NotSupportedException>(() => trainer.Train(config, _pipeline, TinyRun.Dataset));

        var record = JsonNode.Parse(File.ReadAllText(_folder.In("tiny-run.json")))!;
        Assert.Equal((false, "no pictures", 6), ((bool)record["wasCancelled"]!, (string?)record["fault"], RunFiles.Steps(record).Length));
        Assert.Equal(["tiny-run.json", "tiny-state.safetensors", "tiny-step00000006.safetensors"], Files().Order(StringComparer.Ordinal));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Train_FaultBeforeTheFirstStep_WritesNothing(bool resumes)
    {
        var state = resumes ? Stopped(Config(), 5).StateFile : null;
        var before = Directory.GetFiles(_folder.Path).ToDictionary(static file => file, File.ReadAllBytes);
        _pipeline.UNet.register_forward_hook(static (_, _, _, _, output) => output.requires_grad ? throw new NotSupportedException("no step") : output);

        Assert.Throws<NotSupportedException>(() => new LoraTrainer { ResumeFrom = state }.Train(Config(), _pipeline, TinyRun.Dataset));

        Assert.Equal(before, Directory.GetFiles(_folder.Path).ToDictionary(static file => file, File.ReadAllBytes));
        Assert.All(_pipeline.UNet.parameters(), static parameter => Assert.True(parameter.requires_grad));
    }

    [Theory]
    [InlineData(null)]
    [InlineData(1)]
    public void Train_Diverged_NamesTheStepAndTheLastCheckpointAndTakesTheLoraOff(int? save)
    {
        var options = new GenerationOptions { Prompt = "portrait", Steps = 1 };
        var before = _pipeline.Generate(options)[0].Pixels.ToArray();
        var isBroken = false;
        _pipeline.UNet.register_forward_hook((_, _, _, _, output) => isBroken ? output * float.NaN : output);
        var poison = new Immediate<TrainingStep>(step => isBroken = step.Step == 7);

        var error = Assert.Throws<TrainingDivergedException>(() =>
            new LoraTrainer().Train(Config() with { SaveEveryEpochs = save }, _pipeline, TinyRun.Dataset, poison));

        isBroken = false;
        var last = save is null ? null : _folder.In("tiny-000002.safetensors");
        Assert.Equal((8, last), (error.Step, error.LastCheckpoint));
        Assert.Equal(
            "Training stopped at step 8: got loss NaN and gradient norm NaN, expected finite numbers. The step was not taken. "
            + "Lower the learning rate, add warm-up, keep MaxGradientNorm at 1, or load the pipeline in float32. "
            + (last is null ? "No checkpoint was written before; set SaveEveryEpochs to have one." : $"The last good checkpoint is {last}."),
            error.Message);
        var record = JsonNode.Parse(File.ReadAllText(_folder.In("tiny-run.json")))!;
        Assert.Equal((7, false), (RunFiles.Steps(record).Length, (bool)record["wasCancelled"]!));
        string[] files = save is null ? ["tiny-run.json"] : ["tiny-000001.safetensors", "tiny-000002.safetensors", "tiny-run.json", "tiny-state.safetensors"];
        Assert.Equal(files, Files().Order(StringComparer.Ordinal));
        Assert.Equal(before, _pipeline.Generate(options)[0].Pixels.ToArray());
        if (save is not null)
        {
            // The run goes on from its last checkpoint; what its record tells of later steps is not told twice.
            using var resumed = new LoraTrainer { ResumeFrom = _folder.In("tiny-state.safetensors") }.Train(Config() with { SaveEveryEpochs = save },
                _pipeline, TinyRun.Dataset);
            Assert.Equal(Enumerable.Range(1, 12), RunFiles.Steps(RunFiles.Record(resumed)));
            Assert.Equal([7, 8, 9, 10, 11, 12], resumed.Steps.Select(static step => step.Step));
            Assert.Equal(12, RunFiles.Record(resumed)["losses"]!.AsArray().Count);
        }
    }

    [Fact]
    public void Train_OverEarlierFiles_PutsNewOnesInTheirPlaces()
    {
        var config = Config() with { Epochs = 2, SaveEveryEpochs = 1 };
        using (new LoraTrainer().Train(config, _pipeline, TinyRun.Dataset))
        {
        }

        // Who reads a file while another takes its place reads the earlier one to its end.
        var earlier = Directory.GetFiles(_folder.Path).ToDictionary(static path => path, File.ReadAllBytes);
        var readers = earlier.Keys
            .ToDictionary(static path => path, static path => new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete));
        using (new LoraTrainer().Train(config with { UNetLearningRate = 2e-3 }, _pipeline, TinyRun.Dataset))
        {
        }

        Assert.Equal(4, earlier.Count);
        foreach (var (path, reader) in readers)
        {
            using var content = new MemoryStream();
            using (reader)
            {
                reader.CopyTo(content);
            }

            Assert.Equal(earlier[path], content.ToArray());
            Assert.NotEqual(earlier[path], File.ReadAllBytes(path));
        }
    }

    [Fact]
    public void Train_WeightsBeforeTheFirstStep_AreThoseOfTheSeed()
    {
        var config = Config() with { TextEncoderLearningRate = 1e-3, Schedule = new() { Kind = ScheduleKind.PiecewiseConstant, Pieces = [new(0)] } };
        using var result = new LoraTrainer().Train(config, _pipeline, TinyRun.Dataset);
        result.Dispose();

        using var lora = StableDiffusionLora.Create(_pipeline, "tiny", config.UNetLora, config.TextEncoderLora,
            new TrainingSeeds(3).Derive(RandomUse.Weights));
        lora.SaveKohya(_folder.In("begun.safetensors"));
        Assert.Equal(RunFiles.Numbers(_folder.In("begun.safetensors")), RunFiles.Numbers(result.File));
    }

    [Fact]
    public void Train_NoSettingsModelOrImages_SaysWhich()
    {
        var trainer = new LoraTrainer();

        Assert.Equal("config", Assert.Throws<ArgumentNullException>(() => trainer.Train(null!, _pipeline, TinyRun.Dataset)).ParamName);
        Assert.Equal("pipeline", Assert.Throws<ArgumentNullException>(() => trainer.Train(Config(), null!, TinyRun.Dataset)).ParamName);
        Assert.Equal("dataset", Assert.Throws<ArgumentNullException>(() => trainer.Train(Config(), _pipeline, null!)).ParamName);
        Assert.Empty(Directory.GetFiles(_folder.Path));
    }

    [Fact]
    public void Train_Warnings_AreToldOnceBeforeTheFirstStep()
    {
        var config = Config() with { SaveEveryEpochs = 9, TextEncoderLora = new DiffusionTrainingConfig().TextEncoderLora };
        var told = new StringWriter();
        var before = "";
        var whole = Heard.During(() =>
        {
            var listened = Console.Error;
            Console.SetError(told);
            using var result = new LoraTrainer().Train(config, _pipeline, TinyRun.Dataset,
                new Immediate<TrainingStep>(step => before = step.Step == 1 ? told.ToString() : before));
            Console.SetError(listened);
        });

        Assert.Equal("", whole);
        Assert.Equal(before, told.ToString());
        Assert.Equal($"Training tiny: SaveEveryEpochs is 9, but there are 4 epochs: only the final file is written{Environment.NewLine}", before);
    }

    private DiffusionTrainingConfig Config() => TinyRun.Config(_folder.Path);

    private string[] Files() => [.. Directory.GetFiles(_folder.Path).Select(static path => Path.GetFileName(path))];

    private TrainingResult Stopped(DiffusionTrainingConfig config, int step)
    {
        using var source = new CancellationTokenSource();
        using var result = new LoraTrainer().Train(config, _pipeline, TinyRun.Dataset,
            new Immediate<TrainingStep>(taken => { if (taken.Step == step) { source.Cancel(); } }), source.Token);
        return result;
    }
}
