using System.Reflection;
using System.Runtime.InteropServices;
using System.Text.Json.Nodes;
using LoraNotebooks.Tensors;
using LoraNotebooks.Training.Optimizers;
using static TorchSharp.torch;

namespace LoraNotebooks.Training.Loop;

/// <summary>The files of one run, named as kohya-ss/sd-scripts names them: checkpoints, state, record.</summary>
internal sealed class TrainingFiles
{
    private const string StateEnding = "-state.safetensors";
    private const string RecordEnding = "-run.json";

    private readonly TrainingTask task;
    private readonly TrainingConfig config;
    private readonly TrainingPlan plan;
    private readonly TimeProvider clock;
    private readonly DateTimeOffset started;
    private readonly List<string> checkpoints = [];
    private IReadOnlyList<double> losses = [];
    private JsonArray earlierRuns = [];
    private EarlierRecord earlier = EarlierRecord.None;
    private int firstStep = 1;

    public TrainingFiles(TrainingTask task, TrainingPlan plan, TimeProvider clock) =>
        (this.task, config, this.plan, this.clock, started) = (task, task.Config, plan, clock, clock.GetUtcNow());

    public IReadOnlyList<string> Checkpoints => checkpoints;

    public string StateFile => FileNamed(StateEnding);

    /// <summary>The number of epochs after which the last samples were drawn, all of them.</summary>
    public int SampledEpochs { get; set; }

    public string RecordFile => FileNamed(RecordEnding);

    /// <summary>The adapter after some epochs, and the state to resume from.</summary>
    public void SaveCheckpoint(int epochs, int steps, OptimizerRun optimizer, LossCurve curve) =>
        Save(FileNamed($"-{epochs:D6}{task.FileEnding}"), steps, optimizer, curve);

    /// <summary>The adapter at the end of the run, or, where steps are missing, at the step at which it was stopped.</summary>
    public void SaveFinal(int steps, OptimizerRun optimizer, LossCurve curve) =>
        Save(FileNamed((steps < plan.TotalSteps ? $"-step{steps:D8}" : "") + task.FileEnding), steps, optimizer, curve);

    /// <summary>Tells that files of an earlier run of this name will be replaced; one that is resumed goes on in them.</summary>
    public void TellReplaced(string? resumedFrom)
    {
        if (File.Exists(RecordFile) && (resumedFrom is null || Path.GetFullPath(resumedFrom) != StateFile))
        {
            Notice.Tell(
                $"'{config.OutputFolder}' has files of an earlier run called {config.Name}; they are replaced. "
                    + "Give another Name or OutputFolder to keep both.");
        }
    }

    /// <summary>Finds before training what could not be written after it: a folder that is read-only, an adapter for which the format has no names.</summary>
    public void Rehearse()
    {
        var path = FileNamed("-rehearsal" + task.FileEnding);
        task.Save(path, new TrainingFileFacts(plan, 0, started, started));
        if (Directory.Exists(path))
        {
            Directory.Delete(path, recursive: true);
        }

        File.Delete(path);
    }

    /// <summary>
    /// Takes weights, the optimizer's states and step of a stopped run, and what its record beside the state tells of it;
    /// returns its losses and the epochs that it planned.
    /// </summary>
    public (IReadOnlyList<double> Losses, int Epochs) LoadState(string path, OptimizerRun optimizer)
    {
        (losses, var epochs, SampledEpochs, earlierRuns) = TrainingState.Load(path, optimizer, task, plan);
        firstStep = losses.Count + 1;
        earlier = EarlierRecord.Beside(path, StateEnding, RecordEnding, firstStep);
        return (losses, epochs);
    }

    /// <summary>
    /// What is needed to repeat the run and to compare its numbers. Of a resumed run it tells all parts, each with the machine that computed it.
    /// </summary>
    public void WriteRecord(
        IReadOnlyList<TrainingStep> steps,
        IReadOnlyList<string> untrainedLayers,
        IReadOnlyList<string> warnings,
        bool wasCancelled,
        string? fault = null)
    {
        var later = steps.Where(step => step.Step > losses.Count).Select(static step => step.Loss).ToList();
        var record = new JsonObject
        {
            ["name"] = config.Name,
            ["seed"] = config.Seed,
            ["started"] = started,
            ["written"] = clock.GetUtcNow(),
            ["wasCancelled"] = wasCancelled,
            ["fault"] = fault,
            ["warnings"] = RecordJson.Of(warnings),
            ["plan"] = RecordJson.Of(plan),
            ["data"] = new JsonObject { ["hash"] = task.DataHash },
            ["base"] = task.Base.ToJson(),
            ["config"] = config.ToJson(),
            ["runs"] = Runs(losses.Count + later.Count),
            ["checkpoints"] = RecordJson.Of(earlier.Checkpoints.Concat(checkpoints.Select(static path => Path.GetFileName(path)!)).Distinct()),
            ["untrainedLayers"] = RecordJson.Of(steps.Count > 0 ? untrainedLayers : earlier.UntrainedLayers),
            ["losses"] = RecordJson.Of(losses.Concat(later)),
            ["steps"] = new JsonArray([.. earlier.Steps.Select(static step => step.DeepClone()), .. steps.Select(RecordJson.Of)]),
        };
        task.Describe(record);
        AtomicFile.Write(RecordFile, stream => RecordJson.Write(stream, record));
    }

    private void Save(string path, int steps, OptimizerRun optimizer, LossCurve curve)
    {
        using var scope = NewDisposeScope();
        losses = [.. curve.Losses];
        TrainingState.Save(StateFile, optimizer, losses, SampledEpochs, task, Runs(losses.Count));
        optimizer.UseEvaluationWeights();
        task.Save(path, new TrainingFileFacts(plan, steps, started, clock.GetUtcNow()));
        checkpoints.Add(path);
    }

    /// <summary>The runs that took the steps so far, this one last.</summary>
    private JsonArray Runs(int lastStep)
    {
        var run = new
        {
            FirstStep = firstStep,
            LastStep = lastStep,
            Started = started,
            Written = clock.GetUtcNow(),
            Machine = Machine.Here(),
            Device = task.Networks[0].Model.BaseModel.parameters().First().device.ToString(),
            Versions = new
            {
                LoraNotebooks = Version(typeof(TrainingFiles)),
                TorchSharp = Version(typeof(TorchSharp.torch)),
                Runtime = RuntimeInformation.FrameworkDescription,
                System = RuntimeInformation.RuntimeIdentifier,
            },
        };
        return [.. earlierRuns.Select(static earlier => earlier!.DeepClone()), RecordJson.Of(run)];
    }

    private string FileNamed(string ending) => Path.GetFullPath(Path.Combine(config.OutputFolder, config.Name + ending));

    private static string Version(Type type) =>
        type.Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion ?? type.Assembly.GetName().Version!.ToString();
}
