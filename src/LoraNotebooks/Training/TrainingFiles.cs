using System.Reflection;
using System.Runtime.InteropServices;
using System.Text.Json;
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
        dataHash = dataset.ComputeHash(withOrigins: pipeline.UNet.Config.HasAddedConditions);
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
            Config = config.ToJson(),
            Versions = new
            {
                LoraNotebooks = Version(typeof(TrainingFiles)),
                TorchSharp = Version(typeof(TorchSharp.torch)),
                Runtime = RuntimeInformation.FrameworkDescription,
                System = RuntimeInformation.RuntimeIdentifier,
                Device = pipeline.UNet.parameters().First().device.ToString(),
                Threads = get_num_threads(),
            },
            Checkpoints = checkpoints.Select(Path.GetFileName),
            untrainedLayers,
            Losses = losses,
            Steps = steps,
        };
        AtomicFile.Write(RecordFile, stream => JsonSerializer.Serialize(stream, record, Indented));
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
