using LoraNotebooks.Training.Optimizers;
using TorchSharp.Modules;

namespace LoraNotebooks.Training.Loop;

/// <summary>
/// What a run's optimizer trains, in groups, and how fast each learns: every network apart, and with LoRA+ the matrices B apart from the rest.
/// </summary>
/// <remarks>Source of LoRA+: Hayou et al. 2024 (arXiv:2402.12354), section 4.</remarks>
internal sealed class TrainedGroups
{
    private readonly TrainingConfig _config;
    private readonly IReadOnlyList<TrainedNetwork> _networks;
    private readonly List<double> _rates = [];
    private readonly List<ParameterGroup> _groups = [];

    public TrainedGroups(TrainingConfig config, IReadOnlyList<TrainedNetwork> networks)
    {
        (_config, _networks) = (config, networks);
        foreach (var network in networks)
        {
            var parameters = network.Model.NamedParameters(network.Adapter)
                .Where(static pair => pair.Parameter.requires_grad)
                .ToLookup(
                    pair => config.LoraPlusLrRatio is not null && network.Model.GetConfig(network.Adapter).Method.IsB(pair.Name),
                    static pair => pair.Parameter);
            Add(network.Name, [.. parameters[false]], network.LearningRate);
            Add(network.Name + ", B", [.. parameters[true]], network.LearningRate * (config.LoraPlusLrRatio ?? 1));
        }
    }

    /// <summary>The groups, as the optimizer takes them.</summary>
    public IReadOnlyList<ParameterGroup> Groups => _groups;

    /// <summary>η of each group in a step.</summary>
    /// <param name="step">The number of steps taken before.</param>
    /// <param name="totalSteps">The number of steps of the run.</param>
    public IReadOnlyList<double> Rates(int step, int totalSteps) => [.. _rates.Select(rate => _config.Schedule.Rate(step, totalSteps, rate))];

    /// <summary>η of the networks in a step by what their rates are called; of LoRA+ that of A.</summary>
    public IReadOnlyDictionary<string, double> NetworkRates(int step, int totalSteps)
    {
        var named = new OrderedDictionary<string, double>(StringComparer.Ordinal);
        foreach (var network in _networks)
        {
            named.TryAdd(network.RateName, _config.Schedule.Rate(step, totalSteps, network.LearningRate));
        }

        return named;
    }

    /// <summary>The layers all of whose parameters are among some, as network.layer, e.g. "text_encoder.text_model.encoder.layers.11.mlp.fc1".</summary>
    /// <param name="parameters">The parameters.</param>
    public IReadOnlyList<string> LayersOf(IEnumerable<Parameter> parameters)
    {
        var among = new HashSet<Parameter>(parameters, ReferenceEqualityComparer.Instance);
        return
        [
            .. from network in _networks
               from layer in network.Model.GetLayers(network.Adapter)
               let trained = layer.Parameters.Values.Where(static parameter => parameter.requires_grad).ToList()
               where trained.Count > 0 && trained.TrueForAll(among.Contains)
               select $"{network.Name}.{layer.Path}",
        ];
    }

    private void Add(string name, IReadOnlyList<Parameter> parameters, double rate)
    {
        if (parameters.Count > 0)
        {
            _groups.Add(new ParameterGroup(name, parameters, _config.WeightDecay));
            _rates.Add(rate);
        }
    }
}
