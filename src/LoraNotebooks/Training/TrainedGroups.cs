using LoraNotebooks.Adapters;
using LoraNotebooks.Diffusion;

namespace LoraNotebooks.Training;

/// <summary>What a run's optimizer trains, in groups, and how fast each learns: the networks apart, and with LoRA+ the matrices B apart from the rest.</summary>
/// <remarks>Source of LoRA+: Hayou et al. 2024 (arXiv:2402.12354), section 4; kohya-ss/sd-scripts, networks/lora.py, <c>prepare_optimizer_params</c>.</remarks>
internal sealed class TrainedGroups
{
    private readonly TrainingConfig config;
    private readonly List<double> rates = [];
    private readonly List<ParameterGroup> groups = [];

    public TrainedGroups(TrainingConfig config, StableDiffusionLora lora)
    {
        this.config = config;
        Add("unet", lora.UNet, lora.Name, config.UNetLearningRate);
        if (config.TrainsTextEncoder)
        {
            Add("text encoder", lora.TextEncoder, lora.Name, config.TextEncoderLearningRate!.Value);
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

    private void Add(string network, AdaptedModel? model, string adapter, double rate)
    {
        var parameters = model?.NamedParameters(adapter).Where(pair => pair.Parameter.requires_grad).ToLookup(pair => config.LoraPlusLrRatio is not null && IsB(pair.Name), pair => pair.Parameter);
        if (parameters is null)
        {
            return;
        }

        Add(network, [.. parameters[false]], rate);
        Add(network + ", B", [.. parameters[true]], rate * (config.LoraPlusLrRatio ?? 1));
    }

    private void Add(string name, IReadOnlyList<TorchSharp.Modules.Parameter> parameters, double rate)
    {
        if (parameters.Count > 0)
        {
            groups.Add(new ParameterGroup(name, parameters, config.WeightDecay));
            rates.Add(rate);
        }
    }

    /// <summary>PEFT's names of B: lora_B.weight, lora_B.bias, lora_embedding_B.</summary>
    private static bool IsB(string name) => name.Contains("lora_B", StringComparison.Ordinal) || name.Contains("lora_embedding_B", StringComparison.Ordinal);
}
