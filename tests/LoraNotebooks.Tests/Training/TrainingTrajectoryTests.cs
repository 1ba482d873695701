using System.Text.Json;
using LoraNotebooks.Adapters;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Models.Diffusion;
using LoraNotebooks.Models.Language;
using LoraNotebooks.Training;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Training;

/// <summary>Training runs of the upstream libraries, repeated step by step: every random quantity is given, so losses, norms, rates and weights must agree.</summary>
public sealed class TrainingTrajectoryTests
{
    private const string Adapter = "default";

    private static readonly string[] Required = ["sd15-adamw-cosine-restarts", "sd15-min-snr-5", "sd15-accum4-batch1", "sd2-v-prediction", "sd2-v-prediction-min-snr"];

    /// <summary>Options that the trainer does not have; a case that sets one is another test's.</summary>
    private static readonly string[] Unsupported = ["noise_offset", "adaptive_noise_scale", "prior_loss_weight", "dora", "debiased_estimation", "zero_terminal_snr", "huber", "scale_v_pred_loss_like_noise_pred"];

    /// <summary>The required cases, and whatever else the folder holds for the features at hand.</summary>
    public static TheoryData<string> Cases() =>
        [.. Required.Union(Directory.GetDirectories(Fixtures.Case("train-trajectory")).Select(folder => Path.GetFileName(folder)!).Where(IsSupported)).Order(StringComparer.Ordinal)];

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
        var inputs = Fixtures.Tensors("train-trajectory", name, "inputs.safetensors");
        var expected = Fixtures.Tensors("train-trajectory", name, "expected.safetensors");
        var baseModel = Path.GetFullPath(Path.Combine(folder, description.GetProperty("base_model").GetString()!));

        using var unet = UNet2DConditionModel.FromFolder(Path.Combine(baseModel, "unet"));
        using var text = ClipTextModel.FromFolder(Path.Combine(baseModel, "text_encoder"));
        var trainsText = options.GetProperty("train_text_encoder").GetBoolean();
        using var adaptedUNet = Attach(unet, options, "unet_targets");
        using var adaptedText = trainsText ? Attach(text, options, "text_targets") : null;
        CopyInitial(adaptedUNet, "init.unet.", inputs);
        CopyInitial(adaptedText, "init.te.", inputs);

        // The weight decay stands in the optimizer's description.
        var weightDecay = double.Parse(options.GetProperty("optimizer").GetString()!.Split("weight_decay=")[1].TrimEnd(')'), System.Globalization.CultureInfo.InvariantCulture);
        var groups = new List<ParameterGroup> { new("unet", adaptedUNet.TrainableParameters(Adapter), weightDecay) };
        double[] baseRates = [options.GetProperty("lr_unet").GetDouble()];
        if (adaptedText is not null)
        {
            groups.Add(new ParameterGroup("text encoder", adaptedText.TrainableParameters(Adapter), weightDecay));
            baseRates = [.. baseRates, options.GetProperty("lr_text").GetDouble()];
        }

        using var optimizer = new AdamWOptimizer(groups);
        var clipSkip = Optional(options, "clip_skip") is { } skip ? (int)skip : 1;
        var step = new DiffusionTrainingStep(unet, Schedule(baseModel, options), optimizer)
        {
            TextEncoder = ids => text.HiddenStates(ids, clipSkip),
            MinSnrGamma = Optional(options, "min_snr_gamma"),
            MaxGradientNorm = options.GetProperty("grad_clip_norm").GetDouble(),
        };
        var rates = RateSchedule(options);
        var steps = options.GetProperty("steps").GetInt32();
        var batch = options.GetProperty("micro_batch").GetInt32();
        var losses = expected["losses"].data<float>().ToArray();
        var norms = expected["grad_norms"].data<float>().ToArray();

        for (var s = 0; s < steps; s++)
        {
            double[] current = [.. baseRates.Select(rate => rates.Rate(s, steps, rate))];
            var result = step.Update(options.GetProperty("grad_accumulation").GetInt32(), Batch, current);

            Assert.True(Math.Abs(losses[s] - result.Loss) <= tolerance.GetProperty("losses").GetDouble(), $"loss of step {s}: expected {losses[s]}, got {result.Loss}");
            Assert.True(Math.Abs(norms[s] - result.GradientNorm) <= tolerance.GetProperty("grad_norms_relative").GetDouble() * norms[s], $"norm of step {s}: expected {norms[s]}, got {result.GradientNorm}");
            for (var group = 0; group < current.Length; group++)
            {
                Assert.Equal(expected["lrs"][s, group].item<float>(), current[group], 1e-6 * baseRates[group]);
            }

            DiffusionBatch Batch(int part)
            {
                return new(Slice("latents"), Slice("noise"), Slice("timesteps"), Slice("input_ids"));

                Tensor Slice(string quantity) => inputs[quantity][s].narrow(0, part * batch, batch);
            }
        }

        CompareFinal(adaptedUNet, "final.unet.", expected, tolerance);
        CompareFinal(adaptedText, "final.te.", expected, tolerance);
    }

    private static bool IsSupported(string name) =>
        Fixtures.Json("train-trajectory", name, "case.json").GetProperty("options") is var options && options.TryGetProperty("lr_unet", out _)
        && !Array.Exists(Unsupported, option => options.TryGetProperty(option, out var value) && value.ValueKind is not (JsonValueKind.Null or JsonValueKind.False))
        && options.GetProperty("optimizer").GetString()!.StartsWith("torch.optim.AdamW(", StringComparison.Ordinal);

    private static AdaptedModel Attach(nn.Module model, JsonElement options, string targets)
    {
        using var generator = new Generator(0);
        var adapted = new AdaptedModel(model);
        adapted.Add(
            Adapter,
            new LoraConfig
            {
                Rank = options.GetProperty("rank").GetInt32(),
                Alpha = options.GetProperty("alpha").GetDouble(),
                TargetModules = [.. options.GetProperty(targets).EnumerateArray().Select(target => target.GetString()!)],
            },
            generator);
        return adapted;
    }

    private static void CopyInitial(AdaptedModel? model, string prefix, Dictionary<string, Tensor> inputs)
    {
        using var noGradient = no_grad();
        foreach (var (name, parameter) in model?.NamedParameters(Adapter) ?? [])
        {
            parameter.copy_(inputs[$"{prefix}base_model.model.{name}"]);
        }
    }

    private static void CompareFinal(AdaptedModel? model, string prefix, Dictionary<string, Tensor> expected, JsonElement tolerance)
    {
        var parameters = model?.NamedParameters(Adapter).ToList() ?? [];
        Assert.Equal(expected.Keys.Count(key => key.StartsWith(prefix, StringComparison.Ordinal)), parameters.Count);
        foreach (var (name, parameter) in parameters)
        {
            var difference = Fixtures.MaxDifference(expected[$"{prefix}base_model.model.{name}"], parameter);
            Assert.True(difference <= tolerance.GetProperty("final_weights_abs").GetDouble(), $"{name}: differs by {difference}");
        }
    }

    private static NoiseSchedule Schedule(string baseModel, JsonElement options) =>
        new(SchedulerConfig.Load(Path.Combine(baseModel, "scheduler", "scheduler_config.json")) with
        {
            PredictionType = options.GetProperty("v_prediction").GetBoolean() ? PredictionType.VPrediction : PredictionType.Epsilon,
        });

    private static LearningRateSchedule RateSchedule(JsonElement options) => new()
    {
        Kind = Enum.Parse<ScheduleKind>(options.GetProperty("lr_scheduler").GetString()!.Replace("_", "", StringComparison.Ordinal), ignoreCase: true),
        Warmup = options.GetProperty("warmup").GetDouble(),
        Cycles = options.GetProperty("num_cycles").GetDouble(),
    };

    private static double? Optional(JsonElement options, string name) =>
        options.GetProperty(name) is { ValueKind: JsonValueKind.Number } value ? value.GetDouble() : null;
}
