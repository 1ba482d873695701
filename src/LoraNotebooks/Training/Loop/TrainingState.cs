using System.Globalization;
using System.Text.Json.Nodes;
using LoraNotebooks.Formats;
using LoraNotebooks.Training.Optimizers;
using static TorchSharp.torch;

namespace LoraNotebooks.Training.Loop;

/// <summary>
/// Everything that a stopped run needs to go on, in one file, so that it is there whole or not at all: weights, the optimizer's states, losses; as metadata the
/// settings, the data's hash, the base model and the runs so far.
/// Random numbers hang on the seed and the step alone, and learning rates on the step, so that neither is stored.
/// </summary>
internal static class TrainingState
{
    public const string Losses = "losses";

    private const string Steps = "steps";
    private const string Config = "config";
    private const string DataHash = "data_hash";
    private const string Base = "base_model";
    private const string Runs = "runs";
    private const string SampledEpochs = "sampled_epochs";

    public static void Save(string path, OptimizerRun optimizer, IReadOnlyList<double> losses, int sampledEpochs, TrainingTask task, JsonArray runs)
    {
        using var scope = NewDisposeScope();
        var tensors = optimizer.State();
        tensors[Losses] = tensor(losses.ToArray());
        SafetensorsFile.Write(path, tensors, new Dictionary<string, string>
        {
            [Steps] = optimizer.Steps.ToString(CultureInfo.InvariantCulture),
            [Config] = task.Config.ToJson().ToJsonString(),
            [DataHash] = task.DataHash,
            [Base] = task.Base.ToJson().ToJsonString(),
            [Runs] = runs.ToJsonString(),
            [SampledEpochs] = sampledEpochs.ToString(CultureInfo.InvariantCulture),
        });
    }

    /// <summary>
    /// Restores the optimizer and its parameters; returns the losses of the steps so far, the epochs that were planned, those whose samples are drawn, and
    /// which runs took them where. Another processor, libtorch or number of threads is allowed, and told by the runs. States of versions that noted no base
    /// model are taken without comparing it.
    /// </summary>
    /// <exception cref="InvalidDataException">
    /// The file is no training state, or of a run with other settings, data or base model, or has more steps than are planned; all differences are listed.
    /// </exception>
    public static (IReadOnlyList<double> Losses, int Epochs, int SampledEpochs, JsonArray Runs) Load(
        string path, OptimizerRun optimizer, TrainingTask task, TrainingPlan plan)
    {
        using var scope = NewDisposeScope();
        using var file = SafetensorsFile.Open(path);
        if (!file.Metadata.TryGetValue(Steps, out var steps) || !file.Metadata.TryGetValue(Config, out var theirs) || !file.Tensors.ContainsKey(Losses))
        {
            throw new InvalidDataException(
                $"'{path}' is no training state. Give the file called <name>-state.safetensors; an adapter's file holds only its weights.");
        }

        var settings = JsonNode.Parse(theirs)!.AsObject();
        List<string> differences = [.. task.Config.DifferencesInNumbers(settings)];
        if (file.Metadata.GetValueOrDefault(DataHash) is var hash && hash != task.DataHash)
        {
            differences.Add($"data: hash {hash}, here {task.DataHash}");
        }

        if (file.Metadata.TryGetValue(Base, out var theirBase))
        {
            differences.AddRange(task.Base.DifferencesFrom(TrainingBase.FromJson(theirBase)));
        }

        Faults.ThrowIfAny(differences, found => new InvalidDataException(
            $"'{path}' is of a run with other settings, so that it cannot be resumed with these. "
                + $"Take its settings, data and base model, or start anew:\n{Listing.Lines(found, int.MaxValue)}"));
        var done = long.Parse(steps, CultureInfo.InvariantCulture);
        if (done > plan.TotalSteps)
        {
            throw new InvalidDataException(
                $"'{path}' cannot be resumed with Epochs = {plan.Epochs}: {done} steps are done, the plan has {plan.TotalSteps}. "
                    + $"Give {(done + plan.StepsPerEpoch - 1) / plan.StepsPerEpoch} epochs or more, or start anew.");
        }

        optimizer.Restore(file.Tensors.Keys.Where(name => name != Losses).ToDictionary(name => name, name => file.Load(name)), done);
        return (
            file.Load(Losses).data<double>().ToArray(),
            (int?)settings[nameof(TrainingConfig.Epochs)] ?? plan.Epochs,
            int.Parse(file.Metadata.GetValueOrDefault(SampledEpochs, $"{int.MaxValue}"), CultureInfo.InvariantCulture),
            file.Metadata.TryGetValue(Runs, out var runs) ? JsonNode.Parse(runs)!.AsArray() : []);
    }
}
