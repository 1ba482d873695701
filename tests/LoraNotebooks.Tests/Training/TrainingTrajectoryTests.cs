using System.Globalization;
using System.Text.Json;
using LoraNotebooks.Adapters;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Models.Diffusion;
using LoraNotebooks.Models.Language;
using LoraNotebooks.Training;
using LoraNotebooks.Training.Optimizers;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Training;

/// <summary>
/// Training runs of the upstream libraries, repeated step by step: every random quantity is given, so losses, norms, rates and weights must agree.
/// </summary>
public sealed class TrainingTrajectoryTests(ParityTable table) : IClassFixture<ParityTable>
{
    private const string Adapter = "default";
    private const string Magnitude = ".lora_magnitude_vector";
    private const string MagnitudeOfPeft = Magnitude + ".weight";

    private static readonly string[] Required =
    [
        "sd15-adamw-cosine-restarts",
        "sd15-min-snr-5",
        "sd15-accum4-batch1",
        "sd15-huber-snr",
        "sd2-v-prediction",
        "sd2-v-prediction-min-snr",
        "sd2-v-prediction-ztsnr-scaled",
    ];

    /// <summary>Every option that a case may set. An unknown one would change the numbers without our knowing.</summary>
    private static readonly string[] Options =
    [
        "steps", "micro_batch", "grad_accumulation", "lr_unet", "lr_text", "optimizer", "grad_clip_norm", "lr_scheduler", "warmup", "num_cycles",
        "rank", "alpha", "min_snr_gamma", "noise_offset", "adaptive_noise_scale", "v_prediction", "prior_loss_weight",
        "clip_skip", "dora", "debiased_estimation", "zero_terminal_snr", "huber", "scale_v_pred_loss_like_noise_pred", "train_text_encoder",
        "unet_targets", "text_targets",
    ];

    /// <summary>
    /// The required cases, and every other diffusion run in the folder;
    /// tests/Fixtures, which must stay small, holds some, the folder they were made in all of them.
    /// </summary>
    public static TheoryData<string> Cases() =>
        [.. Required
            .Union(Directory.GetDirectories(Fixtures.Case("train-trajectory")).Select(folder => Path.GetFileName(folder)!).Where(IsDiffusion))
            .Order(StringComparer.Ordinal)];

    [Theory]
    [Trait("Category", "Parity")]
    [MemberData(nameof(Cases))]
    public void Update_RecordedRun_GivesUpstreamsNumbers(string name)
    {
        using var scope = NewDisposeScope();
        var folder = Fixtures.Case("train-trajectory", name);
        var description = Fixtures.Json("train-trajectory", name, "case.json");
        var tolerance = description.GetProperty("tolerance");
        var options = description.GetProperty("options");
        Assert.Empty(options.EnumerateObject().Where(option => IsSet(option.Value)).Select(option => option.Name).Except(Options));
        var inputs = Fixtures.Tensors("train-trajectory", name, "inputs.safetensors");
        var config = Config(options, inputs);
        var expected = Fixtures.Tensors("train-trajectory", name, "expected.safetensors");
        var baseModel = Path.GetFullPath(Path.Combine(folder, description.GetProperty("base_model").GetString()!));

        using var unet = UNet2DConditionModel.FromFolder(Path.Combine(baseModel, "unet"));
        using var text = ClipTextModel.FromFolder(Path.Combine(baseModel, "text_encoder"));
        using var adaptedUNet = Attach(unet, config.UNetLora);
        using var adaptedText = config.TrainsTextEncoder ? Attach(text, config.TextEncoderLora) : null;
        CopyInitial(adaptedUNet, "init.unet.", inputs);
        CopyInitial(adaptedText, "init.te.", inputs);
        var groups = new List<ParameterGroup> { new("unet", adaptedUNet.TrainableParameters(Adapter), config.WeightDecay) };
        double[] baseRates = [config.UNetLearningRate];
        if (adaptedText is not null)
        {
            groups.Add(new ParameterGroup("text encoder", adaptedText.TrainableParameters(Adapter), config.WeightDecay));
            baseRates = [.. baseRates, config.TextEncoderLearningRate!.Value];
        }

        using var optimizer = new OptimizerRun(new AdamWOptimizer(), groups);
        var loss = new DenoisingLoss(unet, config.NoiseScheduleFor(Scheduler(baseModel, options)), config);
        var step = new GradientStep(optimizer, config.MaxGradientNorm);
        var steps = options.GetProperty("steps").GetInt32();
        var losses = expected["losses"].data<float>().ToArray();
        var norms = expected["grad_norms"].data<float>().ToArray();
        Assert.Equal((steps, steps), (losses.Length, norms.Length));
        for (var s = 0; s < steps; s++)
        {
            double[] current = [.. baseRates.Select(rate => config.Schedule.Rate(s, steps, rate))];
            var result = step.Take(config.GradientAccumulation, part => loss.Of(Batch(inputs, config, s, part, text)), current);

            table.Check(name, "loss", Math.Abs(losses[s] - result.Loss), tolerance.GetProperty("losses").GetDouble(), $"step {s}");
            table.Check(
                name,
                "gradient norm, relative",
                Math.Abs(norms[s] - result.GradientNorm) / norms[s],
                tolerance.GetProperty("grad_norms_relative").GetDouble(),
                $"step {s}");
            for (var group = 0; group < current.Length; group++)
            {
                Assert.Equal(expected["lrs"][s, group].item<float>(), current[group], 1e-6 * baseRates[group]);
            }
        }

        CompareFinal(name, adaptedUNet, "final.unet.", expected, tolerance);
        CompareFinal(name, adaptedText, "final.te.", expected, tolerance);
    }

    /// <summary>The same images one by one, some to an update, and all in one batch.</summary>
    [Fact]
    [Trait("Category", "Parity")]
    public void Gradients_OfFourSmallBatches_AreThoseOfOneLargeBatch()
    {
        using var scope = NewDisposeScope();
        const string name = "sd15-accum4-batch1";
        var description = Fixtures.Json("train-trajectory", name, "case.json");
        var inputs = Fixtures.Tensors("train-trajectory", name, "inputs.safetensors");
        var config = Config(description.GetProperty("options"), inputs);
        var baseModel = Path.GetFullPath(Path.Combine(Fixtures.Case("train-trajectory", name), description.GetProperty("base_model").GetString()!));
        using var unet = UNet2DConditionModel.FromFolder(Path.Combine(baseModel, "unet"));
        using var text = ClipTextModel.FromFolder(Path.Combine(baseModel, "text_encoder"));
        using var adapted = Attach(unet, config.UNetLora);
        CopyInitial(adapted, "init.unet.", inputs);
        using var optimizer = new OptimizerRun(new AdamWOptimizer(), [new("unet", adapted.TrainableParameters(Adapter), 0)]);
        var loss = new DenoisingLoss(unet, config.NoiseScheduleFor(Scheduler(baseModel, description.GetProperty("options"))), config);
        var step = new GradientStep(optimizer, config.MaxGradientNorm);
        var large = config with { BatchSize = config.BatchSize * config.GradientAccumulation, GradientAccumulation = 1 };

        // A rate of 0 leaves the weights alone, so that both see the same model.
        var small = step.Take(config.GradientAccumulation, part => loss.Of(Batch(inputs, config, 0, part, text)), [0]);
        var whole = step.Take(1, part => loss.Of(Batch(inputs, large, 0, part, text)), [0]);

        Assert.True(config.GradientAccumulation > 1);
        table.Check("accumulation against one batch", "loss", Math.Abs(small.Loss - whole.Loss), 1e-6 * whole.Loss);
        table.Check("accumulation against one batch", "gradient norm, relative", Math.Abs(small.GradientNorm / whole.GradientNorm - 1), 1e-5);
    }

    private static bool IsDiffusion(string name) =>
        Fixtures.Json("train-trajectory", name, "case.json").GetProperty("options").TryGetProperty("lr_unet", out _);

    private static bool IsSet(JsonElement value) => value.ValueKind is not (JsonValueKind.Null or JsonValueKind.False);

    /// <summary>The case's options as settings of ours.</summary>
    private static DiffusionTrainingConfig Config(JsonElement options, Dictionary<string, Tensor> inputs)
    {
        const string optimizer = "torch.optim.AdamW(betas=(0.9,0.999), eps=1e-8, weight_decay=";
        Assert.StartsWith(optimizer, options.GetProperty("optimizer").GetString());
        var config = new DiffusionTrainingConfig
        {
            BatchSize = options.GetProperty("micro_batch").GetInt32(),
            GradientAccumulation = options.GetProperty("grad_accumulation").GetInt32(),
            UNetLearningRate = options.GetProperty("lr_unet").GetDouble(),
            TextEncoderLearningRate = options.GetProperty("train_text_encoder").GetBoolean() ? options.GetProperty("lr_text").GetDouble() : null,
            WeightDecay = double.Parse(options.GetProperty("optimizer").GetString()![optimizer.Length..].TrimEnd(')'), CultureInfo.InvariantCulture),
            Schedule = RateSchedule(options),
            MaxGradientNorm = Optional(options, "grad_clip_norm"),
            MinSnrGamma = Optional(options, "min_snr_gamma"),
            DebiasedEstimationLoss = options.GetProperty("debiased_estimation").GetBoolean(),
            ScaleVPredLossLikeNoisePred = options.GetProperty("scale_v_pred_loss_like_noise_pred").GetBoolean(),
            ZeroTerminalSnr = options.GetProperty("zero_terminal_snr").GetBoolean(),
            NoiseOffset = Optional(options, "noise_offset"),
            AdaptiveNoiseScale = Optional(options, "adaptive_noise_scale"),
            PriorLossWeight = Optional(options, "prior_loss_weight") ?? 1,
            ClipSkip = (int)(Optional(options, "clip_skip") ?? 1),
            UNetLora = Lora(options, "unet_targets", inputs, "init.unet."),
            TextEncoderLora = Lora(options, "text_targets", inputs, "init.te."),
        };
        config = options.GetProperty("huber") is { ValueKind: JsonValueKind.Object } huber
            ? config with
            {
                LossType = Enum.Parse<LossType>(huber.GetProperty("loss_type").GetString()!.Replace("_", "", StringComparison.Ordinal), ignoreCase: true),
                HuberSchedule = Enum.Parse<HuberSchedule>(huber.GetProperty("huber_schedule").GetString()!, ignoreCase: true),
                HuberC = huber.GetProperty("huber_c").GetDouble(),
                HuberScale = huber.GetProperty("huber_scale").GetDouble(),
            }
            : config;
        config.ThrowIfInvalid();
        return config;
    }

    /// <summary>A part of a step's images, with the noise that the trainer makes of the random numbers given.</summary>
    private static DiffusionBatch Batch(Dictionary<string, Tensor> inputs, DiffusionTrainingConfig config, int step, int part, ClipTextModel text)
    {
        var latents = Slice("latents");
        var noise = config.NoiseOffset is { } offset
            ? TrainingNoise.Offset(Slice("noise"), Slice("noise_offset_noise"), latents, offset, config.AdaptiveNoiseScale)
            : Slice("noise");
        return new DiffusionBatch(latents, noise, Slice("timesteps"), text.HiddenStates(Slice("input_ids"), config.ClipSkip))
        {
            Weights = inputs.TryGetValue("loss_weights", out var weights) ? weights.narrow(0, part * config.BatchSize, config.BatchSize) : null,
        };

        Tensor Slice(string quantity) => inputs[quantity][step].narrow(0, part * config.BatchSize, config.BatchSize);
    }

    /// <summary>The settings of one network's adapter; which network has DoRA is told by its magnitudes.</summary>
    private static LoraConfig Lora(JsonElement options, string targets, Dictionary<string, Tensor> inputs, string network) => new()
    {
        Rank = options.GetProperty("rank").GetInt32(),
        Alpha = options.GetProperty("alpha").GetDouble(),
        UseDora = inputs.Keys.Any(key => key.StartsWith(network, StringComparison.Ordinal) && key.EndsWith(MagnitudeOfPeft, StringComparison.Ordinal)),
        TargetModules = [.. options.GetProperty(targets).EnumerateArray().Select(target => target.GetString()!)],
    };

    private static AdaptedModel Attach(nn.Module model, LoraConfig config)
    {
        using var generator = new Generator(0);
        var adapted = new AdaptedModel(model);
        adapted.Add(Adapter, config, generator);
        return adapted;
    }

    private static void CopyInitial(AdaptedModel? model, string prefix, Dictionary<string, Tensor> inputs)
    {
        using var noGradient = no_grad();
        foreach (var (name, parameter) in model?.NamedParameters(Adapter) ?? [])
        {
            parameter.copy_(inputs[prefix + Upstream(name)]);
        }
    }

    /// <summary>A parameter's name in a live model of PEFT; in its files, DoRA's magnitude is a tensor of its own name.</summary>
    private static string Upstream(string name) =>
        "base_model.model." + (name.EndsWith(Magnitude, StringComparison.Ordinal) ? name[..^Magnitude.Length] + MagnitudeOfPeft : name);

    private void CompareFinal(string @case, AdaptedModel? model, string prefix, Dictionary<string, Tensor> expected, JsonElement tolerance)
    {
        var parameters = model?.NamedParameters(Adapter).ToList() ?? [];
        Assert.Equal(expected.Keys.Count(key => key.StartsWith(prefix, StringComparison.Ordinal)), parameters.Count);
        foreach (var (name, parameter) in parameters)
        {
            table.Check(
                @case,
                "final weights",
                Fixtures.MaxDifference(expected[prefix + Upstream(name)], parameter),
                tolerance.GetProperty("final_weights_abs").GetDouble(),
                name);
        }
    }

    private static SchedulerConfig Scheduler(string baseModel, JsonElement options) =>
        SchedulerConfig.Load(Path.Combine(baseModel, "scheduler", "scheduler_config.json")) with
        {
            PredictionType = options.GetProperty("v_prediction").GetBoolean() ? PredictionType.VPrediction : PredictionType.Epsilon,
        };

    private static LearningRateSchedule RateSchedule(JsonElement options) => new()
    {
        Kind = Enum.Parse<ScheduleKind>(options.GetProperty("lr_scheduler").GetString()!.Replace("_", "", StringComparison.Ordinal), ignoreCase: true),
        Warmup = options.GetProperty("warmup").GetDouble(),
        Cycles = options.GetProperty("num_cycles").GetDouble(),
    };

    private static double? Optional(JsonElement options, string name) =>
        options.GetProperty(name) is { ValueKind: JsonValueKind.Number } value ? value.GetDouble() : null;
}
