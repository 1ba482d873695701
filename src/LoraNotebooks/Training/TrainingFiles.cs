using System.Reflection;
using System.Runtime.InteropServices;
using System.Text.Json;
using System.Text.Json.Nodes;
using LoraNotebooks.Data;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Formats;
using LoraNotebooks.Tensors;
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
    private readonly DateTimeOffset started = DateTimeOffset.UtcNow;
    private readonly List<string> checkpoints = [];
    private IReadOnlyList<double> losses = [];
    private JsonArray earlierRuns = [];
    private JsonArray earlierSteps = [];
    private int firstStep = 1;

    public TrainingFiles(
        TrainingConfig config, TrainingPlan plan, StableDiffusionPipeline pipeline, TrainingBase baseModel, PreparedDataset dataset, StableDiffusionLora lora)
    {
        (this.config, this.plan, this.pipeline, this.baseModel, this.dataset, this.lora) = (config, plan, pipeline, baseModel, dataset, lora);
        dataHash = dataset.ComputeHash(withOrigins: pipeline.UNet.Config.HasAddedConditions);
        Directory.CreateDirectory(config.OutputFolder);
    }

    public IReadOnlyList<string> Checkpoints => checkpoints;

    public string StateFile => FileNamed(StateEnding);

    public string RecordFile => FileNamed(RecordEnding);

    /// <summary>The adapter after some epochs, and the state to resume from.</summary>
    public void SaveCheckpoint(int epochs, int steps, AdamWOptimizer optimizer, LossCurve curve) => Save(FileNamed($"-{epochs:D6}.safetensors"), steps, optimizer, curve);

    /// <summary>The adapter at the end of the run, or, where steps are missing, at the step at which it was stopped.</summary>
    public void SaveFinal(int steps, AdamWOptimizer optimizer, LossCurve curve) =>
        Save(FileNamed(steps < plan.TotalSteps ? $"-step{steps:D8}.safetensors" : ".safetensors"), steps, optimizer, curve);

    /// <summary>Takes weights, moments and step of a stopped run, and what its record beside the state tells of its steps; returns its losses.</summary>
    public IReadOnlyList<double> LoadState(string path, AdamWOptimizer optimizer)
    {
        (losses, earlierRuns) = TrainingState.Load(path, optimizer, config, dataHash, baseModel);
        firstStep = losses.Count + 1;
        earlierSteps = StepsBefore(firstStep, path);
        return losses;
    }

    /// <summary>
    /// What is needed to repeat the run and to compare its numbers. Of a resumed run it tells all parts, each with the machine that computed it.
    /// </summary>
    public void WriteRecord(IReadOnlyList<TrainingStep> steps, IReadOnlyList<string> untrainedLayers, bool wasCancelled)
    {
        var record = new
        {
            config.Name,
            config.Seed,
            Started = started,
            Written = DateTimeOffset.UtcNow,
            wasCancelled,
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
            Runs = Runs(),
            Checkpoints = checkpoints.Select(Path.GetFileName),
            untrainedLayers,
            Losses = losses,
            Steps = earlierSteps.Concat(steps.Select(static step => JsonSerializer.SerializeToNode(step, Indented))),
        };
        AtomicFile.Write(RecordFile, stream => JsonSerializer.Serialize(stream, record, Indented));
    }

    private void Save(string path, int steps, AdamWOptimizer optimizer, LossCurve curve)
    {
        using var scope = NewDisposeScope();
        losses = [.. curve.Losses];
        TrainingState.Save(StateFile, optimizer, losses, config, dataHash, baseModel, Runs());
        lora.SaveKohya(path, KohyaTrainingFacts.Of(config, plan, dataset, steps, started));
        checkpoints.Add(path);
    }

    /// <summary>The runs that took the steps so far, this one last.</summary>
    private JsonArray Runs()
    {
        var run = new
        {
            FirstStep = firstStep,
            LastStep = losses.Count,
            Started = started,
            Written = DateTimeOffset.UtcNow,
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

    /// <summary>What the record beside a state tells of the steps before one; nothing where there is no record.</summary>
    private static JsonArray StepsBefore(int step, string stateFile)
    {
        var record = stateFile.EndsWith(StateEnding, StringComparison.Ordinal) ? stateFile[..^StateEnding.Length] + RecordEnding : null;
        if (!File.Exists(record))
        {
            return [];
        }

        try
        {
            var steps = JsonNode.Parse(File.ReadAllText(record))!["steps"]!.AsArray();
            return [.. steps.Where(taken => taken!["step"]!.GetValue<int>() < step).Select(static taken => taken!.DeepClone())];
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException or NullReferenceException or FormatException)
        {
            throw new InvalidDataException(
                $"'{record}' is not the record of a run: got {error.Message} Expected the file that was written with '{stateFile}', "
                + "whose steps the new record goes on with. Restore it, or move it away to go on without them.",
                error);
        }
    }

    private string FileNamed(string ending) => Path.GetFullPath(Path.Combine(config.OutputFolder, config.Name + ending));

    private static string Version(Type type) =>
        type.Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion ?? type.Assembly.GetName().Version!.ToString();
}
