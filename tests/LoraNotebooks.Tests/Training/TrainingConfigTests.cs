using System.Text.Json.Nodes;
using LoraNotebooks.Adapters;
using LoraNotebooks.Training;

namespace LoraNotebooks.Tests.Training;

/// <summary>Every setting of a run, one by one: its default, how it is written and read, and whether runs that differ in it can be one.</summary>
public sealed class TrainingConfigTests
{
    /// <summary>The defaults that the documentation states.</summary>
    private static readonly Dictionary<string, string> Defaults = new()
    {
        ["Name"] = "lora",
        ["OutputFolder"] = "output",
        ["Epochs"] = "10",
        ["BatchSize"] = "1",
        ["GradientAccumulation"] = "1",
        ["UNetLearningRate"] = "0.0001",
        ["TextEncoderLearningRate"] = "null",
        ["Optimizer.Beta1"] = "0.9",
        ["Optimizer.Beta2"] = "0.999",
        ["Optimizer.Epsilon"] = "1E-08",
        ["WeightDecay"] = "0.01",
        ["Schedule.Kind"] = "Cosine",
        ["Schedule.Warmup"] = "0",
        ["Schedule.Cycles"] = "null",
        ["Schedule.Power"] = "1",
        ["Schedule.FinalRate"] = "1E-07",
        ["Schedule.FinalRatio"] = "0",
        ["Schedule.Decay"] = "0.2",
        ["Schedule.Timescale"] = "null",
        ["Schedule.Pieces"] = "",
        ["MaxGradientNorm"] = "1",
        ["LoraPlusLrRatio"] = "null",
        ["ScaleWeightNorms"] = "null",
        ["Seed"] = "0",
        ["UNetLora"] = SettingsWalk.Text(new LoraConfig { Rank = 8, Alpha = 8, TargetModules = ["to_q", "to_k", "to_v", "to_out.0"] }),
        ["TextEncoderLora"] = SettingsWalk.Text(new LoraConfig { Rank = 8, Alpha = 8, TargetModules = ["q_proj", "k_proj", "v_proj", "out_proj"] }),
        ["ClipSkip"] = "1",
        ["Reading.MaxTokenLength"] = "null",
        ["Reading.Weighting"] = "Off",
        ["Precision"] = "AsLoaded",
        ["SampleLatents"] = "False",
        ["Captions.Shuffle"] = "False",
        ["Captions.KeepTokens"] = "0",
        ["Captions.CaptionDropout"] = "0",
        ["Captions.TagDropout"] = "0",
        ["SaveEveryEpochs"] = "null",
        ["SampleEveryEpochs"] = "null",
        ["SamplePrompts"] = "",
        ["SampleOptions.Prompt"] = "",
        ["SampleOptions.NegativePrompt"] = "",
        ["SampleOptions.Width"] = "null",
        ["SampleOptions.Height"] = "null",
        ["SampleOptions.Steps"] = "20",
        ["SampleOptions.Guidance"] = "7.5",
        ["SampleOptions.Seed"] = "0",
        ["SampleOptions.Count"] = "1",
        ["SampleOptions.BatchSize"] = "4",
        ["SampleOptions.Sampler"] = "null",
        ["SampleOptions.Spacing"] = "null",
        ["SampleOptions.Eta"] = "0",
        ["SampleOptions.ClipSkip"] = "1",
        ["SampleOptions.Reading.MaxTokenLength"] = "null",
        ["SampleOptions.Reading.Weighting"] = "Off",
        ["LossType"] = "L2",
        ["HuberSchedule"] = "Snr",
        ["HuberC"] = "0.1",
        ["HuberScale"] = "1",
        ["MinSnrGamma"] = "null",
        ["DebiasedEstimationLoss"] = "False",
        ["ScaleVPredLossLikeNoisePred"] = "False",
        ["VPredLikeLoss"] = "null",
        ["ZeroTerminalSnr"] = "False",
        ["PriorLossWeight"] = "1",
        ["MinTimestep"] = "0",
        ["MaxTimestep"] = "null",
        ["NoiseOffset"] = "null",
        ["AdaptiveNoiseScale"] = "null",
        ["NoiseOffsetRandomStrength"] = "False",
        ["MultiresNoiseIterations"] = "null",
        ["MultiresNoiseDiscount"] = "0.3",
        ["IpNoiseGamma"] = "null",
        ["IpNoiseGammaRandomStrength"] = "False",
    };

    /// <summary>Settings that change no number of what is learnt: where and how long, and what is shown of it.</summary>
    private static readonly string[] Harmless = ["Name", "OutputFolder", "Epochs", "SaveEveryEpochs", "SampleEveryEpochs", "SamplePrompts", "SampleOptions"];

    [Fact]
    public void Constructor_NothingGiven_HasTheDocumentedDefaults()
    {
        var config = new DiffusionTrainingConfig();

        Assert.Equal(Defaults, SettingsWalk.Paths.ToDictionary(path => path, path => SettingsWalk.Text(SettingsWalk.Get(config, path))));
        Assert.Empty(config.Validate());
    }

    [Theory]
    [MemberData(nameof(SettingsWalk.Rows), MemberType = typeof(SettingsWalk))]
    public void FromJson_OneSettingChanged_ReadsItAndLeavesTheOthers(string path)
    {
        var config = SettingsWalk.Changed(path);

        var read = TrainingConfig.FromJson<DiffusionTrainingConfig>(JsonNode.Parse(config.ToJson().ToJsonString())!.AsObject());

        Assert.All(
            SettingsWalk.Paths,
            other => Assert.Equal(SettingsWalk.Text(SettingsWalk.Get(config, other)), SettingsWalk.Text(SettingsWalk.Get(read, other))));
        Assert.False(SettingsWalk.Same(SettingsWalk.Get(read, path), SettingsWalk.Get(SettingsWalk.Base, path)));
        Assert.Equal(
            path.Split('.')[0],
            Assert.Single(config.ToJson(), pair => pair.Value?.ToJsonString() != SettingsWalk.Base.ToJson()[pair.Key]?.ToJsonString()).Key);
    }

    [Fact]
    public void ToJson_Settings_HaveTheirNamesAndAdaptersPeftsWords()
    {
        var json = new DiffusionTrainingConfig
        {
            LossType = LossType.SmoothL1,
            UNetLora = new() { Rank = 3, TargetModules = ["to_q"] },
            SamplePrompts = ["a", "b"],
        }.ToJson();

        Assert.Equal(SettingsWalk.Paths.Select(path => path.Split('.')[0]).Distinct().Order(), json.Select(pair => pair.Key).Order());
        Assert.Equal(("SmoothL1", "Cosine"), ((string)json["LossType"]!, (string)json["Schedule"]!["Kind"]!));
        Assert.Equal(
            (3, """["to_q"]""", """["a","b"]"""),
            ((int)json["UNetLora"]!["r"]!, json["UNetLora"]!["target_modules"]!.ToJsonString(), json["SamplePrompts"]!.ToJsonString()));
    }

    [Fact]
    public void FromJson_Nothing_HasTheDefaults() => Assert.Equal(
        new DiffusionTrainingConfig().ToJson().ToJsonString(),
        TrainingConfig.FromJson<DiffusionTrainingConfig>([]).ToJson().ToJsonString());

    [Theory]
    [InlineData("""{"Epoch": 3}""", "Epoch")]
    [InlineData("""{"epochs": 3}""", "epochs")]
    [InlineData("""{"Schedule": {"Kinds": "Cosine"}}""", "Kinds")]
    [InlineData("""{"Epochs": "many"}""", "$.Epochs")]
    [InlineData("""{"Epochs": 1.5}""", "$.Epochs")]
    [InlineData("""{"LossType": "L3"}""", "$.LossType")]
    [InlineData("""{"Schedule": null}""", "Schedule")]
    [InlineData("""{"UNetLora": null}""", "UNetLora")]
    [InlineData("""{"UNetLora": 5}""", "UNetLora")]
    [InlineData("""{"TextEncoderLora": ["q_proj"]}""", "TextEncoderLora")]
    [InlineData("""{"UNetLora": {"r": "eight"}}""", "r: got \"eight\"")]
    [InlineData("""{"Optimizer": null}""", "Optimizer")]
    [InlineData("""{"Optimizer": "AdamW"}""", "Optimizer: got no object, expected a Name and options.")]
    [InlineData("""{"Optimizer": {"Beta1": 0.8}}""", "Optimizer: got no name, expected one of AdamW")]
    [InlineData("""{"Optimizer": {"Name": 3}}""", "Optimizer: got no name, expected one of AdamW")]
    [InlineData("""{"Optimizer": {"Name": "Adan"}}""", "Optimizer: got 'Adan', expected one of AdamW")]
    [InlineData("""{"Optimizer": {"Name": "AdamW", "Beta3": 0.5}}""", "Beta3")]
    [InlineData(
        """{"Optimizer": {"Name": "AdamW", "Beta1": 1, "Epsilon": -1}}""",
        "have 2 unsupported or wrong values:\n- Optimizer.Beta1: got 1, expected 0 or more")]
    [InlineData(
        """{"Epochs": 0, "BatchSize": -1}""",
        "have 2 unsupported or wrong values:\n- Epochs: got 0, expected a positive whole number\n- BatchSize: got -1, expected")]
    public void FromJson_WhatNoSettingsAre_SaysWhere(string json, string expected)
    {
        var error = Assert.Throws<InvalidDataException>(() => TrainingConfig.FromJson<DiffusionTrainingConfig>(JsonNode.Parse(json)!.AsObject()));

        Assert.Contains(expected, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void FromJson_UnknownSetting_SaysThatSettingsCannotBeRead()
    {
        var error = Assert.Throws<InvalidDataException>(() => TrainingConfig.FromJson<DiffusionTrainingConfig>(new JsonObject { ["Epoch"] = 3 }));

        Assert.StartsWith("The training settings cannot be read: ", error.Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentNullException>(() => TrainingConfig.FromJson<DiffusionTrainingConfig>(null!));
    }

    [Theory]
    [MemberData(nameof(SettingsWalk.Rows), MemberType = typeof(SettingsWalk))]
    public void DifferencesInNumbers_OneSettingChanged_NamesItUnlessItIsHarmless(string path)
    {
        var (ours, theirs) = (SettingsWalk.Changed(path), SettingsWalk.Base);
        var name = path.Split('.')[0];
        var (here, there) = (ours.ToJson()[name]?.ToJsonString() ?? "null", theirs.ToJson()[name]?.ToJsonString() ?? "null");

        Assert.Equal(Harmless.Contains(name) ? [] : [$"{name}: {there}, here {here}"], ours.DifferencesInNumbers(theirs.ToJson()));
        Assert.Equal(Harmless.Contains(name) ? [] : [$"{name}: {here}, here {there}"], theirs.DifferencesInNumbers(ours.ToJson()));
        Assert.Empty(ours.DifferencesInNumbers(ours.ToJson()));
    }

    [Fact]
    public void DifferencesInNumbers_SettingThatTheOtherLacks_IsTakenAsItsDefault()
    {
        var theirs = new DiffusionTrainingConfig().ToJson();
        theirs.Remove(nameof(DiffusionTrainingConfig.NoiseOffset));

        Assert.Empty(new DiffusionTrainingConfig().DifferencesInNumbers(theirs));
        Assert.Equal("NoiseOffset: null, here 0.1", Assert.Single(new DiffusionTrainingConfig { NoiseOffset = 0.1 }.DifferencesInNumbers(theirs)));
        Assert.False(theirs.ContainsKey(nameof(DiffusionTrainingConfig.NoiseOffset)));
    }
}
