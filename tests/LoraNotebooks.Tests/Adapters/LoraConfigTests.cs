using System.Text.Json.Nodes;
using LoraNotebooks.Adapters;
using LoraNotebooks.Adapters.Methods;
using LoraNotebooks.Formats;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Adapters;

public sealed class LoraConfigTests
{
    [Fact]
    public void Validate_ThreeFaults_NamesAllThree()
    {
        var config = new LoraConfig { Rank = 0, Dropout = 1, TargetModules = ModuleSelection.Regex("to_(q") };

        var faults = config.Validate();

        Assert.Equal(3, faults.Count);
        Assert.Contains(faults, fault => fault.StartsWith("Rank: got 0", StringComparison.Ordinal));
        Assert.Contains(faults, fault => fault.StartsWith("Dropout: got 1", StringComparison.Ordinal));
        Assert.Contains(faults, fault => fault.StartsWith("TargetModules: got 'to_(q', expected a regular expression", StringComparison.Ordinal));
        Assert.All(faults, fault => Assert.Contains(fault, Assert.Throws<ArgumentException>(config.ThrowIfInvalid).Message));
    }

    [Theory]
    [InlineData("blocks.0.attn1.to_q", 6, 3.0)]
    [InlineData("blocks.0.attn2.to_q", 5, 8.0)]
    [InlineData("to_q", 5, 8.0)]
    [InlineData("blocks.0.not_to_q", 4, 8.0)]
    public void Patterns_FirstThatMatchesAPathsEnd_Counts(string path, int rank, double alpha)
    {
        var config = new LoraConfig
        {
            Rank = 4,
            RankPattern = new OrderedDictionary<string, int> { ["attn1.to_q"] = 6, ["to_q"] = 5 },
            AlphaPattern = new OrderedDictionary<string, double> { [@"^blocks\.\d\.attn1\.to_q"] = 3 },
        };

        Assert.Equal((rank, alpha), (config.RankOf(path), config.AlphaOf(path)));
        Assert.Equal(alpha / rank, config.ScaleOf(path), 12);
        Assert.Equal(alpha / Math.Sqrt(rank), (config with { UseRsLora = true }).ScaleOf(path), 12);
    }

    [Fact]
    public void PeftJson_WithFieldsOfItsOwn_KeepsThem()
    {
        var json = JsonNode.Parse("""{"peft_type": "LORA", "r": 4, "lora_alpha": 2.5, "target_modules": "all-linear", "layers_to_transform": [0, 2], "task_type": "CAUSAL_LM", "future_field": {"a": [1, 2]}}""")!.AsObject();
        json["target_modules"] = new JsonArray("q", "v");

        var config = LoraConfig.FromPeftJson(json);
        var saved = config.ToPeftJson();

        Assert.Equal((4, 2.5), (config.Rank, config.Alpha));
        Assert.All(json, pair => Assert.True(JsonNode.DeepEquals(pair.Value, JsonNode.Parse(saved.ToJsonString())![pair.Key]), pair.Key));
    }

    [Fact]
    public void PeftJson_ThatAsksForMoreThanIsSupported_IsRefusedFieldByField()
    {
        var json = JsonNode.Parse("""{"peft_type": "LORA", "r": "four", "target_modules": ["q"], "use_qalora": true, "init_lora_weights": "pissa", "layer_replication": [[0, 4]]}""")!.AsObject();

        var message = Assert.Throws<InvalidDataException>(() => LoraConfig.FromPeftJson(json)).Message;

        Assert.Contains("has 4 unsupported or wrong values", message);
        Assert.All(
            ["r: got \"four\"", "use_qalora: got true", "init_lora_weights: got \"pissa\"", "layer_replication: got [[0,4]]"],
            part => Assert.Contains(part, message));
    }

    [Fact]
    public void Targets_ThatMeanNothing_AreNamedWithCloseNames()
    {
        var message = AddFails(new LoraConfig
        {
            TargetModules = ["to_p", "conv", "norm"],
            RankPattern = new Dictionary<string, int> { ["con"] = 2 },
            ModulesToSave = [],
        });

        Assert.Contains("TargetModules: 'to_p' means no module of the model; close names are 'to_q', ", message);
        Assert.Contains("TargetModules: 'norm' is a GroupNorm, expected a Linear", message);
        Assert.Contains("RankPattern: 'con' means none of the target modules", message);
        Assert.Contains("'nothing.*' means no module", AddFails(new LoraConfig { TargetModules = ModuleSelection.Regex("nothing.*") }));
        Assert.Contains("ModulesToSave: 'haed' means no module", AddFails(new LoraConfig { TargetModules = ["conv"], ModulesToSave = ["haed"] }));
        Assert.Contains("no layer that is left after exclusions", AddFails(new LoraConfig { TargetModules = ["conv"], ExcludeModules = ["conv"] }));
    }

    [Fact]
    public void Targets_ByExpressionKindAndExclusion_AreThoseLayers()
    {
        Assert.Equal(["to_q", "to_out"], Targets(new LoraConfig { TargetModules = ModuleSelection.AllLinear }));
        Assert.Equal(["to_q"], Targets(new LoraConfig { TargetModules = ModuleSelection.AllLinear, ExcludeModules = ["to_out"] }));
        Assert.Equal(["to_out", "conv"], Targets(new LoraConfig { TargetModules = ModuleSelection.Regex("to_o.*|conv|norm") }));
    }

    [Theory]
    [InlineData("layers", "layers.1.q")]
    [InlineData(null, "layers.1.q", "other.1.q")]
    public void Targets_OfChosenBlocks_AreOnlyThose(string? pattern, params string[] expected)
    {
        using var model = nn.Sequential(
            ("layers", nn.Sequential(("0", nn.Sequential(("q", nn.Linear(2, 2)))), ("1", nn.Sequential(("q", nn.Linear(2, 2)))))),
            ("other", nn.Sequential(("1", nn.Sequential(("q", nn.Linear(2, 2)))))));
        using var outer = nn.Sequential(("model", model));

        var targets = Targets(new LoraConfig { TargetModules = ["q"], LayersToTransform = [1], LayersPattern = pattern is null ? [] : [pattern] }, outer);

        Assert.Equal(expected.Select(path => "model." + path), targets);
    }

    [Fact]
    public void Convolution_WithGroupsThatDoNotDivideTheRank_IsRefusedByName()
    {
        using var model = nn.Sequential(("depthwise", nn.Conv2d(4, 4, 3, groups: 4)));

        var message = Assert.Throws<ArgumentException>(() => Targets(new LoraConfig { Rank = 6, TargetModules = ["depthwise"] }, model)).Message;

        Assert.Contains("'depthwise' is a convolution with 4 groups: got rank 6, expected a multiple of 4", message);
    }

    /// <summary>What a file of several methods is made of is what most of its layers are; of two alike the one that was registered first.</summary>
    [Theory]
    [InlineData("Loha", "lora_A.weight hada_w1_b hada_w1_b")]
    [InlineData("Lora", "lokr_w2_b hada_w1_b lora_A.weight")]
    [InlineData("Loha", "lokr_w2_b hada_w1_b")]
    public void FromState_OfSeveralMethods_IsOfTheMostFrequent(string expected, string parts)
    {
        using var scope = NewDisposeScope();
        var state = new LoraState(parts.Split(' ').Index().ToDictionary(static part => $"l{part.Index}.{part.Item}", static _ => zeros(1, 2)));

        Assert.Equal(expected, LoraConfig.FromState(state).Method.Name);
    }

    /// <summary>LoKr's options that a configuration does not have are its defaults.</summary>
    [Fact]
    public void PeftJson_OfLokrWithoutItsOptions_HasItsDefaults()
    {
        var method = LoraConfig.FromPeftJson(JsonNode.Parse("""{"peft_type": "LOKR", "target_modules": ["q"]}""")!.AsObject()).Method;

        Assert.Equal((false, -1), (((LokrMethod)method).DecomposeBoth, ((LokrMethod)method).DecomposeFactor));
        Assert.Equal(AdapterMethod.Lokr, method);
    }

    private static string AddFails(LoraConfig config) => Assert.Throws<ArgumentException>(() => Targets(config)).Message;

    private static IReadOnlyList<string> Targets(LoraConfig config, nn.Module? model = null)
    {
        using var network = new TinyNetwork();
        using var adapted = new AdaptedModel(model ?? network);
        using var generator = new Generator(1);
        adapted.Add("a", config, generator);
        return [.. adapted.GetLayers("a").Select(layer => layer.Path)];
    }
}
