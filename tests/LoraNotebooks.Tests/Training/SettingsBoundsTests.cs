using LoraNotebooks.Adapters;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Models.Language;
using LoraNotebooks.Training;

namespace LoraNotebooks.Tests.Training;

/// <summary>What each setting may be: the last values that are accepted, the first that are refused, and what is said of them.</summary>
public sealed class SettingsBoundsTests
{
    private const double Tiny = double.Epsilon;
    private const double Huge = double.MaxValue;

    private static readonly object[] NotPositive = [0d, -Tiny, double.NaN, double.PositiveInfinity];
    private static readonly object[] Negative = [-Tiny, double.NaN, double.PositiveInfinity];
    private static readonly object[] NotAPart = [-Tiny, Math.BitIncrement(1), double.NaN];
    private static readonly object[] NotADecay = [-Tiny, 1d, double.NaN];
    private static readonly object[] NotALength = [-Tiny, 1.5, double.NaN, double.PositiveInfinity];

    private static readonly Dictionary<string, Bounds> Settings = new()
    {
        ["Name"] = new(["a", "a b"], ["", " ", "a/b", "a\\b", "/"], "expected a file name without folder"),
        ["OutputFolder"] = new(["a", "a/b"], ["", " "], "expected a folder"),
        ["Epochs"] = new([1, int.MaxValue], [0, -1], "expected a positive whole number"),
        ["BatchSize"] = new([1, int.MaxValue], [0, -1], "expected a positive whole number"),
        ["GradientAccumulation"] = new([1, int.MaxValue], [0, -1], "expected a positive whole number"),
        ["UNetLearningRate"] = new(
            [Tiny, Huge],
            Negative,
            "expected a positive number, or 0 to train the text encoder alone; 1e-4 is usual with alpha equal to the rank"),
        ["TextEncoderLearningRate"] = new([null, 0d, Huge], Negative, "expected a positive number, or 0 or null to leave it frozen"),
        ["Optimizer.Beta1"] = new([0d, Math.BitDecrement(1)], NotADecay, "expected 0 or more and less than 1; 0.9 is usual"),
        ["Optimizer.Beta2"] = new([0d, Math.BitDecrement(1)], NotADecay, "expected 0 or more and less than 1; 0.999 is usual"),
        ["Optimizer.Epsilon"] = new([0d, Huge], Negative, "expected 0 or more; 1e-8 is usual"),
        ["WeightDecay"] = new([0d, Huge], Negative, "expected 0 or more"),
        ["Schedule.Kind"] = new(
            [ScheduleKind.Constant, ScheduleKind.Rex],
            [(ScheduleKind)11, (ScheduleKind)(-1)],
            "expected one of Constant, ConstantWithWarmup, Linear, Cosine"),
        ["Schedule.Warmup"] = new([0d, Math.BitDecrement(1), 1d, 7d], NotALength, "expected 0 (none), a part of all steps below 1, or a whole number of steps"),
        ["Schedule.Cycles"] = new([null, Tiny, 1.5, Huge], NotPositive, "expected a positive number"),
        ["Schedule.Power"] = new([Tiny, Huge], NotPositive, "expected a positive number; 1 is a straight line"),
        ["Schedule.FinalRate"] = new([0d, Huge], Negative, "expected 0 or more"),
        ["Schedule.FinalRatio"] = new([0d, 1d], NotAPart, "expected 0 to 1"),
        ["Schedule.Decay"] = new([0d, Math.BitDecrement(1), 1d, 7d], NotALength, "expected 0 (none), a part of all steps below 1, or a whole number of steps"),
        ["Schedule.Timescale"] = new([null, 1], [0, -1], "expected a positive number of steps, or null for the warm-up's length"),
        ["Schedule.Pieces"] = new(
            [Pieces(), Pieces(new(0, 0), new(1, 1), new(Huge))],
            [Pieces(new RatePiece(-Tiny)), Pieces(new(1, 5), new(-Tiny)), Pieces(new RatePiece(double.PositiveInfinity))],
            "expected factors of 0 or more"),
        ["MaxGradientNorm"] = new([null, Tiny, Huge], NotPositive, "expected a positive number, or null for no clipping"),
        ["LoraPlusLrRatio"] = new([null, Tiny, Huge], NotPositive, "expected a positive number, or null for none; 16 is usual"),
        ["ScaleWeightNorms"] = new([null, Tiny, Huge], NotPositive, "expected a positive number, or null for none; 1 is usual"),
        ["Seed"] = new([long.MinValue, long.MaxValue], [], ""),
        ["ClipSkip"] = new([1, int.MaxValue], [0, -1], "expected a positive whole number"),
        ["Reading.MaxTokenLength"] = new([null, 1, 7500], [0, 7501], "expected 1 to 7500 tokens"),
        ["Reading.Weighting"] = new([PromptWeighting.Off], [(PromptWeighting)99], "expected one of Off"),
        ["Precision"] = new(
            [TrainingPrecision.AsLoaded, TrainingPrecision.BFloat16],
            [(TrainingPrecision)2, (TrainingPrecision)(-1)],
            "expected one of AsLoaded, BFloat16"),
        ["Captions.KeepTokens"] = new([0, int.MaxValue], [-1], "expected 0 or more"),
        ["Captions.CaptionDropout"] = new([0d, 1d], NotAPart, "expected a probability from 0 to 1"),
        ["Captions.TagDropout"] = new([0d, 1d], NotAPart, "expected a probability from 0 to 1"),
        ["SaveEveryEpochs"] = new([null, 1], [0, -1], "expected a positive number, or null for the final file only"),
        ["SampleEveryEpochs"] = new([null, 1], [0, -1], "expected a positive number, or null for no samples"),
        ["SamplePrompts"] = new(
            [(string[])[""]],
            [Array.Empty<string>()],
            "expected at least one prompt, as SampleEveryEpochs asks for samples",
            IsTold: false),
        ["SampleOptions.Prompt"] = new(["", "a"], [], ""),
        ["SampleOptions.NegativePrompt"] = new(["", "a"], [], ""),
        ["SampleOptions.Width"] = new([null, 1], [0], "expected a positive number of pixels"),
        ["SampleOptions.Height"] = new([null, 1], [0], "expected a positive number of pixels"),
        ["SampleOptions.Steps"] = new([1], [0], "expected a positive whole number"),
        ["SampleOptions.Guidance"] = new([-Huge, Huge], [double.NaN, double.PositiveInfinity], "expected a finite number"),
        ["SampleOptions.Seed"] = new([long.MinValue, long.MaxValue], [], ""),
        ["SampleOptions.Count"] = new([1], [0], "expected a positive whole number"),
        ["SampleOptions.BatchSize"] = new([1], [0], "expected a positive whole number"),
        ["SampleOptions.Sampler"] = new([null], [], ""),
        ["SampleOptions.Spacing"] = new([null], [], ""),
        ["SampleOptions.Eta"] = new([0d, 1d], NotAPart, "expected 0 to 1"),
        ["SampleOptions.ClipSkip"] = new([1], [0], "expected a positive whole number"),
        ["SampleOptions.Reading.MaxTokenLength"] = new([null, 1, 7500], [0, 7501], "expected 1 to 7500 tokens"),
        ["SampleOptions.Reading.Weighting"] = new([PromptWeighting.Off], [(PromptWeighting)99], "expected one of Off"),
        ["LossType"] = new([LossType.L2, LossType.SmoothL1], [(LossType)4, (LossType)(-1)], "expected one of L2, L1, Huber, SmoothL1"),
        ["HuberSchedule"] = new(
            [HuberSchedule.Snr, HuberSchedule.Constant],
            [(HuberSchedule)3, (HuberSchedule)(-1)],
            "expected one of Snr, Exponential, Constant"),
        ["HuberC"] = new([Tiny, 1d], [0d, Math.BitIncrement(1), double.NaN], "expected more than 0 and at most 1; 0.1 is usual"),
        ["HuberScale"] = new([Tiny, Huge], NotPositive, "expected a positive number; 1 is usual"),
        ["MinSnrGamma"] = new([null, Tiny, Huge], NotPositive, "expected a positive number; 5 is usual"),
        ["VPredLikeLoss"] = new([null, Tiny, Huge], NotPositive, "expected a positive number, or null for none"),
        ["PriorLossWeight"] = new([0d, Huge], Negative, "expected 0 or more; 1 is usual"),
        ["NoiseOffset"] = new([Tiny, Huge], NotPositive, "expected a positive number, or null for none; 0.05 is usual"),
        ["AdaptiveNoiseScale"] = new([null, -Huge, 0d, Huge], [double.NaN, double.NegativeInfinity], "expected a finite number together with a NoiseOffset"),
        ["MultiresNoiseIterations"] = new([null, 1, int.MaxValue], [0, -1], "expected a positive number, or null for none; 6 is usual"),
        ["MultiresNoiseDiscount"] = new([0d, 1d], NotAPart, "expected 0 to 1; 0.3 is usual"),
        ["IpNoiseGamma"] = new([null, Tiny, Huge], NotPositive, "expected a positive number, or null for none; 0.1 is usual"),
    };

    /// <summary>Settings whose bounds are those of others, below.</summary>
    private static readonly string[] Together = ["UNetLora", "TextEncoderLora", "MinTimestep", "MaxTimestep"];

    [Fact]
    public void Validate_EverySetting_HasItsBoundsTested() =>
        Assert.Equal(
            SettingsWalk.Paths.Where(path => SettingsWalk.Get(new DiffusionTrainingConfig(), path) is not bool).Order(),
            Settings.Keys.Concat(Together).Order());

    public static TheoryData<string> Rows() => [.. Settings.Keys];

    [Theory]
    [MemberData(nameof(Rows))]
    public void Validate_EachBound_AcceptsItAndRefusesWhatIsBeyond(string path)
    {
        var bounds = Settings[path];

        Assert.All(bounds.Good, value => Assert.Empty(SettingsWalk.With(SettingsWalk.Base, path, value).Validate()));
        Assert.All(bounds.Bad, value =>
        {
            var config = SettingsWalk.With(SettingsWalk.Base, path, value);
            var fault = Assert.Single(config.Validate());
            Assert.StartsWith($"{path}: got {(value is string text ? $"'{text}'" : bounds.IsTold ? Told(value) : "none")}", fault, StringComparison.Ordinal);
            Assert.Contains($", {bounds.Expected}", fault, StringComparison.Ordinal);
            Assert.Contains(fault, Assert.Throws<ArgumentException>(config.ThrowIfInvalid).Message, StringComparison.Ordinal);
        });
    }

    // First timestep, the one before which training ends → whether they are accepted.
    [Theory]
    [InlineData(0, null, true)]
    [InlineData(0, 1, true)]
    [InlineData(4, 5, true)]
    [InlineData(5, 5, false)]
    [InlineData(-1, 5, false)]
    [InlineData(-1, null, false)]
    [InlineData(0, 0, false)]
    public void Validate_Timesteps_AreARange(int min, int? max, bool isAccepted)
    {
        var faults = new DiffusionTrainingConfig { MinTimestep = min, MaxTimestep = max }.Validate();

        Assert.Equal(isAccepted ? [] : [$"MinTimestep, MaxTimestep: got {min} and {max?.ToString() ?? "none"}, expected 0 ≤ min < max"], faults);
    }

    // Of a schedule with a thousand timesteps.
    [Theory]
    [InlineData(0, null, true)]
    [InlineData(999, null, true)]
    [InlineData(1000, null, false)]
    [InlineData(999, 1000, true)]
    [InlineData(0, 1001, false)]
    [InlineData(5, 5, false)]
    public void NoiseScheduleFor_Timesteps_AreThoseOfTheModel(int min, int? max, bool isAccepted)
    {
        var config = new DiffusionTrainingConfig { MinTimestep = min, MaxTimestep = max };
        if (isAccepted)
        {
            Assert.Equal(1000, config.NoiseScheduleFor(SchedulerConfig.StableDiffusion).NumTrainTimesteps);
            return;
        }

        var message = Assert.Throws<ArgumentException>(() => config.NoiseScheduleFor(SchedulerConfig.StableDiffusion)).Message;
        Assert.Contains(
            $"MinTimestep, MaxTimestep: got {min} and {max?.ToString() ?? "none"}, expected 0 ≤ min < max ≤ 1000, the model's number of timesteps",
            message,
            StringComparison.Ordinal);
    }

    [Theory]
    [
        InlineData(
            PredictionType.Epsilon,
            "ZeroTerminalSnr: got true for a model that predicts ε, expected one that predicts v",
            "ScaleVPredLossLikeNoisePred: got true for a model that predicts Epsilon, expected one that predicts v",
            null),
    ]
    [InlineData(PredictionType.VPrediction, null, null, "VPredLikeLoss: got 0.5 for a model that predicts VPrediction, expected one that predicts ε")]
    [
        InlineData(
            PredictionType.Sample,
            null,
            "ScaleVPredLossLikeNoisePred: got true for a model that predicts Sample, expected one that predicts v",
            "VPredLikeLoss: got 0.5 for a model that predicts Sample, expected one that predicts ε"),
    ]
    public void NoiseScheduleFor_KindOfModel_DecidesWhatFits(PredictionType prediction, string? zeroSnr, string? scaled, string? like)
    {
        var scheduler = SchedulerConfig.StableDiffusion with { PredictionType = prediction };

        Check(new DiffusionTrainingConfig { ZeroTerminalSnr = true }, zeroSnr);
        Check(new DiffusionTrainingConfig { ScaleVPredLossLikeNoisePred = true }, scaled);
        Check(new DiffusionTrainingConfig { VPredLikeLoss = 0.5 }, like);
        Check(new DiffusionTrainingConfig(), null);

        void Check(DiffusionTrainingConfig config, string? fault)
        {
            if (fault is null)
            {
                Assert.Equal(config.ZeroTerminalSnr, config.NoiseScheduleFor(scheduler).AlphasCumprod[^1] == 0);
                return;
            }

            Assert.Contains(fault, Assert.Throws<ArgumentException>(() => config.NoiseScheduleFor(scheduler)).Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void NoiseScheduleFor_ModelThatAsksForZeroTerminalSnr_HasItAnyway() =>
        Assert.Equal(0, new DiffusionTrainingConfig().NoiseScheduleFor(SchedulerConfig.StableDiffusion with { RescaleBetasZeroSnr = true }).AlphasCumprod[^1]);

    [Fact]
    public void Validate_Adapters_AreLookedAtWhereTheyTrain()
    {
        var wrong = new LoraConfig { Rank = 0, TargetModules = ["to_q"] };
        string[] unet = ["UNetLora.Rank: got 0, expected at least 1; 4 to 32 is usual"];
        string[] text = ["TextEncoderLora.Rank: got 0, expected at least 1; 4 to 32 is usual"];
        var config = new DiffusionTrainingConfig { UNetLora = wrong, TextEncoderLora = wrong };

        Assert.Equal(unet, config.Validate());
        Assert.Equal(unet, (config with { TextEncoderLearningRate = 0 }).Validate());
        Assert.Equal(text, (config with { UNetLearningRate = 0, TextEncoderLearningRate = 1e-4 }).Validate());
        Assert.Equal([.. unet, .. text], (config with { TextEncoderLearningRate = 1e-4 }).Validate());
    }

    [Fact]
    public void Validate_AdaptiveScale_TellsTheOffsetBesideIt()
    {
        Assert.Equal(
            ["AdaptiveNoiseScale: got NaN with NoiseOffset 0.1, expected a finite number together with a NoiseOffset"],
            new DiffusionTrainingConfig { AdaptiveNoiseScale = double.NaN, NoiseOffset = 0.1 }.Validate());
        Assert.Equal(
            ["AdaptiveNoiseScale: got 1 with NoiseOffset none, expected a finite number together with a NoiseOffset"],
            new DiffusionTrainingConfig { AdaptiveNoiseScale = 1 }.Validate());
    }

    [Fact]
    public void Validate_SamplesWithoutPrompts_AreRefusedOnlyWhereSamplesAreDrawn()
    {
        Assert.Equal(
            ["SamplePrompts: got none, expected at least one prompt, as SampleEveryEpochs asks for samples"],
            new DiffusionTrainingConfig { SampleEveryEpochs = 1 }.Validate());
        Assert.Empty(new DiffusionTrainingConfig().Validate());
    }

    // Kind, cycles, ends of pieces (0: none) → what is refused of them.
    [Theory]
    [InlineData(ScheduleKind.CosineWithRestarts, 2.5, null, "Cycles: got 2.5, expected a whole number for cosine with restarts")]
    [InlineData(ScheduleKind.CosineWithRestarts, 2d, null, null)]
    [InlineData(ScheduleKind.CosineWithRestarts, null, null, null)]
    [InlineData(ScheduleKind.Cosine, 2.5, null, null)]
    [InlineData(ScheduleKind.PiecewiseConstant, null, null, "Pieces: got , expected at least one, and an end for each but the last")]
    [InlineData(ScheduleKind.PiecewiseConstant, null, new[] { 0 }, null)]
    [
        InlineData(
            ScheduleKind.PiecewiseConstant,
            null,
            new[] { 5 },
            "Pieces: got RatePiece { Factor = 1, Until = 5 }, expected at least one, and an end for each but the last"),
    ]
    [InlineData(ScheduleKind.PiecewiseConstant, null, new[] { 5, 6, 0 }, null)]
    [InlineData(ScheduleKind.PiecewiseConstant, null, new[] { 5, 5, 0 }, "expected each to end after the one before")]
    [InlineData(
        ScheduleKind.PiecewiseConstant,
        null,
        new[] { 5, 6 },
        "Until = 5 }, RatePiece { Factor = 1, Until = 6 }, expected at least one, and an end for each but the last")]
    [
        InlineData(
            ScheduleKind.Cosine,
            null,
            new[] { 6, 5, 0 },
            "Pieces: got RatePiece { Factor = 1, Until = 6 }, RatePiece { Factor = 1, Until = 5 }, RatePiece { Factor = 1, Until =  }, "
        + "expected each to end after the one before"),
    ]
    public void Validate_Schedule_RefusesWhatItsKindCannotUse(ScheduleKind kind, double? cycles, int[]? ends, string? expected)
    {
        RatePiece[] pieces = [.. (ends ?? []).Select(end => new RatePiece(1, end == 0 ? null : end))];
        var schedule = new LearningRateSchedule { Kind = kind, Cycles = cycles, Pieces = pieces };

        if (expected is null)
        {
            schedule.ThrowIfInvalid();
            return;
        }

        var fault = Assert.Single(schedule.Validate());
        Assert.Contains(expected, fault, StringComparison.Ordinal);
        Assert.StartsWith(kind == ScheduleKind.CosineWithRestarts ? "Cycles: got" : "Pieces: got", fault, StringComparison.Ordinal);
        Assert.Contains(fault, Assert.Throws<ArgumentException>(schedule.ThrowIfInvalid).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Validate_PiecesWithAnOpenOneBetween_IsRefused() =>
        Assert.Contains(
            "an end for each but the last",
            new LearningRateSchedule { Kind = ScheduleKind.PiecewiseConstant, Pieces = [new(1, 5), new(1), new(1)] }.Validate()[0],
            StringComparison.Ordinal);

    [Theory]
    [InlineData(0d, null, false, false)]
    [InlineData(0d, 1e-5, false, true)]
    [InlineData(1e-5, null, true, false)]
    [InlineData(1e-5, 0d, true, false)]
    public void Trains_Rates_SayWhatDoes(double unet, double? text, bool trainsUNet, bool trainsText)
    {
        var config = new DiffusionTrainingConfig { UNetLearningRate = unet, TextEncoderLearningRate = text };

        Assert.Equal((trainsUNet, trainsText), (config.TrainsUNet, config.TrainsTextEncoder));
    }

    private static string Told(object? value) => value is IEnumerable<RatePiece> pieces ? string.Join(", ", pieces) : $"{value}";

    private static RatePiece[] Pieces(params RatePiece[] pieces) => pieces;

    /// <param name="Good">The last values that are accepted.</param>
    /// <param name="Bad">The first that are refused.</param>
    /// <param name="Expected">What is said to be expected.</param>
    /// <param name="IsTold">Whether the value is repeated in the fault.</param>
    private sealed record Bounds(object?[] Good, object?[] Bad, string Expected, bool IsTold = true);
}
