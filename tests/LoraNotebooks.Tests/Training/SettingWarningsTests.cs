using LoraNotebooks.Adapters;
using LoraNotebooks.Data;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Models.Language;
using LoraNotebooks.Tests.Diffusion;
using LoraNotebooks.Training;

namespace LoraNotebooks.Tests.Training;

/// <summary>What is told or refused of settings together, word for word, and how near to it nothing is said.</summary>
public sealed class SettingWarningsTests
{
    private static readonly LoraConfig Lora = new() { Rank = 2, Alpha = 2, TargetModules = ["to_q"] };

    /// <summary>Eight images, five epochs: forty steps.</summary>
    private static readonly DiffusionTrainingConfig Base = new() { Name = "pairs", OutputFolder = "none", Epochs = 5 };

    private static readonly DiffusionTrainingConfig Sampling = Base with { SampleEveryEpochs = 1, SamplePrompts = ["x"] };

    /// <summary>By what is told: settings that earn it, and some as near as can be that do not.</summary>
    private static readonly Dictionary<string, (DiffusionTrainingConfig Told, DiffusionTrainingConfig[] Silent)> Warnings = new()
    {
        ["UNetLora has no effect: UNetLearningRate is 0, so that the UNet stays as it is"] =
            (
                Base with { UNetLearningRate = 0, TextEncoderLearningRate = 1, UNetLora = Lora },
                [Base with { UNetLora = Lora }, Base with { UNetLearningRate = 0, TextEncoderLearningRate = 1 }]),
        ["TextEncoderLora has no effect: TextEncoderLearningRate is not given, so that the text encoder stays as it is"] =
            (Base with { TextEncoderLora = Lora }, [Base with { TextEncoderLora = Lora, TextEncoderLearningRate = 1 }]),
        ["NoiseOffsetRandomStrength has no effect: there is no NoiseOffset"] =
            (Base with { NoiseOffsetRandomStrength = true }, [Base with { NoiseOffsetRandomStrength = true, NoiseOffset = 1 }, Base with { NoiseOffset = 1 }]),
        ["IpNoiseGammaRandomStrength has no effect: there is no IpNoiseGamma"] =
            (
                Base with { IpNoiseGammaRandomStrength = true },
                [Base with { IpNoiseGammaRandomStrength = true, IpNoiseGamma = 1 }, Base with { IpNoiseGamma = 1 }]),
        ["MultiresNoiseDiscount has no effect: there are no MultiresNoiseIterations"] =
            (
                Base with { MultiresNoiseDiscount = 0.5 },
                [Base with { MultiresNoiseDiscount = 0.5, MultiresNoiseIterations = 1 }, Base with { MultiresNoiseIterations = 1 }]),
        ["HuberC has no effect: LossType is L1; Huber and SmoothL1 have a c"] =
            (
                Base with { LossType = LossType.L1, HuberC = 0.2 },
                [
                    Base with { LossType = LossType.Huber, HuberC = 0.2 },
                    Base with { LossType = LossType.SmoothL1, HuberC = 0.2 },
                    Base with { LossType = LossType.L1 },
                ]),
        ["HuberSchedule has no effect: LossType is L2; Huber and SmoothL1 have a c"] =
            (Base with { HuberSchedule = HuberSchedule.Constant }, [Base with { LossType = LossType.Huber, HuberSchedule = HuberSchedule.Constant }]),
        ["HuberScale has no effect: LossType is L2; Huber and SmoothL1 have a c"] =
            (Base with { HuberScale = 2 }, [Base with { HuberScale = 2, LossType = LossType.SmoothL1, HuberSchedule = HuberSchedule.Constant }]),
        ["HuberScale has no effect: HuberSchedule is Snr, where c follows the noise level"] =
            (
                Base with { HuberScale = 2, LossType = LossType.Huber },
                [Base with { HuberScale = 2, LossType = LossType.Huber, HuberSchedule = HuberSchedule.Exponential }, Base with { LossType = LossType.Huber }]),
        ["Captions.KeepTokens has no effect: tags are neither shuffled nor dropped"] =
            (
                Base with { Captions = new() { KeepTokens = 1, CaptionDropout = 0.5 } },
                [Base with { Captions = new() { KeepTokens = 1, Shuffle = true } }, Base with { Captions = new() { KeepTokens = 1, TagDropout = 0.1 } }]),
        ["Captions.CaptionDropout is 1: no caption is ever seen"] =
            (Base with { Captions = new() { CaptionDropout = 1, TagDropout = 1 } }, [Base with { Captions = new() { CaptionDropout = 0.99 } }]),
        ["Captions.TagDropout is 1 and KeepTokens 0: no tag is ever seen"] =
            (
                Base with { Captions = new() { TagDropout = 1 } },
                [Base with { Captions = new() { TagDropout = 0.99 } }, Base with { Captions = new() { TagDropout = 1, KeepTokens = 1 } }]),
        ["MinSnrGamma and DebiasedEstimationLoss are both given: timesteps are weighed by both, one after the other"] =
            (Base with { MinSnrGamma = 5, DebiasedEstimationLoss = true }, [Base with { MinSnrGamma = 5 }, Base with { DebiasedEstimationLoss = true }]),
        ["SaveEveryEpochs is 6, but there are 5 epochs: only the final file is written"] =
            (Base with { SaveEveryEpochs = 6 }, [Base with { SaveEveryEpochs = 5 }]),
        ["SampleEveryEpochs is 6, but there are 5 epochs: samples are drawn before training only"] =
            (Sampling with { SampleEveryEpochs = 6 }, [Sampling with { SampleEveryEpochs = 5 }]),
        ["SamplePrompts has no effect: SampleEveryEpochs is not given, so that no samples are drawn"] =
            (Base with { SamplePrompts = ["x"] }, [Sampling]),
        ["SampleOptions.Prompt has no effect: SamplePrompts are drawn"] =
            (Sampling with { SampleOptions = new() { Prompt = "y" } }, [Base with { SampleOptions = new() { Prompt = "y" } }]),
        ["SampleOptions.NegativePrompt has no effect: SampleOptions.Guidance is 1, where there is none"] =
            (
                Sampling with { SampleOptions = new() { NegativePrompt = "y", Guidance = 1 } },
                [Sampling with { SampleOptions = new() { NegativePrompt = "y", Guidance = 1.1 } }, Sampling with { SampleOptions = new() { Guidance = 1 } }]),
        ["SampleOptions.ClipSkip is 1, and ClipSkip 2: samples do not show what is trained"] =
            (Sampling with { ClipSkip = 2 }, [Sampling with { ClipSkip = 2, SampleOptions = new() { ClipSkip = 2 } }, Base with { ClipSkip = 2 }]),
        ["SampleOptions.Reading weighs nothing, and Reading does: brackets in sample prompts are text"] =
            (
                Sampling with { Reading = Weighing },
                [
                    Sampling with { SampleOptions = new() { Reading = Weighing } },
                    Sampling with { Reading = Weighing, SampleOptions = new() { Reading = Weighing } },
                ]),
        ["Schedule.Warmup has no effect: Constant has none; take ConstantWithWarmup"] =
            (
                Kind(ScheduleKind.Constant, schedule => schedule with { Warmup = 2 }),
                [Kind(ScheduleKind.ConstantWithWarmup, schedule => schedule with { Warmup = 2 })]),
        ["Schedule.Warmup has no effect: PiecewiseConstant has none"] =
            (
                Kind(ScheduleKind.PiecewiseConstant, schedule => schedule with { Warmup = 2, Pieces = [new(1)] }),
                [Kind(ScheduleKind.PiecewiseConstant, schedule => schedule with { Pieces = [new(1)] })]),
        ["Schedule.Cycles has no effect: Linear has none"] =
            (
                Kind(ScheduleKind.Linear, schedule => schedule with { Cycles = 2 }),
                [
                    .. Kinds(
                        schedule => schedule with { Cycles = 2 },
                        ScheduleKind.Cosine,
                        ScheduleKind.CosineWithRestarts,
                        ScheduleKind.CosineWithMinLr,
                        ScheduleKind.WarmupStableDecay),
                ]),
        ["Schedule.Power has no effect: Cosine has none"] =
            (Kind(ScheduleKind.Cosine, schedule => schedule with { Power = 2 }), [.. Kinds(schedule => schedule with { Power = 2 }, ScheduleKind.Polynomial)]),
        ["Schedule.FinalRate has no effect: Rex has none"] =
            (
                Kind(ScheduleKind.Rex, schedule => schedule with { FinalRate = 1e-6 }),
                [.. Kinds(schedule => schedule with { FinalRate = 1e-6 }, ScheduleKind.Polynomial)]),
        ["Schedule.FinalRatio has no effect: Polynomial has none"] =
            (
                Kind(ScheduleKind.Polynomial, schedule => schedule with { FinalRatio = 0.1 }),
                [.. Kinds(schedule => schedule with { FinalRatio = 0.1 }, ScheduleKind.CosineWithMinLr, ScheduleKind.WarmupStableDecay, ScheduleKind.Rex)]),
        ["Schedule.Decay has no effect: InverseSqrt has none"] =
            (
                Kind(ScheduleKind.InverseSqrt, schedule => schedule with { Decay = 0.3 }),
                [.. Kinds(schedule => schedule with { Decay = 0.3 }, ScheduleKind.WarmupStableDecay)]),
        ["Schedule.Timescale has no effect: ConstantWithWarmup has none"] =
            (
                Kind(ScheduleKind.ConstantWithWarmup, schedule => schedule with { Timescale = 3 }),
                [.. Kinds(schedule => schedule with { Timescale = 3 }, ScheduleKind.InverseSqrt)]),
        ["Schedule.Pieces has no effect: CosineWithRestarts has none"] =
            (
                Kind(ScheduleKind.CosineWithRestarts, schedule => schedule with { Pieces = [new(1)] }),
                [.. Kinds(schedule => schedule with { Pieces = [new(1)] }, ScheduleKind.PiecewiseConstant)]),
        ["BatchSize is 9, but an epoch shows 8 images: batches are that small"] = (Base with { BatchSize = 9 }, [Base with { BatchSize = 8 }]),
        ["GradientAccumulation is 9, but an epoch has 8 batches: a step averages no more"] =
            (Base with { GradientAccumulation = 9 }, [Base with { GradientAccumulation = 8 }]),
        ["GradientAccumulation is 2, but an epoch has 1 batch: a step averages no more"] =
            (Base with { BatchSize = 8, GradientAccumulation = 2 }, [Base with { BatchSize = 4, GradientAccumulation = 2 }]),
        ["Schedule.Warmup is 40 of 40 steps: the learning rate never arrives"] =
            (
                Kind(ScheduleKind.Linear, schedule => schedule with { Warmup = 40 }),
                [
                    Kind(ScheduleKind.Linear, schedule => schedule with { Warmup = 39 }),
                    Kind(ScheduleKind.Constant, schedule => schedule with { Warmup = 40 }),
                    Kind(ScheduleKind.PiecewiseConstant, schedule => schedule with { Warmup = 40, Pieces = [new(1)] }),
                ]),
        ["Schedule.Warmup is 2 of 1 step: the learning rate never arrives"] =
            (
                Kind(ScheduleKind.Linear, schedule => schedule with { Warmup = 2 }) with { Epochs = 1, BatchSize = 8 },
                [Kind(ScheduleKind.Linear, schedule => schedule) with { Epochs = 1, BatchSize = 8 }]),
        ["Schedule.Warmup and Decay are 11 and 30 of 40 steps: the decay begins before the warm-up ends"] =
            (
                Kind(ScheduleKind.WarmupStableDecay, schedule => schedule with { Warmup = 11, Decay = 30 }),
                [
                    Kind(ScheduleKind.WarmupStableDecay, schedule => schedule with { Warmup = 10, Decay = 30 }),
                    Kind(ScheduleKind.WarmupStableDecay, schedule => schedule with { Warmup = 39, Decay = 0 }),
                    Kind(ScheduleKind.WarmupStableDecay, schedule => schedule with { Warmup = 40, Decay = 30 }),
                    Kind(ScheduleKind.Cosine, schedule => schedule with { Warmup = 39 }),
                ]),
        ["Schedule.Pieces has ends beyond the 40 steps of the run: what comes after them is never reached"] =
            (
                Kind(ScheduleKind.PiecewiseConstant, schedule => schedule with { Pieces = [new(1, 40), new(0.1)] }),
                [
                    Kind(ScheduleKind.PiecewiseConstant, schedule => schedule with { Pieces = [new(1, 39), new(0.1)] }),
                    Kind(ScheduleKind.Cosine, schedule => schedule with { Pieces = [new(1, 40), new(0.1)] }),
                ]),
        ["PriorLossWeight has no effect: there are no regularization images"] = (Base with { PriorLossWeight = 0.5 }, [Base with { PriorLossWeight = 1 }]),
    };

    /// <summary>By what is refused.</summary>
    private static readonly Dictionary<string, (DiffusionTrainingConfig Refused, DiffusionTrainingConfig[] Accepted)> Faults = new()
    {
        ["UNetLearningRate, TextEncoderLearningRate: got 0 and none, expected one of them to be positive: nothing would be trained"] =
            (Base with { UNetLearningRate = 0 }, [Base with { UNetLearningRate = 0, TextEncoderLearningRate = 1 }]),
        ["UNetLearningRate, TextEncoderLearningRate: got 0 and 0, expected one of them to be positive: nothing would be trained"] =
            (Base with { UNetLearningRate = 0, TextEncoderLearningRate = 0 }, [Base with { TextEncoderLearningRate = 0 }]),
        ["ScaleVPredLossLikeNoisePred, VPredLikeLoss: got both, expected one: the first is for models that predict v, the second for those that predict ε"] =
            (
                Base with { ScaleVPredLossLikeNoisePred = true, VPredLikeLoss = 1 },
                [Base with { ScaleVPredLossLikeNoisePred = true }, Base with { VPredLikeLoss = 1 }]),
        ["ZeroTerminalSnr, VPredLikeLoss: got both, expected one: the first is for models that predict v, the second for those that predict ε"] =
            (Base with { ZeroTerminalSnr = true, VPredLikeLoss = 1 }, [Base with { ZeroTerminalSnr = true }]),
        ["ScaleWeightNorms: got 2 with UNetLora of DoRA, expected plain LoRA, whose norms alone are bounded, or null"] =
            (
                Base with { ScaleWeightNorms = 2, UNetLora = Lora with { UseDora = true } },
                [Base with { ScaleWeightNorms = 2, UNetLora = Lora }, Base with { UNetLora = Lora with { UseDora = true } }]),
        ["ScaleWeightNorms: got 2 with TextEncoderLora of Lokr, expected plain LoRA, whose norms alone are bounded, or null"] =
            (
                Base with { ScaleWeightNorms = 2, TextEncoderLora = Lora with { Method = AdapterMethod.Lokr }, TextEncoderLearningRate = 1 },
                [Base with { ScaleWeightNorms = 2, TextEncoderLora = Lora with { Method = AdapterMethod.Lokr } }]),
        ["LoraPlusLrRatio: got 16 with UNetLora of Loha, expected LoRA, which alone has a matrix B, or null"] =
            (
                Base with { LoraPlusLrRatio = 16, UNetLora = Lora with { Method = AdapterMethod.Loha } },
                [Base with { LoraPlusLrRatio = 16, UNetLora = Lora with { UseDora = true } }]),
        ["Schedule.FinalRate: got 0.0001 with a rate of 0.0001 for UNetLora, expected a smaller one: a polynomial falls from the rate to it"] =
            (
                Kind(ScheduleKind.Polynomial, schedule => schedule with { FinalRate = 1e-4 }),
                [
                    Kind(ScheduleKind.Polynomial, schedule => schedule with { FinalRate = 0.99e-4 }),
                    Kind(ScheduleKind.Linear, schedule => schedule with { FinalRate = 1 }),
                ]),
        ["Schedule.FinalRate: got 1E-05 with a rate of 1E-05 for TextEncoderLora, expected a smaller one: a polynomial falls from the rate to it"] =
            (
                Kind(ScheduleKind.Polynomial, schedule => schedule with { FinalRate = 1e-5 }) with { TextEncoderLearningRate = 1e-5 },
                [Kind(ScheduleKind.Polynomial, schedule => schedule with { FinalRate = 1e-5 }) with { TextEncoderLearningRate = 2e-5 }]),
    };

    private static PromptReading Weighing => new() { Weighting = PromptWeighting.Scale };

    public static TheoryData<string> WarningNames() => [.. Warnings.Keys];

    public static TheoryData<string> FaultNames() => [.. Faults.Keys];

    [Theory]
    [MemberData(nameof(WarningNames))]
    public void Plan_SettingsWithoutTheEffectThatTheySeemToHave_TellsItAndNothingOfTheirNeighbours(string warning)
    {
        Assert.Equal([warning], Warnings[warning].Told.PlanFor(Dataset()).Warnings);
        Assert.All(Warnings[warning].Silent, config => Assert.DoesNotContain(Subject(warning), config.PlanFor(Dataset()).Warnings.Select(Subject)));
        Assert.EndsWith($"\nwarning: {warning}", Warnings[warning].Told.PlanFor(Dataset()).ToString(), StringComparison.Ordinal);
    }

    [Theory]
    [MemberData(nameof(FaultNames))]
    public void Validate_SettingsThatCannotWorkTogether_RefusesThemAndNotTheirNeighbours(string fault)
    {
        Assert.Equal([fault], Faults[fault].Refused.Validate());
        Assert.All(Faults[fault].Accepted, config => Assert.Empty(config.Validate()));
    }

    [Fact]
    public void Plan_ManyWarnings_TellsAllInOrder()
    {
        var config = Base with { BatchSize = 9, HuberC = 0.2, PriorLossWeight = 0.5, Schedule = new() { Power = 2 } };

        Assert.Equal(
            [
                "HuberC has no effect: LossType is L2; Huber and SmoothL1 have a c",
                "Schedule.Power has no effect: Cosine has none",
                "BatchSize is 9, but an epoch shows 8 images: batches are that small",
                "PriorLossWeight has no effect: there are no regularization images",
            ],
            config.PlanFor(Dataset()).Warnings);
    }

    // What the third caption is → whether its weights reach over commas, where captions are taken apart and weighed.
    [Theory]
    [InlineData("(red, blue:1.3)", true)]
    [InlineData("hat, (red, blue:1.3), shoe", true)]
    [InlineData("[red, blue]", true)]
    [InlineData("a), (b", true)]
    [InlineData("(red:1.3), [blue]", false)]
    [InlineData("((red:1.3), [blue])", true)]
    public void Plan_WeightsOverCommas_AreToldWhereCaptionsAreTakenApart(string caption, bool isTold)
    {
        var data = new PreparedDataset(Dataset().Images.Select((image, i) => image with { Caption = i == 2 ? caption : "hat, (red:1.2)" }));
        var weighing = Base with { Reading = Weighing };
        string[] warning = [
            "Captions are cut at commas to be shuffled or dropped, and weights in brackets reach over commas in image2: write the weight to each tag",
        ];

        Assert.Equal(isTold ? warning : [], (weighing with { Captions = new() { Shuffle = true } }).PlanFor(data).Warnings);
        Assert.Equal(isTold ? warning : [], (weighing with { Captions = new() { TagDropout = 0.1 } }).PlanFor(data).Warnings);
        Assert.Empty((weighing with { Captions = new() { CaptionDropout = 0.1 } }).PlanFor(data).Warnings);
        Assert.Empty((Base with { Captions = new() { Shuffle = true } }).PlanFor(data).Warnings);
    }

    [Fact]
    public void Plan_WeightsOfImages_AreToldOrRefusedWhereTheyLeaveNothing()
    {
        var (plain, regular) = (Dataset(), Dataset().WithRegularization(Dataset()));
        var weightless = new PreparedDataset(plain.Images.Select(static image => image with { LossWeight = 0 }));
        var forRegularization = weightless.WithRegularization(plain);
        var one = new PreparedDataset(plain.Images.Select(static (image, i) => image with { LossWeight = i == 5 ? 1e-3 : 0 }));

        Assert.Equal(
            ["PriorLossWeight is 0: 8 regularization images take time and teach nothing"],
            (Base with { PriorLossWeight = 0 }).PlanFor(regular).Warnings);
        Assert.Equal(
            ["PriorLossWeight is 0: 1 regularization image take time and teach nothing"],
            (Base with { PriorLossWeight = 0 }).PlanFor(
                new PreparedDataset(plain.Images.Take(1)).WithRegularization(new PreparedDataset(plain.Images.Take(1)))).Warnings);
        Assert.Empty((Base with { PriorLossWeight = 0.5 }).PlanFor(regular).Warnings);
        Assert.Equal(
            ["PriorLossWeight has no effect: there are no regularization images"],
            (Base with { PriorLossWeight = 0 }).PlanFor(plain).Warnings);
        Assert.Empty(Base.PlanFor(one).Warnings);
        Assert.Empty(Base.PlanFor(forRegularization).Warnings);
        const string fault = "- LossWeight, PriorLossWeight: got 0 for every image, expected more for some: nothing would be learnt";
        Assert.EndsWith(fault, Assert.Throws<ArgumentException>(() => Base.PlanFor(weightless)).Message, StringComparison.Ordinal);
        Assert.EndsWith(
            fault,
            Assert.Throws<ArgumentException>(() => (Base with { PriorLossWeight = 0 }).PlanFor(forRegularization)).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public void Plan_SettingsThatTheModelCannotDo_AreRefusedAllAtOnceAndWhatItCanIsNot()
    {
        using var pipeline = TinyPipeline.Create();
        var config = Sampling with { ClipSkip = 3, SampleOptions = new GenerationOptions { ClipSkip = 3, Width = 15, Height = 17, Steps = 1001 } };

        var message = Assert.Throws<ArgumentException>(() => config.PlanFor(Dataset(), pipeline)).Message;

        Assert.EndsWith(
            "5 unsupported or wrong values:\n"
            + "- ClipSkip: got 3, expected 1 to 2, for which the text encoder has layers\n"
            + "- SampleOptions.ClipSkip: got 3, expected 1 to 2, for which the text encoder has layers\n"
            + "- SampleOptions.Width: got 15, expected a multiple of 2, by which the autoencoder shrinks images\n"
            + "- SampleOptions.Height: got 17, expected a multiple of 2, by which the autoencoder shrinks images\n"
            + "- SampleOptions.Steps: got 1001, expected at most 1000, the model's number of timesteps",
            message,
            StringComparison.Ordinal);
        Assert.Empty(
            (Sampling with { ClipSkip = 2, SampleOptions = new() { ClipSkip = 2, Width = 16, Height = 18, Steps = 1000 } }).PlanFor(Dataset(),
                pipeline).Warnings);

        // Where no samples are drawn, how they would be does not matter.
        Assert.Empty((config with { ClipSkip = 1, SampleEveryEpochs = null, SamplePrompts = [] }).PlanFor(Dataset(), pipeline).Warnings);
    }

    [Fact]
    public void Plan_TextsThatTheModelDoesNotSeeWhole_AreToldWhereTheyAreUsed()
    {
        using var pipeline = TinyPipeline.Create();
        var words = string.Join(", ", Enumerable.Repeat("long hair", 8));
        var data = new PreparedDataset(Dataset().Images.Select((image, i) => image with { Caption = i < 2 ? words : "(hat:1.3)" }));
        var config = Sampling with { SamplePrompts = [words, "(hair:1.2)"], SampleOptions = new() { NegativePrompt = "no " + words } };

        var warnings = config.PlanFor(data, pipeline).Warnings;

        Assert.Equal(5, warnings.Count);
        Assert.Equal(
            "2 captions longer than the text encoder sees: image0: 13 of 23 tokens are not seen; set Reading.MaxTokenLength to 23; "
            + "image1: 13 of 23 tokens are not seen; set Reading.MaxTokenLength to 23",
            warnings[0]);
        Assert.StartsWith("In the captions: (hat:1.3) is text here", warnings[1], StringComparison.Ordinal);
        Assert.StartsWith("In the sample prompts: (hair:1.2) is text here", warnings[2], StringComparison.Ordinal);
        Assert.StartsWith("1 sample prompt longer than the text encoder sees: ", warnings[3], StringComparison.Ordinal);
        Assert.StartsWith("1 negative sample prompt longer than the text encoder sees: ", warnings[4], StringComparison.Ordinal);

        // No guidance, no negative prompt; no samples, no prompts.
        Assert.Equal([.. warnings.Take(4)], (config with { SampleOptions = new() { Guidance = 1 } }).PlanFor(data, pipeline).Warnings);
        Assert.Equal(
            ["SampleOptions.NegativePrompt has no effect: SampleOptions.Guidance is 1, where there is none", .. warnings.Take(4)],
            (config with { SampleOptions = config.SampleOptions with { Guidance = 1 } }).PlanFor(data, pipeline).Warnings);
        Assert.Equal(
            ["SamplePrompts has no effect: SampleEveryEpochs is not given, so that no samples are drawn", .. warnings.Take(2)],
            (config with { SampleEveryEpochs = null }).PlanFor(data, pipeline).Warnings);
    }

    /// <summary>What a warning is about, whatever the numbers in it and the reason.</summary>
    private static string Subject(string warning) =>
        string.Concat(warning.Split(':')[0].Select(static c => char.IsAsciiDigit(c) ? '#' : c)).Replace("##", "#", StringComparison.Ordinal);

    private static DiffusionTrainingConfig Kind(
        ScheduleKind kind,
        Func<LearningRateSchedule,
        LearningRateSchedule> change) => Base with { Schedule = change(new LearningRateSchedule { Kind = kind }) };

    private static IEnumerable<DiffusionTrainingConfig> Kinds(
        Func<LearningRateSchedule,
        LearningRateSchedule> change,
        params IEnumerable<ScheduleKind> kinds) => kinds.Select(kind => Kind(kind, change));

    private static PreparedDataset Dataset() =>
        new(Enumerable.Range(0, 8).Select(static i => new PreparedImage($"image{i}", new RgbImage(16, 16, new byte[768]), "hat", "a.png")));
}
