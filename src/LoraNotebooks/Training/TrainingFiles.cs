using System.Reflection;
using System.Runtime.InteropServices;
using System.Text.Json;
using System.Text.Json.Nodes;
using LoraNotebooks.Data;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Formats;
using static TorchSharp.torch;

namespace LoraNotebooks.Training;

/// <summary>The files of one run, named as kohya-ss/sd-scripts names them: checkpoints, state, record.</summary>
internal sealed class TrainingFiles
{
    private static readonly JsonSerializerOptions Indented = new() { WriteIndented = true, PropertyNamingPolicy = JsonNamingPolicy.CamelCase };

    private readonly TrainingConfig config;
    private readonly TrainingPlan plan;
    private readonly StableDiffusionPipeline pipeline;
    private readonly PreparedDataset dataset;
    private readonly StableDiffusionLora lora;
    private readonly string dataHash;
    private readonly DateTimeOffset started = DateTimeOffset.UtcNow;
    private readonly List<string> checkpoints = [];
    private IReadOnlyList<double> losses = [];

    public TrainingFiles(TrainingConfig config, TrainingPlan plan, StableDiffusionPipeline pipeline, PreparedDataset dataset, StableDiffusionLora lora)
    {
        (this.config, this.plan, this.pipeline, this.dataset, this.lora) = (config, plan, pipeline, dataset, lora);
        dataHash = dataset.ComputeHash();
        Directory.CreateDirectory(config.OutputFolder);
    }

    public IReadOnlyList<string> Checkpoints => checkpoints;

    public string StateFile => FileNamed("-state.safetensors");

    public string RecordFile => FileNamed("-run.json");

    /// <summary>The adapter after some epochs, and the state to resume from.</summary>
    public void SaveCheckpoint(int epochs, int steps, AdamWOptimizer optimizer, LossCurve curve) => Save(FileNamed($"-{epochs:D6}.safetensors"), steps, optimizer, curve);

    /// <summary>The adapter at the end of the run, or, where steps are missing, at the step at which it was stopped.</summary>
    public void SaveFinal(int steps, AdamWOptimizer optimizer, LossCurve curve) =>
        Save(FileNamed(steps < plan.TotalSteps ? $"-step{steps:D8}.safetensors" : ".safetensors"), steps, optimizer, curve);

    /// <summary>Takes weights, moments and step of a stopped run; returns its losses.</summary>
    public IReadOnlyList<double> LoadState(string path, AdamWOptimizer optimizer) => TrainingState.Load(path, optimizer, config, dataHash);

    /// <summary>What is needed to repeat the run and to compare its numbers.</summary>
    public void WriteRecord(IReadOnlyList<TrainingStep> steps, bool wasCancelled)
    {
        var record = new JsonObject
        {
            ["name"] = config.Name,
            ["seed"] = config.Seed,
            ["started"] = started.ToString("O"),
            ["written"] = DateTimeOffset.UtcNow.ToString("O"),
            ["wasCancelled"] = wasCancelled,
            ["plan"] = JsonSerializer.SerializeToNode(plan, Indented),
            ["data"] = new JsonObject
            {
                ["hash"] = dataHash,
                ["images"] = JsonSerializer.SerializeToNode(dataset.Images.Select(image => new { image.Name, image.Caption, image.Repeats }), Indented),
            },
            ["config"] = config.ToJson(),
            ["versions"] = new JsonObject
            {
                ["loraNotebooks"] = Version(typeof(TrainingFiles)),
                ["torchSharp"] = Version(typeof(TorchSharp.torch)),
                ["runtime"] = RuntimeInformation.FrameworkDescription,
                ["system"] = RuntimeInformation.RuntimeIdentifier,
                ["device"] = pipeline.UNet.parameters().First().device.ToString(),
                ["threads"] = get_num_threads(),
            },
            ["checkpoints"] = JsonSerializer.SerializeToNode(checkpoints.Select(Path.GetFileName)),
            ["losses"] = JsonSerializer.SerializeToNode(losses),
            ["steps"] = JsonSerializer.SerializeToNode(steps, Indented),
        };
        AtomicFile.WriteAllText(RecordFile, record.ToJsonString(Indented) + "\n");
    }

    private void Save(string path, int steps, AdamWOptimizer optimizer, LossCurve curve)
    {
        using var scope = NewDisposeScope();
        losses = [.. curve.Losses];
        TrainingState.Save(StateFile, optimizer, losses, config, dataHash);
        lora.SaveKohya(path, KohyaTrainingFacts.Of(config, plan, dataset, steps, started));
        checkpoints.Add(path);
    }

    private string FileNamed(string ending) => Path.GetFullPath(Path.Combine(config.OutputFolder, config.Name + ending));

    private static string Version(Type type) =>
        type.Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion ?? type.Assembly.GetName().Version!.ToString();
}
