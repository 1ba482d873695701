using System.Text.Json.Nodes;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Formats;
using LoraNotebooks.Tests.Diffusion;
using LoraNotebooks.Tests.Models;
using LoraNotebooks.Training;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Training;

/// <summary>What the files that a run goes on from hold, and what is said of those that it cannot go on from.</summary>
public sealed class TrainingStateTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly StableDiffusionPipeline _pipeline = TinyPipeline.Create();

    public void Dispose()
    {
        _pipeline.Dispose();
        _folder.Dispose();
    }

    [Fact]
    public void State_OfARun_HoldsWhatTheNextStepNeeds()
    {
        var config = Config() with { Epochs = 1 };
        var result = Train(config, null);

        using var scope = NewDisposeScope();
        var metadata = RunFiles.Metadata(result.StateFile);
        Assert.Equal(["base_model", "config", "data_hash", "runs", "sampled_epochs", "steps"], metadata.Keys.Order(StringComparer.Ordinal));
        Assert.Equal("3", metadata["steps"]);
        Assert.Equal(config.ToJson().ToJsonString(), metadata["config"]);
        Assert.Equal(TinyRun.Dataset.ComputeHash(), metadata["data_hash"]);
        Assert.Equal(DiffusionBase.Of(_pipeline).ToJson().ToJsonString(), metadata["base_model"]);
        Assert.Equal((1, 3), ((int)JsonNode.Parse(metadata["runs"])![0]!["firstStep"]!, (int)JsonNode.Parse(metadata["runs"])![0]!["lastStep"]!));
        var tensors = SafetensorsFile.LoadAll(result.StateFile);
        Assert.Equal(["first_moment", "losses", "second_moment", "weights"], tensors.Keys.Order(StringComparer.Ordinal));
        Assert.Equal(result.Steps.Select(static step => step.Loss), tensors["losses"].data<double>().ToArray());
    }

    [Theory]
    [InlineData("steps")]
    [InlineData("config")]
    [InlineData(null)]
    public void Resume_FileThatIsNoState_SaysWhichToGive(string? missing)
    {
        var state = Train(Config() with { Epochs = 1 }, null).StateFile;
        if (missing is not null)
        {
            RunFiles.Change(state, missing, null);
        }
        else
        {
            using var scope = NewDisposeScope();
            SafetensorsFile.Write(state, SafetensorsFile.LoadAll(state).Where(static pair => pair.Key != "losses").ToDictionary(), RunFiles.Metadata(state));
        }

        var error = Assert.Throws<InvalidDataException>(() => Train(Config(), state));

        Assert.Equal($"'{state}' is no training state. Give the file called <name>-state.safetensors; an adapter's file holds only its weights.",
            error.Message);
    }

    [Fact]
    public void Resume_OtherSettingsDataAndBase_ListsAllOfThem()
    {
        var state = Train(Config() with { Epochs = 1 }, null).StateFile;
        RunFiles.Change(state, "data_hash", "abc");
        var theirs = DiffusionBase.Of(_pipeline) with { Adapters = ["other"] };
        RunFiles.Change(state, "base_model", theirs.ToJson().ToJsonString());
        var before = Directory.GetFiles(_folder.Path).ToDictionary(static file => file, File.ReadAllBytes);

        var error = Assert.Throws<InvalidDataException>(() => Train(Config() with { Seed = 4 }, state));

        Assert.Equal(
            $"'{state}' is of a run with other settings, so that it cannot be resumed with these. Take its settings, data and base model, or start anew:\n"
            + $"- Seed: 3, here 4\n- data: hash abc, here {TinyRun.Dataset.ComputeHash()}\n- adapters beside the base model: other, here none",
            error.Message);
        Assert.Equal(before, Directory.GetFiles(_folder.Path).ToDictionary(static file => file, File.ReadAllBytes));
    }

    [Fact]
    public void Resume_AdapterOfOtherShapes_IsRefusedByTheOptimizer()
    {
        var state = Train(Config() with { Epochs = 1 }, null).StateFile;
        using (NewDisposeScope())
        {
            var tensors = SafetensorsFile.LoadAll(state);
            tensors["second_moment"] = zeros(3);
            SafetensorsFile.Write(state, tensors, RunFiles.Metadata(state));
        }

        Assert.Contains("second_moment missing or not", Assert.Throws<InvalidDataException>(() => Train(Config(), state)).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(7, 2, "7 steps are done, the plan has 6. Give 3 epochs or more, or start anew.")]
    [InlineData(6, 1, "6 steps are done, the plan has 3. Give 2 epochs or more, or start anew.")]
    [InlineData(4, 1, "4 steps are done, the plan has 3. Give 2 epochs or more, or start anew.")]
    public void Resume_FewerStepsThanAreDone_SaysHowManyEpochsAreEnough(int done, int epochs, string expected)
    {
        var state = Stopped(done);

        var message = Assert.Throws<InvalidDataException>(() => Train(Config() with { Epochs = epochs }, state)).Message;

        Assert.Equal($"'{state}' cannot be resumed with Epochs = {epochs}: {expected}", message);
    }

    [Fact]
    public void Resume_AllStepsAreDone_WritesTheFinalFileAndTakesNone()
    {
        var state = Stopped(6);
        var weights = RunFiles.Numbers(_folder.In("tiny-step00000006.safetensors"));

        var result = Train(Config() with { Epochs = 2 }, state);

        Assert.Empty(result.Steps);
        Assert.False(result.WasCancelled);
        Assert.Equal(_folder.In("tiny.safetensors"), result.File);
        Assert.Equal(weights, RunFiles.Numbers(result.File));
        Assert.Equal(Enumerable.Range(1, 6), RunFiles.Steps(RunFiles.Record(result)));
    }

    [Fact]
    public void Resume_StateOfAnEarlierVersion_IsTakenWithoutRunsAndEpochs()
    {
        var state = Stopped(5);
        RunFiles.Change(state, "runs", null);
        RunFiles.Change(state, "base_model", null);
        var config = JsonNode.Parse(RunFiles.Metadata(state)["config"])!.AsObject();
        config.Remove("Epochs");
        RunFiles.Change(state, "config", config.ToJsonString());
        File.Delete(_folder.In("tiny-run.json"));

        var result = Train(Config() with { Epochs = 3 }, state);

        var record = RunFiles.Record(result);
        Assert.Equal([6, 7, 8, 9], RunFiles.Steps(record));
        Assert.Equal((6, 9), ((int)record["runs"]!.AsArray().Single()!["firstStep"]!, (int)record["runs"]![0]!["lastStep"]!));
        Assert.Equal(9, record["losses"]!.AsArray().Count);
        Assert.Empty(result.Warnings);
        Assert.Equal(["tiny.safetensors"], record["checkpoints"]!.AsArray().Select(static name => (string)name!));
    }

    [Fact]
    public void Resume_FromAStateElsewhere_TellsWhatItsRecordToldAndThatOthersAreReplaced()
    {
        Train(Config() with { OutputFolder = _folder.In("out"), Epochs = 1 }, null);
        var state = Stopped(5);
        string told = "", own = "";
        TrainingResult? result = null;

        told = Heard.During(() => result = Train(Config() with { OutputFolder = _folder.In("out") }, state));
        own = Heard.During(() => Train(Config(), Path.Combine(_folder.Path, ".", "tiny-state.safetensors")));

        Assert.Contains($"'{_folder.In("out")}' has files of an earlier run called tiny; they are replaced. Give another Name or OutputFolder to keep both.",
            told, StringComparison.Ordinal);
        Assert.Equal("", own);
        Assert.Equal(Enumerable.Range(1, 12), RunFiles.Steps(RunFiles.Record(result!)));
        Assert.Equal(["tiny-step00000005.safetensors", "tiny.safetensors"], RunFiles.Record(result!)["checkpoints"]!.AsArray()
            .Select(static name => (string)name!));
    }

    [Fact]
    public void EarlierRecord_Beside_TakesTheStepsBeforeOne()
    {
        File.WriteAllText(
            _folder.In("a-run.json"),
            """{"steps":[{"step":1,"loss":5},{"step":2,"loss":6},{"step":3,"loss":7}],"checkpoints":["x","y"],"untrainedLayers":["z"]}""");
        File.WriteAllText(_folder.In("bare-run.json"), """{"steps":[]}""");

        var earlier = EarlierRecord.Beside(_folder.In("a-state"), "-state", "-run.json", 3);
        var bare = EarlierRecord.Beside(_folder.In("bare-state"), "-state", "-run.json", 3);

        Assert.Equal(["""{"step":1,"loss":5}""", """{"step":2,"loss":6}"""], earlier.Steps.Select(static step => step.ToJsonString()));
        Assert.Equal(["x", "y"], earlier.Checkpoints);
        Assert.Equal(["z"], earlier.UntrainedLayers);
        Assert.Equal((0, 0, 0), (bare.Steps.Count, bare.Checkpoints.Count, bare.UntrainedLayers.Count));
        Assert.Same(EarlierRecord.None, EarlierRecord.Beside(_folder.In("b-state"), "-state", "-run.json", 3));
        Assert.Same(EarlierRecord.None, EarlierRecord.Beside(_folder.In("a-other"), "-state", "-run.json", 3));
        Assert.Same(EarlierRecord.None, EarlierRecord.Beside(_folder.In("a"), "-state", "-run.json", 3));
    }

    [Theory]
    [InlineData("{")]
    [InlineData("null")]
    [InlineData("[]")]
    [InlineData("{}")]
    [InlineData("""{"steps":{}}""")]
    [InlineData("""{"steps":[null]}""")]
    [InlineData("""{"steps":[{"step":"one"}]}""")]
    [InlineData("""{"steps":[],"checkpoints":[1]}""")]
    [InlineData("""{"steps":[],"untrainedLayers":{}}""")]
    [InlineData("""{"steps":[{"step":1.5}]}""")]
    public void EarlierRecord_FileThatIsNone_SaysWhatToDo(string text)
    {
        File.WriteAllText(_folder.In("a-run.json"), text);

        var error = Assert.Throws<InvalidDataException>(() => EarlierRecord.Beside(_folder.In("a-state"), "-state", "-run.json", 3));

        Assert.StartsWith($"'{_folder.In("a-run.json")}' is not the record of a run: got ", error.Message, StringComparison.Ordinal);
        Assert.EndsWith(
            $" Expected the file that was written with '{_folder.In("a-state")}', whose steps the new record goes on with. "
            + "Restore it, or move it away to go on without them.",
            error.Message,
            StringComparison.Ordinal);
        Assert.NotNull(error.InnerException);
    }

    [Fact]
    public void FrozenNetworks_Disposed_LetsTrainWhatTrainedBefore()
    {
        using var network = nn.Linear(2, 3);
        network.bias!.requires_grad = false;

        using (new FrozenNetworks([network]))
        {
            Assert.All(network.parameters(), static parameter => Assert.False(parameter.requires_grad));
        }

        Assert.Equal((true, false), (network.weight!.requires_grad, network.bias.requires_grad));
    }

    private DiffusionTrainingConfig Config() =>
        TinyRun.Config(_folder.Path) with { Schedule = new() { Kind = ScheduleKind.Constant }, TextEncoderLora = new DiffusionTrainingConfig().TextEncoderLora };

    private string Stopped(int step)
    {
        using var source = new CancellationTokenSource();
        using var result = new LoraTrainer().Train(Config(), _pipeline, TinyRun.Dataset,
            new Immediate<TrainingStep>(taken => { if (taken.Step == step) { source.Cancel(); } }), source.Token);
        return result.StateFile;
    }

    private TrainingResult Train(DiffusionTrainingConfig config, string? state)
    {
        using var result = new LoraTrainer { ResumeFrom = state }.Train(config, _pipeline, TinyRun.Dataset);
        return result;
    }
}
