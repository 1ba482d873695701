using LoraNotebooks.Diffusion;
using LoraNotebooks.Training.Optimizers;
using TorchSharp.Modules;

namespace LoraNotebooks.Training;

/// <summary>
/// What a run's optimizer trains, in groups, and how fast each learns: every network that the LoRA changes apart, and with LoRA+ the matrices B
/// apart from the rest.
/// </summary>
/// <remarks>
/// As in kohya-ss/sd-scripts, networks/lora.py, <c>prepare_optimizer_params</c>, SDXL's two text encoders learn at one rate.
/// Source of LoRA+: Hayou et al. 2024 (arXiv:2402.12354), section 4.
/// </remarks>
internal sealed class TrainedGroups
{
    private readonly TrainingConfig config;
    private readonly StableDiffusionLora lora;
    private readonly List<double> rates = [];
    private readonly List<ParameterGroup> groups = [];

    public TrainedGroups(TrainingConfig config, StableDiffusionLora lora)
    {
        (this.config, this.lora) = (config, lora);
        foreach (var network in lora.Networks)
        {
            Add(network, network.IsTextEncoder ? config.TextEncoderLearningRate ?? 0 : config.UNetLearningRate);
        }
    }

    /// <summary>The groups, as the optimizer takes them.</summary>
    public IReadOnlyList<ParameterGroup> Groups => groups;

    /// <summary>η of each group in a step.</summary>
    /// <param name="step">The number of steps taken before.</param>
    /// <param name="totalSteps">The number of steps of the run.</param>
    public IReadOnlyList<double> Rates(int step, int totalSteps) => [.. rates.Select(rate => config.Schedule.Rate(step, totalSteps, rate))];

    /// <summary>η of each network in a step, as the settings name it; of LoRA+ that of A.</summary>
    public (double UNet, double? TextEncoder) NetworkRates(int step, int totalSteps) => (
        config.Schedule.Rate(step, totalSteps, config.UNetLearningRate),
        config.TrainsTextEncoder ? config.Schedule.Rate(step, totalSteps, config.TextEncoderLearningRate!.Value) : null);

    /// <summary>The layers all of whose parameters are among some, as network.layer, e.g. "text_encoder.text_model.encoder.layers.11.mlp.fc1".</summary>
    /// <param name="parameters">The parameters.</param>
    public IReadOnlyList<string> LayersOf(IEnumerable<Parameter> parameters)
    {
        var among = new HashSet<Parameter>(parameters, ReferenceEqualityComparer.Instance);
        return
        [
            .. from network in lora.Networks
               from layer in network.Model.GetLayers(lora.Name)
               let trained = layer.Parameters.Values.Where(static parameter => parameter.requires_grad).ToList()
               where trained.Count > 0 && trained.TrueForAll(among.Contains)
               select $"{network.Name}.{layer.Path}",
        ];
    }

    private void Add(LoraNetwork network, double rate)
    {
        var parameters = network.Model.NamedParameters(lora.Name)
            .Where(static pair => pair.Parameter.requires_grad)
            .ToLookup(pair => config.LoraPlusLrRatio is not null && network.Model.GetConfig(lora.Name).Method.IsB(pair.Name), static pair => pair.Parameter);
        Add(network.Name, [.. parameters[false]], rate);
        Add(network.Name + ", B", [.. parameters[true]], rate * (config.LoraPlusLrRatio ?? 1));
    }

    private void Add(string name, IReadOnlyList<Parameter> parameters, double rate)
    {
        if (parameters.Count > 0)
        {
            groups.Add(new ParameterGroup(name, parameters, config.WeightDecay));
            rates.Add(rate);
        }
    }
}
