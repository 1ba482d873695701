using LoraNotebooks.Adapters;
using LoraNotebooks.Data;
using LoraNotebooks.Models.Language;
using LoraNotebooks.Training;
using LoraNotebooks.Training.Optimizers;

namespace LoraNotebooks.Tests.Training;

/// <summary>
/// Settings that are right alone, two by two: those that cannot work together
/// are refused, those without effect are told, and all others are left in peace.
/// </summary>
public sealed class SettingPairsTests
{
    private static readonly LoraConfig Lora = new() { Rank = 2, Alpha = 2, TargetModules = ["to_q"] };

    /// <summary>Each setting alone, changed to something usual; none of them may be refused or warned of alone, unless it needs a companion.</summary>
    private static readonly Dictionary<string, Func<DiffusionTrainingConfig, DiffusionTrainingConfig>> Settings = new()
    {
        ["epochs"] = static config => config with { Epochs = 6 },
        ["batch"] = static config => config with { BatchSize = 4 },
        ["accumulation"] = static config => config with { GradientAccumulation = 2 },
        ["no unet"] = static config => config with { UNetLearningRate = 0 },
        ["text encoder"] = static config => config with { TextEncoderLearningRate = 5e-5 },
        ["text encoder lora"] = static config => config with { TextEncoderLora = Lora },
        ["unet lora"] = static config => config with { UNetLora = Lora },
        ["dora"] = static config => config with { UNetLora = Lora with { UseDora = true } },
        ["loha"] = static config => config with { UNetLora = Lora with { Method = AdapterMethod.Loha } },
        ["lokr"] = static config => config with { UNetLora = Lora with { Method = AdapterMethod.Lokr } },
        ["dropout"] = static config => config with { UNetLora = Lora with { Dropout = 0.1 } },
        ["optimizer"] = static config => config with { Optimizer = new AdamWOptimizer { Beta2 = 0.99 } },
        ["weight decay"] = static config => config with { WeightDecay = 0 },
        ["clipping"] = static config => config with { MaxGradientNorm = null },
        ["lora+"] = static config => config with { LoraPlusLrRatio = 16 },
        ["norms"] = static config => config with { ScaleWeightNorms = 1 },
        ["clip skip"] = static config => config with { ClipSkip = 2, SampleOptions = config.SampleOptions with { ClipSkip = 2 } },
        ["long captions"] = static config => config with { Reading = config.Reading with { MaxTokenLength = 150 } },
        ["weights in captions"] = static config => config with
        {
            Reading = config.Reading with { Weighting = PromptWeighting.Scale },
            SampleOptions = config.SampleOptions with { Reading = new() { Weighting = PromptWeighting.Scale } },
        },
        ["bfloat16"] = static config => config with { Precision = TrainingPrecision.BFloat16 },
        ["sampled latents"] = static config => config with { SampleLatents = true },
        ["shuffle"] = static config => config with { Captions = config.Captions with { Shuffle = true } },
        ["keep"] = static config => config with { Captions = config.Captions with { KeepTokens = 1 } },
        ["tag dropout"] = static config => config with { Captions = config.Captions with { TagDropout = 0.1 } },
        ["caption dropout"] = static config => config with { Captions = config.Captions with { CaptionDropout = 0.1 } },
        ["save"] = static config => config with { SaveEveryEpochs = 5 },
        ["sample"] = static config => config with { SampleEveryEpochs = 2, SamplePrompts = ["portrait"] },
        ["huber"] = static config => config with { LossType = LossType.Huber },
        ["huber schedule"] = static config => config with { HuberSchedule = HuberSchedule.Constant },
        ["huber c"] = static config => config with { HuberC = 0.2 },
        ["huber scale"] = static config => config with { HuberScale = 2 },
        ["min-snr"] = static config => config with { MinSnrGamma = 5 },
        ["debiased"] = static config => config with { DebiasedEstimationLoss = true },
        ["scaled v"] = static config => config with { ScaleVPredLossLikeNoisePred = true },
        ["v-like"] = static config => config with { VPredLikeLoss = 0.5 },
        ["zero snr"] = static config => config with { ZeroTerminalSnr = true },
        ["prior weight"] = static config => config with { PriorLossWeight = 0.5 },
        ["timesteps"] = static config => config with { MinTimestep = 100, MaxTimestep = 900 },
        ["offset"] = static config => config with { NoiseOffset = 0.1 },
        ["adaptive"] = static config => config with { AdaptiveNoiseScale = 0.01 },
        ["random offset"] = static config => config with { NoiseOffsetRandomStrength = true },
        ["multires"] = static config => config with { MultiresNoiseIterations = 6 },
        ["discount"] = static config => config with { MultiresNoiseDiscount = 0.5 },
        ["perturbation"] = static config => config with { IpNoiseGamma = 0.1 },
        ["random perturbation"] = static config => config with { IpNoiseGammaRandomStrength = true },
        ["warm-up"] = static config => config with { Schedule = config.Schedule with { Warmup = 2 } },
        ["constant"] = static config => config with { Schedule = config.Schedule with { Kind = ScheduleKind.Constant } },
        ["polynomial"] = static config => config with { Schedule = config.Schedule with { Kind = ScheduleKind.Polynomial } },
        ["final rate"] = static config => config with { Schedule = config.Schedule with { FinalRate = 1e-4 } },
        ["decay"] = static config => config with { Schedule = config.Schedule with { Decay = 0.5 } },
    };

    /// <summary>Settings that are refused alone: they need another.</summary>
    private static readonly Dictionary<string, string> NeedsForLife = new() { ["no unet"] = "text encoder", ["adaptive"] = "offset" };

    /// <summary>Settings that have no effect alone, and what gives them one.</summary>
    private static readonly Dictionary<string, string[]> NeedsForEffect = new()
    {
        ["text encoder lora"] = ["text encoder"],
        ["keep"] = ["shuffle", "tag dropout"],
        ["huber schedule"] = ["huber"],
        ["huber c"] = ["huber"],
        ["huber scale"] = [],
        ["prior weight"] = [],
        ["random offset"] = ["offset"],
        ["discount"] = ["multires"],
        ["random perturbation"] = ["perturbation"],
        ["final rate"] = ["polynomial"],
        ["decay"] = [],
    };

    private static readonly HashSet<(string, string)> Refused =
    [
        ("scaled v", "v-like"), ("v-like", "zero snr"), ("dora", "norms"), ("loha", "norms"), ("lokr", "norms"), ("loha", "lora+"), ("lokr", "lora+"),
        ("polynomial", "final rate"), ("final rate", "polynomial"),
    ];

    private static readonly HashSet<(string, string)> Warned = [("min-snr", "debiased"), ("warm-up", "constant")];

    private static readonly DiffusionTrainingConfig Base = new() { Name = "pairs", OutputFolder = "none", Epochs = 5 };

    [Fact]
    public void Validate_EveryPairOfSettings_RefusesWhatCannotWorkAndNothingElse()
    {
        var wrong = new List<string>();
        foreach (var (a, b) in Pairs())
        {
            var isRefused = Apply(a, b).Validate().Count > 0;
            var expected = Has(Refused, a, b) || Lacks(a, b) || Lacks(b, a);
            if (isRefused != expected)
            {
                wrong.Add($"{a} with {b}: {(isRefused ? string.Join("; ", Apply(a, b).Validate()) : "not refused")}");
            }
        }

        Assert.Empty(wrong);
    }

    [Fact]
    public void Plan_EveryPairOfSettings_WarnsOfWhatHasNoEffectAndOfNothingElse()
    {
        var wrong = new List<string>();
        foreach (var (a, b) in Pairs().Where(static pair => Apply(pair.A, pair.B).Validate().Count == 0))
        {
            var warnings = Apply(a, b).PlanFor(Dataset()).Warnings;
            var expected = Unneeded(a, b) || Unneeded(b, a) || Has(Warned, a, b);
            if (warnings.Count > 0 != expected)
            {
                wrong.Add($"{a} with {b}: {(warnings.Count > 0 ? string.Join("; ", warnings) : "no warning")}");
            }
        }

        Assert.Empty(wrong);
    }

    private static PreparedDataset Dataset() =>
        new(Enumerable.Range(0, 8).Select(static i => new PreparedImage($"image{i}", new RgbImage(16, 16, new byte[768]), "hat", "a.png")));

    private static IEnumerable<(string A, string B)> Pairs()
    {
        string[] names = [.. Settings.Keys];
        return names.SelectMany((a, i) => names[i..].Select(b => (a, b)));
    }

    private static DiffusionTrainingConfig Apply(string a, string b) => Settings[b](Settings[a](Base));

    private static bool Has(HashSet<(string, string)> pairs, string a, string b) => pairs.Contains((a, b)) || pairs.Contains((b, a));

    private static bool Lacks(string setting, string other) => NeedsForLife.TryGetValue(setting, out var need) && other != need;

    private static bool Unneeded(string setting, string other) => NeedsForEffect.TryGetValue(setting, out var needs) && !needs.Contains(other);
}
