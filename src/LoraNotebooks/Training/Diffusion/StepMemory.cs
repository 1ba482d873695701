using LoraNotebooks.Adapters;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Models;
using LoraNotebooks.Models.Diffusion;
using LoraNotebooks.Models.Language;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Training.Diffusion;

/// <summary>Counts what a run needs: networks and adapters built without memory, and walks over the architectures.</summary>
internal sealed class StepMemory
{
    private const int UNetIndex = 0;
    private const int VaeIndex = 1;
    private const int MasterSize = sizeof(float);

    /// <summary>Gradients, and all of them in a row: see <see cref="Optimizers.OptimizerRun.Step"/>.</summary>
    private const int GradientCopies = 2;

    private readonly PipelineOutline _model;
    private readonly DiffusionTrainingConfig _config;
    private readonly MemoryPlanOptions _options;
    private readonly DeviceType _device;
    private readonly Dictionary<string, LayerCompanion> _unetCompanions;
    private readonly IReadOnlyList<Dictionary<string, LayerCompanion>> _textCompanions;
    private readonly List<long[]> _trainedShapes = [];

    /// <summary>Counts weights and adapters.</summary>
    /// <exception cref="ArgumentException">The adapter's settings do not fit the networks.</exception>
    public StepMemory(PipelineOutline model, DiffusionTrainingConfig config, MemoryPlanOptions options)
    {
        (_model, _config, _options) = (model, config, options);
        _device = options.Device?.type ?? DeviceType.CPU;
        var (unet, unetCompanions) = Count("unet", () => new UNet2DConditionModel(model.UNet), config.TrainsUNet ? config.UNetLora : null);
        _unetCompanions = unetCompanions;
        var (vae, _) = Count("vae", () => new AutoencoderKL(model.Vae), null);
        var texts = model.TextEncoders
            .Select((text, i) => Count(
                i == 0 ? "text_encoder" : $"text_encoder_{i + 1}",
                () => new ClipTextModel(text),
                config.TrainsTextEncoder ? config.TextEncoderLora : null))
            .ToList();
        _textCompanions = [.. texts.Select(static text => text.Companions)];
        Components = [unet, vae, .. texts.Select(static text => text.Component)];
    }

    /// <summary>The networks: UNet, autoencoder, text encoders.</summary>
    public IReadOnlyList<ComponentMemory> Components { get; }

    private long Trained => Components.Sum(static component => component.Trained);

    /// <summary>What a type and a resolution need.</summary>
    public MemoryNeed Need(ScalarType type, int resolution)
    {
        var vaeType = _model.Vae.TypeInMemory(type);
        var trainingType = _config.Precision == TrainingPrecision.BFloat16 ? ScalarType.BFloat16 : type;
        var sample = _config.SampleOptions;
        var images = Math.Min(sample.Count, sample.BatchSize);
        return new MemoryNeed(type, resolution)
        {
            Weights = Components.Select((component, i) => component.Parameters * (i == VaeIndex ? vaeType : type).ElementSize()).Sum(),
            Adapter = (_config.Optimizer.HasEvaluationWeights ? 2 : 1) * MasterSize * Trained
                + _config.Optimizer.StateBytes(_trainedShapes)
                + Lowered(type, trainingType),
            Update = (GradientCopies + _config.Optimizer.WorkingCopies) * MasterSize * Trained,
            TrainingStep = TrainingStep(trainingType, resolution),
            Encoding = Walked(vaeType, ledger => new VaeWalk(_model.Vae, ledger, vaeType, _device).Encode(1, resolution, resolution)),
            DrawingStep = Walked(
                type,
                ledger => UNetWalk(ledger, type)
                    .Run(sample.Guidance == 1 ? images : 2 * images, Latents(resolution), Latents(resolution), _options.TextTokens)),
            Decoding = Walked(vaeType, ledger => new VaeWalk(_model.Vae, ledger, vaeType, _device).Decode(images, resolution, resolution)),
        };
    }

    /// <summary>The most that lives in forward and backward: what the forward keeps, and the gradients of the largest tensor's result and input.</summary>
    private long TrainingStep(ScalarType type, int resolution)
    {
        var ledger = new TensorLedger(type.ElementSize(), recordsGradients: true);
        if (_config.TrainsTextEncoder)
        {
            foreach (var (text, companions) in _model.TextEncoders.Zip(_textCompanions))
            {
                new ClipTextWalk(text, ledger) { Companion = Find(companions) }.Run(_config.BatchSize, _options.TextTokens);
            }
        }

        UNetWalk(ledger, type).Run(_config.BatchSize, Latents(resolution), Latents(resolution), _options.TextTokens, _config.TrainsTextEncoder);
        return (long)(ledger.Peak + 2 * ledger.Largest);
    }

    private UNetWalk UNetWalk(TensorLedger ledger, ScalarType type) => new(_model.UNet, ledger, type, _device) { Companion = Find(_unetCompanions) };

    /// <summary>The copies of weights that <see cref="Loop.LoweredPrecision"/> keeps while the networks are in a smaller type.</summary>
    private long Lowered(ScalarType type, ScalarType trainingType) => type == trainingType ? 0
        : Components.Where((_, i) => i == UNetIndex || (i > VaeIndex && _config.TrainsTextEncoder))
            .Sum(component => component.Parameters * trainingType.ElementSize());

    private int Latents(int resolution) => resolution / _model.DownsamplingFactor;

    private static long Walked(ScalarType type, Action<TensorLedger> walk)
    {
        var ledger = new TensorLedger(type.ElementSize(), recordsGradients: false);
        walk(ledger);
        return (long)ledger.Peak;
    }

    private static Func<string, LayerCompanion?> Find(Dictionary<string, LayerCompanion> companions) =>
        path => companions.TryGetValue(path, out var found) ? found : null;

    /// <summary>Builds a network and its adapter without memory, as loading and training would.</summary>
    private (ComponentMemory Component, Dictionary<string, LayerCompanion> Companions) Count<T>(string name, Func<T> create, LoraConfig? lora)
        where T : nn.Module
    {
        using var scope = NewDisposeScope();
        using var network = Layers.WithoutMemory(create);
        var parameters = network.state_dict().Values.Sum(static weight => weight.numel());
        if (lora is null)
        {
            return (new ComponentMemory(name, parameters, 0), []);
        }

        using var generator = new Generator(0);
        using var adapted = new AdaptedModel(network);
        adapted.Add(name, lora, generator);
        _trainedShapes.AddRange(adapted.TrainableParameters(name).Select(static parameter => parameter.shape));
        var report = adapted.Report(name);
        var companions = new Dictionary<string, LayerCompanion>(StringComparer.Ordinal);
        foreach (var row in report.Rows)
        {
            var isThin = !lora.Method.FormsUpdate && !lora.UseDora && row.Rank is not null;
            companions.TryAdd(
                row.Target,
                isThin
                    ? new LayerCompanion(row.Rank!.Value, 0)
                    : new LayerCompanion(0, row.Shape.Aggregate(1L, static (product, size) => product * size)));
        }

        return (new ComponentMemory(name, parameters, report.Parameters), companions);
    }
}
