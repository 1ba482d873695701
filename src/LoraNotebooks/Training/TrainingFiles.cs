using System.Reflection;
using System.Runtime.InteropServices;
using System.Text.Json;
using System.Text.Json.Nodes;
using LoraNotebooks.Data;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Tensors;
using LoraNotebooks.Training.Optimizers;
using static TorchSharp.torch;

namespace LoraNotebooks.Training;

/// <summary>The files of one run, named as kohya-ss/sd-scripts names them: checkpoints, state, record.</summary>
internal sealed class TrainingFiles
{
    private const string StateEnding = "-state.safetensors";
    private const string RecordEnding = "-run.json";

    private static readonly JsonSerializerOptions Indented = new() { WriteIndented = true, PropertyNamingPolicy = JsonNamingPolicy.CamelCase };

    private readonly TrainingConfig config;
    private readonly TrainingPlan plan;
    private readonly StableDiffusionPipeline pipeline;
    private readonly PreparedDataset dataset;
    private readonly StableDiffusionLora lora;
    private readonly string dataHash;
    private readonly TrainingBase baseModel;
    private readonly TimeProvider clock;
    private readonly DateTimeOffset started;
    private readonly List<string> checkpoints = [];
    private IReadOnlyList<double> losses = [];
    private JsonArray earlierRuns = [];
    private EarlierRecord earlier = EarlierRecord.None;
    private int firstStep = 1;

    public TrainingFiles(
        TrainingConfig config,
        TrainingPlan plan,
        StableDiffusionPipeline pipeline,
        TrainingBase baseModel,
        PreparedDataset dataset,
        StableDiffusionLora lora,
        TimeProvider clock)
    {
        (this.config, this.plan, this.pipeline, this.baseModel, this.dataset, this.lora) = (config, plan, pipeline, baseModel, dataset, lora);
        (this.clock, started) = (clock, clock.GetUtcNow());
        dataHash = dataset.ComputeHash(withOrigins: pipeline.UNet.Config.HasAddedConditions);
    }

    public IReadOnlyList<string> Checkpoints => checkpoints;

    public string StateFile => FileNamed(StateEnding);

    public string RecordFile => FileNamed(RecordEnding);

    /// <summary>The adapter after some epochs, and the state to resume from.</summary>
    public void SaveCheckpoint(int epochs, int steps, OptimizerRun optimizer, LossCurve curve) => Save(FileNamed($"-{epochs:D6}.safetensors"), steps, optimizer, curve);

    /// <summary>The adapter at the end of the run, or, where steps are missing, at the step at which it was stopped.</summary>
    public void SaveFinal(int steps, OptimizerRun optimizer, LossCurve curve) =>
        Save(FileNamed(steps < plan.TotalSteps ? $"-step{steps:D8}.safetensors" : ".safetensors"), steps, optimizer, curve);

    /// <summary>Tells that files of an earlier run of this name will be replaced; one that is resumed goes on in them.</summary>
    public void TellReplaced(string? resumedFrom)
    {
        if (File.Exists(RecordFile) && (resumedFrom is null || Path.GetFullPath(resumedFrom) != StateFile))
        {
            Notice.Tell($"'{config.OutputFolder}' has files of an earlier run called {config.Name}; they are replaced. Give another Name or OutputFolder to keep both.");
        }
    }

    /// <summary>Finds before training what could not be written after it: a folder that is read-only, an adapter for which the format has no names.</summary>
    public void Rehearse()
    {
        var path = FileNamed("-rehearsal.safetensors");
        lora.SaveKohya(path);
        File.Delete(path);
    }

    /// <summary>
    /// Takes weights, the optimizer's states and step of a stopped run, and what its record beside the state tells of it; returns its losses and the epochs that it
    /// planned.
    /// </summary>
    public (IReadOnlyList<double> Losses, int Epochs) LoadState(string path, OptimizerRun optimizer)
    {
        (losses, var epochs, earlierRuns) = TrainingState.Load(path, optimizer, config, plan, dataHash, baseModel);
        firstStep = losses.Count + 1;
        earlier = EarlierRecord.Beside(path, StateEnding, RecordEnding, firstStep);
        return (losses, epochs);
    }

    /// <summary>
    /// What is needed to repeat the run and to compare its numbers. Of a resumed run it tells all parts, each with the machine that computed it.
    /// </summary>
    public void WriteRecord(IReadOnlyList<TrainingStep> steps, IReadOnlyList<string> untrainedLayers, IReadOnlyList<string> warnings, bool wasCancelled, string? fault = null)
    {
        var later = steps.Where(step => step.Step > losses.Count).Select(static step => step.Loss).ToList();
        var record = new
        {
            config.Name,
            config.Seed,
            Started = started,
            Written = clock.GetUtcNow(),
            wasCancelled,
            Fault = fault,
            Warnings = warnings,
            Plan = plan,
            Data = new
            {
                Hash = dataHash,
                Images = dataset.Images.Select(static image =>
                    new { image.Name, image.Caption, image.Repeats, image.IsRegularization, image.LossWeight, image.Origin }),
            },
            Base = baseModel.ToJson(),
            Scheduler = pipeline.Scheduler.ToJson(),
            Config = config.ToJson(),
            Runs = Runs(losses.Count + later.Count),
            Checkpoints = earlier.Checkpoints.Concat(checkpoints.Select(static path => Path.GetFileName(path)!)).Distinct(),
            UntrainedLayers = steps.Count > 0 ? untrainedLayers : earlier.UntrainedLayers,
            Losses = losses.Concat(later),
            Steps = earlier.Steps.Concat(steps.Select(static step => JsonSerializer.SerializeToNode(step, Indented))),
        };
        AtomicFile.Write(RecordFile, stream => JsonSerializer.Serialize(stream, record, Indented));
    }

    private void Save(string path, int steps, OptimizerRun optimizer, LossCurve curve)
    {
        using var scope = NewDisposeScope();
        losses = [.. curve.Losses];
        TrainingState.Save(StateFile, optimizer, losses, config, dataHash, baseModel, Runs(losses.Count));
        optimizer.UseEvaluationWeights();
        lora.SaveKohya(path, KohyaTrainingFacts.Of(config, plan, dataset, steps, started));
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
            Device = pipeline.UNet.parameters().First().device.ToString(),
            Versions = new
            {
                LoraNotebooks = Version(typeof(TrainingFiles)),
                TorchSharp = Version(typeof(TorchSharp.torch)),
                Runtime = RuntimeInformation.FrameworkDescription,
                System = RuntimeInformation.RuntimeIdentifier,
            },
        };
        return [.. earlierRuns.Select(static earlier => earlier!.DeepClone()), JsonSerializer.SerializeToNode(run, Indented)];
    }

    private string FileNamed(string ending) => Path.GetFullPath(Path.Combine(config.OutputFolder, config.Name + ending));

    private static string Version(Type type) =>
        type.Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion ?? type.Assembly.GetName().Version!.ToString();
}
