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

    private readonly TrainingTask _task;
    private readonly TrainingConfig _config;
    private readonly TrainingPlan _plan;
    private readonly TimeProvider _clock;
    private readonly DateTimeOffset _started;
    private readonly List<string> _checkpoints = [];
    private IReadOnlyList<double> _losses = [];
    private JsonArray _earlierRuns = [];
    private EarlierRecord _earlier = EarlierRecord.None;
    private int _firstStep = 1;

    public TrainingFiles(TrainingTask task, TrainingPlan plan, TimeProvider clock) =>
        (_task, _config, _plan, _clock, _started) = (task, task.Config, plan, clock, clock.GetUtcNow());

    public IReadOnlyList<string> Checkpoints => _checkpoints;

    public string StateFile => FileNamed(StateEnding);

    /// <summary>The number of epochs after which the last samples were drawn, all of them.</summary>
    public int SampledEpochs { get; set; }

    public string RecordFile => FileNamed(RecordEnding);

    /// <summary>The adapter after some epochs, and the state to resume from.</summary>
    public void SaveCheckpoint(int epochs, int steps, OptimizerRun optimizer, LossCurve curve) =>
        Save(FileNamed($"-{epochs:D6}{_task.FileEnding}"), steps, optimizer, curve);

    /// <summary>The adapter at the end of the run, or, where steps are missing, at the step at which it was stopped.</summary>
    public void SaveFinal(int steps, OptimizerRun optimizer, LossCurve curve) =>
        Save(FileNamed((steps < _plan.TotalSteps ? $"-step{steps:D8}" : "") + _task.FileEnding), steps, optimizer, curve);

    /// <summary>Tells that files of an earlier run of this name will be replaced; one that is resumed goes on in them.</summary>
    public void TellReplaced(string? resumedFrom)
    {
        if (File.Exists(RecordFile) && (resumedFrom is null || Path.GetFullPath(resumedFrom) != StateFile))
        {
            Notice.Tell(
                $"'{_config.OutputFolder}' has files of an earlier run called {_config.Name}; they are replaced. "
                    + "Give another Name or OutputFolder to keep both.");
        }
    }

    /// <summary>Finds before training what could not be written after it: a folder that is read-only, an adapter for which the format has no names.</summary>
    public void Rehearse()
    {
        var path = FileNamed("-rehearsal" + _task.FileEnding);
        _task.Save(path, new TrainingFileFacts(_plan, 0, _started, _started));
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
        (_losses, var epochs, SampledEpochs, _earlierRuns) = TrainingState.Load(path, optimizer, _task, _plan);
        _firstStep = _losses.Count + 1;
        _earlier = EarlierRecord.Beside(path, StateEnding, RecordEnding, _firstStep);
        return (_losses, epochs);
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
        var later = steps.Where(step => step.Step > _losses.Count).Select(static step => step.Loss).ToList();
        var record = new JsonObject
        {
            ["name"] = _config.Name,
            ["seed"] = _config.Seed,
            ["started"] = _started,
            ["written"] = _clock.GetUtcNow(),
            ["wasCancelled"] = wasCancelled,
            ["fault"] = fault,
            ["warnings"] = RecordJson.Of(warnings),
            ["plan"] = RecordJson.Of(_plan),
            ["data"] = new JsonObject { ["hash"] = _task.DataHash },
            ["base"] = _task.Base.ToJson(),
            ["config"] = _config.ToJson(),
            ["runs"] = Runs(_losses.Count + later.Count),
            ["checkpoints"] = RecordJson.Of(_earlier.Checkpoints.Concat(_checkpoints.Select(static path => Path.GetFileName(path)!)).Distinct()),
            ["untrainedLayers"] = RecordJson.Of(steps.Count > 0 ? untrainedLayers : _earlier.UntrainedLayers),
            ["losses"] = RecordJson.Of(_losses.Concat(later)),
            ["steps"] = new JsonArray([.. _earlier.Steps.Select(static step => step.DeepClone()), .. steps.Select(RecordJson.Of)]),
        };
        _task.Describe(record);
        AtomicFile.Write(RecordFile, stream => RecordJson.Write(stream, record));
    }

    private void Save(string path, int steps, OptimizerRun optimizer, LossCurve curve)
    {
        using var scope = NewDisposeScope();
        _losses = [.. curve.Losses];
        TrainingState.Save(StateFile, optimizer, _losses, SampledEpochs, _task, Runs(_losses.Count));
        optimizer.UseEvaluationWeights();
        _task.Save(path, new TrainingFileFacts(_plan, steps, _started, _clock.GetUtcNow()));
        _checkpoints.Add(path);
    }

    /// <summary>The runs that took the steps so far, this one last.</summary>
    private JsonArray Runs(int lastStep)
    {
        var run = new
        {
            FirstStep = _firstStep,
            LastStep = lastStep,
            Started = _started,
            Written = _clock.GetUtcNow(),
            Machine = Machine.Here(),
            Device = _task.Networks[0].Model.BaseModel.parameters().First().device.ToString(),
            Versions = new
            {
                LoraNotebooks = Version(typeof(TrainingFiles)),
                TorchSharp = Version(typeof(TorchSharp.torch)),
                Runtime = RuntimeInformation.FrameworkDescription,
                System = RuntimeInformation.RuntimeIdentifier,
            },
        };
        return [.. _earlierRuns.Select(static earlier => earlier!.DeepClone()), RecordJson.Of(run)];
    }

    private string FileNamed(string ending) => Path.GetFullPath(Path.Combine(_config.OutputFolder, _config.Name + ending));

    private static string Version(Type type) =>
        type.Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion ?? type.Assembly.GetName().Version!.ToString();
}
