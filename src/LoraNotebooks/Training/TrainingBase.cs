using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using LoraNotebooks.Tensors;
using LoraNotebooks.Training.Loop;

namespace LoraNotebooks.Training;

/// <summary>Which base model a run trains on: what it is called, and what it is by its numbers.</summary>
public sealed record TrainingBase
{
    /// <summary>The folder or file that it was loaded from; null for components that were put together.</summary>
    public string? Source { get; init; }

    /// <summary>Its name on the hub with its commit, <c>org/name@commit</c>; null where it did not come from there.</summary>
    public string? HubName { get; init; }

    /// <summary>The type of the weights in memory, of Stable Diffusion the UNet's.</summary>
    public required string Type { get; init; }

    /// <summary>
    /// The networks' hashes by name, see <see cref="WeightsHash.Of"/>.
    /// Of the weights in memory and not of files: a LoRA that was merged into
    /// them, or another type, is another base.
    /// </summary>
    public required IReadOnlyDictionary<string, string> Weights { get; init; }

    /// <summary>
    /// What decides training beside the weights: the noise schedule, what the UNet predicts, the scale of latents; as the configurations spell them. Null
    /// in files of versions that did not note it.
    /// </summary>
    public IReadOnlyDictionary<string, string>? Settings { get; init; }

    /// <summary>Other adapters beside the networks, which change what the base computes.</summary>
    public required IReadOnlyList<string> Adapters { get; init; }

    /// <summary>Reads all weights of networks once, whatever they are.</summary>
    /// <param name="networks">The networks with the adapters that will train; those do not count.</param>
    public static TrainingBase Of(IReadOnlyList<TrainedNetwork> networks)
    {
        ArgumentNullException.ThrowIfNull(networks);
        return new()
        {
            Type = networks[0].Model.BaseModel.parameters().First().dtype.ToString(),
            Weights = networks.ToDictionary(static network => network.Name, static network => WeightsHash.Of(network.Model.BaseModel), StringComparer.Ordinal),
            Adapters =
            [
                .. from network in networks
                   from name in network.Model.Names
                   where name != network.Adapter
                   select string.Create(CultureInfo.InvariantCulture, $"{network.Name}: {name} × {network.Model.GetWeight(name)}"),
            ],
        };
    }

    /// <summary>From <see cref="ToJson"/>.</summary>
    /// <param name="json">The text.</param>
    /// <exception cref="JsonException">It is something else.</exception>
    public static TrainingBase FromJson(string json) => RecordJson.Read<TrainingBase>(json);

    /// <summary>As a run's record notes it.</summary>
    public JsonObject ToJson() => RecordJson.Of(this).AsObject();

    /// <summary>Where another base has other numbers, as "name: theirs, here ours". Where a model lies does not count.</summary>
    /// <param name="other">The other base.</param>
    public IEnumerable<string> DifferencesFrom(TrainingBase other)
    {
        ArgumentNullException.ThrowIfNull(other);
        foreach (var network in Weights.Keys.Union(other.Weights.Keys).Where(name => Weights.GetValueOrDefault(name) != other.Weights.GetValueOrDefault(name)))
        {
            yield return $"base model: weights of {network} {Told(other, network)}, here {Told(this, network)}";
        }

        foreach (var (name, ours) in other.Settings is { } theirs
            ? (Settings ?? new Dictionary<string, string>()).Where(pair => theirs.GetValueOrDefault(pair.Key) != pair.Value)
            : [])
        {
            yield return $"base model: {name} {other.Settings!.GetValueOrDefault(name) ?? "none"}, here {ours}";
        }

        if (!Adapters.SequenceEqual(other.Adapters))
        {
            yield return $"adapters beside the base model: {List(other.Adapters)}, here {List(Adapters)}";
        }
    }

    private static string Told(TrainingBase its, string network) =>
        its.Weights.TryGetValue(network, out var hash) ? $"{hash} ({its.Type} of {its.HubName ?? its.Source ?? "a model in memory"})" : "none";

    private static string List(IReadOnlyList<string> adapters) => adapters.Count == 0 ? "none" : string.Join(", ", adapters);
}
