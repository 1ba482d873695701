using System.Reflection;
using System.Text.Json.Nodes;
using LoraNotebooks.Adapters;
using LoraNotebooks.Formats;
using LoraNotebooks.Tests.Adapters.Methods;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Adapters;

/// <summary>Every setting of an adapter: in PEFT's words and back, at its bounds and beyond.</summary>
public sealed class LoraConfigWalkTests
{
    private static readonly LoraConfig Good = new() { TargetModules = ["q"] };

    /// <summary>A value that is not the default, with what PEFT's file says of it.</summary>
    private static readonly List<(string Property, object Value, AdapterMethod Method, string Key, string Json)> Settings =
    [
        ("Method", AdapterMethod.Loha, AdapterMethod.Loha, "peft_type", "\"LOHA\""),
        ("Method", AdapterMethod.Lokr, AdapterMethod.Lokr, "peft_type", "\"LOKR\""),
        ("UseDora", true, AdapterMethod.Lora, "use_dora", "true"),
        ("UseEffectiveConv2d", true, AdapterMethod.Loha, "use_effective_conv2d", "true"),
        ("UseEffectiveConv2d", true, AdapterMethod.Lokr, "use_effective_conv2d", "true"),
        ("Method", AdapterMethod.Lokr with { DecomposeBoth = true }, AdapterMethod.Lokr, "decompose_both", "true"),
        ("Method", AdapterMethod.Lokr with { DecomposeFactor = 4 }, AdapterMethod.Lokr, "decompose_factor", "4"),
        ("Rank", 3, AdapterMethod.Lora, "r", "3"),
        ("Alpha", 2.5, AdapterMethod.Lora, "lora_alpha", "2.5"),
        ("Alpha", 4.0, AdapterMethod.Lora, "lora_alpha", "4"),
        ("Alpha", 999_999_999_999_999.0, AdapterMethod.Lora, "lora_alpha", "999999999999999"),
        ("Alpha", 1e300, AdapterMethod.Lora, "lora_alpha", "1E+300"),
        ("Alpha", 2.5, AdapterMethod.Loha, "alpha", "2.5"),
        ("Alpha", 2.5, AdapterMethod.Lokr, "alpha", "2.5"),
        ("TargetModules", ModuleSelection.Names(["a", "b.c"]), AdapterMethod.Lora, "target_modules", "[\"a\",\"b.c\"]"),
        ("TargetModules", ModuleSelection.Regex("a.*"), AdapterMethod.Lora, "target_modules", "\"a.*\""),
        ("TargetModules", ModuleSelection.AllLinear, AdapterMethod.Lora, "target_modules", "\"all-linear\""),
        ("ExcludeModules", ModuleSelection.Names(["a"]), AdapterMethod.Lora, "exclude_modules", "[\"a\"]"),
        ("ExcludeModules", ModuleSelection.Regex("a"), AdapterMethod.Lora, "exclude_modules", "\"a\""),
        ("Dropout", 0.25, AdapterMethod.Lora, "lora_dropout", "0.25"),
        ("Bias", BiasTraining.All, AdapterMethod.Lora, "bias", "\"all\""),
        ("Bias", BiasTraining.LoraOnly, AdapterMethod.Lora, "bias", "\"lora_only\""),
        ("UseLoraBias", true, AdapterMethod.Lora, "lora_bias", "true"),
        ("RankPattern", new OrderedDictionary<string, int> { ["b"] = 2, ["a"] = 3 }, AdapterMethod.Lora, "rank_pattern", "{\"b\":2,\"a\":3}"),
        ("AlphaPattern", new OrderedDictionary<string, double> { ["b"] = 2.5, ["a"] = 3 }, AdapterMethod.Lora, "alpha_pattern", "{\"b\":2.5,\"a\":3}"),
        ("UseRsLora", true, AdapterMethod.Lora, "use_rslora", "true"),
        ("FanInFanOut", true, AdapterMethod.Lora, "fan_in_fan_out", "true"),
        ("Initialization", LoraInitialization.Gaussian, AdapterMethod.Lora, "init_lora_weights", "\"gaussian\""),
        ("LayersToTransform", (IReadOnlyList<int>)[0, 2], AdapterMethod.Lora, "layers_to_transform", "[0,2]"),
        ("LayersPattern", (IReadOnlyList<string>)["layers", "h"], AdapterMethod.Lora, "layers_pattern", "[\"layers\",\"h\"]"),
        ("ModulesToSave", (IReadOnlyList<string>)["head"], AdapterMethod.Lora, "modules_to_save", "[\"head\"]"),
        ("Carried", new Dictionary<string, JsonNode?> { ["future"] = new JsonArray(1, "x") }, AdapterMethod.Lora, "future", "[1,\"x\"]"),
    ];

    private static IEnumerable<PropertyInfo> Properties => typeof(LoraConfig).GetProperties().Where(static property => property.CanWrite);

    [Fact]
    public void Settings_OfTheWalk_AreAllThatThereAre() => Assert.Equal(
        Properties.Select(static property => property.Name).Order(StringComparer.Ordinal),
        Settings.Select(static setting => setting.Property).Distinct().Order(StringComparer.Ordinal));

    [Fact]
    public void Json_OfEverySetting_SaysItInPeftsWordsAndBringsItBack() => Assert.All(Settings, static setting =>
    {
        var property = typeof(LoraConfig).GetProperty(setting.Property)!;
        var config = Good with { Method = setting.Method, LayersToTransform = setting.Property == "LayersPattern" ? [1] : [] };
        property.SetValue(config, setting.Value);

        var json = config.ToPeftJson();
        var back = LoraConfig.FromPeftJson(JsonNode.Parse(json.ToJsonString())!.AsObject());

        Assert.Equal(setting.Json, json[setting.Key]!.ToJsonString());
        Assert.All(Properties.Where(static other => other.Name != "Carried"), other => Assert.Equal(Text(other.GetValue(config)), Text(other.GetValue(back))));
        Assert.All(config.Carried, pair => Assert.Equal(pair.Value!.ToJsonString(), back.Carried[pair.Key]!.ToJsonString()));
        Assert.Equal(json.ToJsonString(), back.ToPeftJson().ToJsonString());

        // Without its field, the default.
        json.Remove(setting.Key);
        Assert.NotEqual(Text(setting.Value), Text(property.GetValue(LoraConfig.FromPeftJson(With(json, setting)))));
    });

    /// <summary>What PEFT expects to find of each kind, to the letter.</summary>
    [Theory]
    [InlineData("Lora",
        """{"alpha_pattern":{},"auto_mapping":null,"base_model_name_or_path":null,"bias":"none","exclude_modules":null,"fan_in_fan_out":false,"inference_mode":false,"init_lora_weights":true,"layers_pattern":null,"layers_to_transform":null,"lora_alpha":8,"lora_bias":false,"lora_dropout":0.0,"modules_to_save":null,"peft_type":"LORA","r":8,"rank_pattern":{},"revision":null,"target_modules":["q"],"task_type":null,"use_dora":false,"use_rslora":false}""")]
    [InlineData("Loha",
        """{"alpha":8,"alpha_pattern":{},"auto_mapping":null,"base_model_name_or_path":null,"exclude_modules":null,"inference_mode":false,"init_weights":true,"layers_pattern":null,"layers_to_transform":null,"module_dropout":0.0,"modules_to_save":null,"peft_type":"LOHA","r":8,"rank_dropout":0.0,"rank_pattern":{},"revision":null,"target_modules":["q"],"task_type":null,"use_effective_conv2d":false}""")]
    [InlineData("Lokr",
        """{"alpha":8,"alpha_pattern":{},"auto_mapping":null,"base_model_name_or_path":null,"decompose_both":false,"decompose_factor":-1,"exclude_modules":null,"inference_mode":false,"init_weights":true,"layers_pattern":null,"layers_to_transform":null,"module_dropout":0.0,"modules_to_save":null,"peft_type":"LOKR","r":8,"rank_dropout":0.0,"rank_pattern":{},"revision":null,"target_modules":["q"],"task_type":null,"use_effective_conv2d":false}""")]
    public void Json_OfTheDefaults_IsPefts(string method, string expected) =>
        Assert.Equal(expected, (Good with { Method = AdapterMethod.Named(method) }).ToPeftJson().ToJsonString());

    [Fact]
    public void Json_OfAFileThatSaysNothing_MeansPeftsDefaults()
    {
        var config = LoraConfig.FromPeftJson(
            JsonNode.Parse("""{"target_modules": ["q"], "r": null, "bias": null, "rank_pattern": null, "modules_to_save": null}""")!.AsObject());

        Assert.All(
            Properties.Where(static property => property.Name != "Carried"),
            property => Assert.Equal(Text(property.GetValue(Good)), Text(property.GetValue(config))));
        Assert.Empty(config.Carried);
    }

    /// <summary>
    /// Numbers made in memory count like those of a file; what is not known is kept and written back, as long as it does not change the update.
    /// </summary>
    [Fact]
    public void Json_MadeInMemory_IsReadAndUnknownFieldsAreCarried()
    {
        var config = LoraConfig.FromPeftJson(new JsonObject
        {
            ["target_modules"] = new JsonArray("q"),
            ["r"] = 4L,
            ["lora_alpha"] = 3,
            ["layers_to_transform"] = 2,
            ["layers_pattern"] = "h",
            ["modules_to_save"] = "head",
            ["future"] = 1.5,
            ["task_type"] = "X",
            ["none"] = null,
        });

        Assert.Equal((4, 3.0), (config.Rank, config.Alpha));
        Assert.Equal([2], config.LayersToTransform);
        Assert.Equal(["h", "head"], config.LayersPattern.Concat(config.ModulesToSave));
        Assert.Equal(["future", "none", "task_type"], config.Carried.Keys.Order(StringComparer.Ordinal));
        var json = config.ToPeftJson();
        Assert.Equal(("1.5", "\"X\"", true), (json["future"]!.ToJsonString(), json["task_type"]!.ToJsonString(), json.ContainsKey("none")));
    }

    /// <summary>A file's field, what it was given, and what was expected.</summary>
    [Theory]
    [InlineData("r", "\"4\"", "r: got \"4\", expected a whole number")]
    [InlineData("r", "2.5", "r: got 2.5, expected a whole number")]
    [InlineData("r", "[4]", "r: got [4], expected a whole number")]
    [InlineData("decompose_factor", "true", "decompose_factor: got true, expected a whole number")]
    [InlineData("lora_alpha", "\"x\"", "lora_alpha: got \"x\", expected a number")]
    [InlineData("lora_dropout", "{}", "lora_dropout: got {}, expected a number")]
    [InlineData("use_dora", "1", "use_dora: got 1, expected true or false")]
    [InlineData("use_effective_conv2d", "\"no\"", "use_effective_conv2d: got \"no\", expected true or false")]
    [InlineData("decompose_both", "0", "decompose_both: got 0, expected true or false")]
    [InlineData("lora_bias", "0", "lora_bias: got 0, expected true or false")]
    [InlineData("use_rslora", "0", "use_rslora: got 0, expected true or false")]
    [InlineData("fan_in_fan_out", "0", "fan_in_fan_out: got 0, expected true or false")]
    [InlineData("bias", "\"some\"", "bias: got \"some\", expected \"none\" or \"all\" or \"lora_only\"")]
    [InlineData("bias", "1", "bias: got 1, expected \"none\" or \"all\" or \"lora_only\"")]
    [InlineData("exclude_modules", "3", "exclude_modules: got 3, expected a text or a list of texts")]
    [InlineData("exclude_modules", "[\"a\",3]", "exclude_modules: got [\"a\",3], expected a text or a list of texts")]
    [InlineData("modules_to_save", "[null]", "modules_to_save: got [null], expected a text or a list of texts")]
    [InlineData("layers_pattern", "{}", "layers_pattern: got {}, expected a text or a list of texts")]
    [InlineData("layers_to_transform", "[1,\"2\"]", "layers_to_transform: got [1,\"2\"], expected a whole number or a list of them")]
    [InlineData("layers_to_transform", "1.5", "layers_to_transform: got 1.5, expected a whole number or a list of them")]
    [InlineData("rank_pattern", "[]", "rank_pattern: got [], expected an object of numbers")]
    [InlineData("rank_pattern", "{\"a\":2.5}", "rank_pattern: got {\"a\":2.5}, expected an object of numbers")]
    [InlineData("rank_pattern", "{\"a\":null}", "rank_pattern: got {\"a\":null}, expected an object of numbers")]
    [InlineData("alpha_pattern", "{\"a\":\"1\"}", "alpha_pattern: got {\"a\":\"1\"}, expected an object of numbers")]
    [InlineData("use_qalora", "true", "use_qalora: got true, supported is false or null")]
    [InlineData("use_bdlora", "true", "use_bdlora: got true, supported is false or null")]
    [InlineData("layer_replication", "[[0,4]]", "layer_replication: got [[0,4]], supported is null")]
    [InlineData("trainable_token_indices", "[1]", "trainable_token_indices: got [1], supported is null")]
    [InlineData("target_parameters", "[\"a\"]", "target_parameters: got [\"a\"], supported is null or []")]
    [InlineData("alora_invocation_tokens", "[1]", "alora_invocation_tokens: got [1], supported is null")]
    [InlineData("arrow_config", "{}", "arrow_config: got {}, supported is null")]
    [InlineData("megatron_config", "{}", "megatron_config: got {}, supported is null")]
    [InlineData("velora_config", "{}", "velora_config: got {}, supported is null")]
    [InlineData("monteclora_config", "{}", "monteclora_config: got {}, supported is null")]
    [InlineData("kasa_config", "{}", "kasa_config: got {}, supported is null")]
    [InlineData(
        "init_lora_weights",
        "\"pissa\"",
        "init_lora_weights: got \"pissa\", supported is true or false or null or \"gaussian\" or \"eva\" or \"orthogonal\"")]
    [InlineData("r", "0", "Rank: got 0, expected at least 1; 4 to 32 is usual")]
    public void Json_OfAWrongField_NamesItWithWhatWasExpected(string key, string value, string fault)
    {
        var json = JsonNode.Parse($"{{\"target_modules\": [\"q\"], \"{key}\": {value}}}")!.AsObject();
        if (key.StartsWith("decompose", StringComparison.Ordinal))
        {
            json["peft_type"] = "LOKR";
        }

        Assert.Equal(
            $"The adapter's configuration has 1 unsupported or wrong value:\n- {fault}",
            Assert.Throws<InvalidDataException>(() => LoraConfig.FromPeftJson(json)).Message);
    }

    [Fact]
    public void Json_OfAnotherKindOrWithoutTargets_IsRefused()
    {
        Assert.Equal(
            "The adapter's configuration has 3 unsupported or wrong values:\n- peft_type: got \"IA3\", supported is \"LORA\" or \"LOHA\" or \"LOKR\"\n"
            + "- peft_type: got \"IA3\", expected \"LORA\" or \"LOHA\" or \"LOKR\"\n"
            + "- TargetModules: got none, expected names of layers, a regular expression or ModuleSelection.AllLinear",
            Assert.Throws<InvalidDataException>(() => LoraConfig.FromPeftJson(JsonNode.Parse("""{"peft_type": "IA3"}""")!.AsObject())).Message);
        Assert.Contains(
            "target_modules: got 3, expected a text or a list of texts",
            Assert.Throws<InvalidDataException>(() => LoraConfig.FromPeftJson(JsonNode.Parse("""{"target_modules": 3}""")!.AsObject())).Message);
    }

    [Theory]
    [InlineData("use_qalora", "false")]
    [InlineData("use_bdlora", "null")]
    [InlineData("target_parameters", "[]")]
    [InlineData("arrow_config", "null")]
    [InlineData("init_lora_weights", "true")]
    [InlineData("init_lora_weights", "false")]
    [InlineData("init_lora_weights", "null")]
    [InlineData("init_lora_weights", "\"eva\"")]
    [InlineData("init_lora_weights", "\"orthogonal\"")]
    public void Json_OfAFieldAtRest_IsReadAndWrittenBack(string key, string value)
    {
        var config = LoraConfig.FromPeftJson(JsonNode.Parse($"{{\"target_modules\": [\"q\"], \"{key}\": {value}}}")!.AsObject());

        Assert.Equal(LoraInitialization.KaimingUniform, config.Initialization);
        Assert.Equal(value, config.ToPeftJson()[key]?.ToJsonString() ?? "null");
    }

    /// <summary>At the bound there is no fault, beyond it this one alone.</summary>
    public static TheoryData<string> Bounds => [.. BoundsOf.Keys];

    [Theory]
    [MemberData(nameof(Bounds))]
    public void Validate_AtABoundAndBeyond_FindsOnlyThatFault(string name)
    {
        var (within, beyond) = BoundsOf[name];

        Assert.All(within, static config => Assert.Empty(config.Validate()));
        Assert.All(beyond, static row =>
        {
            var fault = Assert.Single(row.Config.Validate());
            Assert.StartsWith(row.Fault, fault);
            Assert.Equal(
                $"The LoRA configuration has 1 unsupported or wrong value:\n- {fault}",
                Assert.Throws<ArgumentException>(row.Config.ThrowIfInvalid).Message);
        });
    }

    private static Dictionary<string, (LoraConfig[] Within, (LoraConfig Config, string Fault)[] Beyond)> BoundsOf => new()
    {
        ["Method"] = (
            [Good with { Method = AdapterMethod.Lokr }],
            [(
                Good with { Method = new ScaledRows { IsRegistered = false } },
                "Method: got Unheard, which is not registered, expected one of Lora, Loha, Lokr")]),
        ["Lora only"] =
        (
            [Good with { UseLoraBias = true, UseRsLora = true, Dropout = 0.5 }],
            [
                (Good with { Method = AdapterMethod.Loha, UseLoraBias = true }, "UseLoraBias: got True with Loha, expected it only with Lora"),
                (Good with { Method = AdapterMethod.Lokr, UseRsLora = true }, "UseRsLora: got True with Lokr, expected it only with Lora"),
                (Good with { Method = AdapterMethod.Loha, Dropout = 0.1 }, "Dropout: got 0.1 with Loha, expected it only with Lora"),
                (
                    Good with { Method = AdapterMethod.Loha, Initialization = LoraInitialization.Gaussian },
                    "Initialization: got Gaussian with Loha, expected it only with Lora"),
            ]
        ),
        ["DecomposeFactor"] =
        (
            [Good with { Method = AdapterMethod.Lokr with { DecomposeFactor = 1 } }, Good with { Method = AdapterMethod.Lokr with { DecomposeFactor = -1 } }],
            [
                (Good with { Method = AdapterMethod.Lokr with { DecomposeFactor = 0 } }, "DecomposeFactor: got 0, expected -1 or at least 1"),
                (Good with { Method = AdapterMethod.Lokr with { DecomposeFactor = -2 } }, "DecomposeFactor: got -2,"),
            ]
        ),
        ["Rank"] = ([Good with { Rank = 1 }], [(Good with { Rank = 0 }, "Rank: got 0, expected at least 1; 4 to 32 is usual")]),
        ["Alpha"] =
        (
            [Good with { Alpha = double.Epsilon }],
            [
                (Good with { Alpha = 0 }, "Alpha: got 0, expected a positive number; the rank or half of it is usual"),
                (Good with { Alpha = double.NaN }, "Alpha: got NaN,"),
                (Good with { Alpha = double.PositiveInfinity }, "Alpha: got Infinity,"),
            ]
        ),
        ["Dropout"] =
        (
            [Good with { Dropout = 0 }, Good with { Dropout = 0.999 }],
            [
                (Good with { Dropout = 1 }, "Dropout: got 1, expected 0 (none) or more and less than 1"),
                (Good with { Dropout = -0.001 }, "Dropout: got -0.001,"),
                (Good with { Dropout = double.NaN }, "Dropout: got NaN,")
            ]
        ),
        ["TargetModules"] =
        (
            [Good with { TargetModules = ModuleSelection.Regex("a") }, Good with { TargetModules = ModuleSelection.AllLinear }],
            [
                (Good with { TargetModules = [] }, "TargetModules: got none, expected names of layers, a regular expression or ModuleSelection.AllLinear"),
                (Good with { TargetModules = ["a", " "] }, "TargetModules: got an empty name, expected names of layers"),
                (Good with { TargetModules = ModuleSelection.Regex("(") }, "TargetModules: got '(', expected a regular expression: "),
            ]
        ),
        ["ExcludeModules"] =
        (
            [Good with { ExcludeModules = [] }],
            [
                (Good with { ExcludeModules = [""] }, "ExcludeModules: got an empty name, expected names of layers"),
                (Good with { ExcludeModules = ModuleSelection.Regex("[") }, "ExcludeModules: got '[', expected a regular expression: ")
            ]
        ),
        ["RankPattern"] =
        (
            [Good with { RankPattern = new Dictionary<string, int> { ["a"] = 1 } }],
            [
                (Good with { RankPattern = new Dictionary<string, int> { ["a"] = 0 } }, "RankPattern['a']: got 0, expected at least 1"),
                (Good with { RankPattern = new Dictionary<string, int> { ["("] = 1 } }, "RankPattern: got '(', expected a regular expression: ")
            ]
        ),
        ["AlphaPattern"] =
        (
            [Good with { AlphaPattern = new Dictionary<string, double> { ["a"] = double.Epsilon } }],
            [
                (Good with { AlphaPattern = new Dictionary<string, double> { ["a"] = 0 } }, "AlphaPattern['a']: got 0, expected a positive number"),
                (Good with { AlphaPattern = new Dictionary<string, double> { ["a"] = double.PositiveInfinity } }, "AlphaPattern['a']: got Infinity,"),
                (Good with { AlphaPattern = new Dictionary<string, double> { ["("] = 1 } }, "AlphaPattern: got '(', expected a regular expression: "),
            ]
        ),
        ["LayersToTransform"] =
        (
            [Good with { LayersToTransform = [0] }],
            [
                (Good with { LayersToTransform = [1, -1] }, "LayersToTransform: got 1, -1, expected numbers of blocks from 0 on"),
                (
                    Good with { LayersToTransform = [1], TargetModules = ModuleSelection.Regex("a") },
                    "LayersToTransform: got it together with a regular expression or all-linear, expected names in TargetModules; "
                        + "put the blocks into the expression"),
                (
                    Good with { LayersToTransform = [1], TargetModules = ModuleSelection.AllLinear },
                    "LayersToTransform: got it together with a regular expression or all-linear,"),
            ]
        ),
        ["LayersPattern"] =
        (
            [Good with { LayersToTransform = [1], LayersPattern = ["h|layers"] }],
            [
                (Good with { LayersPattern = ["h"] }, "LayersPattern: got it without LayersToTransform, expected both or none"),
                (Good with { LayersToTransform = [1], LayersPattern = ["h", "("] }, "LayersPattern: got '(', expected a regular expression: ")
            ]
        ),
        ["ModulesToSave"] = (
            [Good with { ModulesToSave = ["a"] }],
            [(Good with { ModulesToSave = ["a", " "] }, "ModulesToSave: got an empty name, expected names of layers")]),
    };

    [Fact]
    public void ThrowIfInvalid_OfManyFaults_NamesTen()
    {
        var config = Good with { RankPattern = Enumerable.Range(10, 12).ToDictionary(static i => $"k{i}", static _ => 0) };

        Assert.Equal(
            "The LoRA configuration has 12 unsupported or wrong values:\n"
                + $"{string.Join('\n', Enumerable.Range(10, 10).Select(static i => $"- RankPattern['k{i}']: got 0, expected at least 1"))}\n- and 2 more",
            Assert.Throws<ArgumentException>(config.ThrowIfInvalid).Message);
    }

    /// <summary>What most layers have is the rule, the others are exceptions; of as many the smaller.</summary>
    [Fact]
    public void FromState_OfWeights_TellsTheirSettings()
    {
        using var scope = NewDisposeScope();
        var state = new LoraState(
            new Dictionary<string, Tensor>
            {
                ["b.x.lora_A.weight"] = zeros(4, 2),
                ["a.lora_A.weight"] = zeros(2, 2),
                ["c.lora_A.weight"] = zeros(4, 2),
                ["d.lora_A.weight"] = zeros(3, 2),
                ["d.lora_magnitude_vector"] = zeros(2),
            },
            new Dictionary<string, double> { ["a"] = 1.5, ["b.x"] = 1.5, ["d"] = 4 });

        var config = LoraConfig.FromState(state);

        Assert.Equal((AdapterMethod.Lora, 4, 1.5, true, false), (config.Method, config.Rank, config.Alpha, config.UseDora, config.UseEffectiveConv2d));
        Assert.Equal(["a", "b.x", "c", "d"], config.TargetModules);
        Assert.Equal([("^a", 2), ("^d", 3)], config.RankPattern.Select(static pair => (pair.Key, pair.Value)));
        Assert.Equal([("^c", 4.0), ("^d", 4.0)], config.AlphaPattern.Select(static pair => (pair.Key, pair.Value)));
        Assert.Equal(
            "^b\\.x",
            Assert.Single(LoraConfig.FromState(
                new LoraState(new Dictionary<string, Tensor> { ["b.x.lora_A.weight"] = zeros(4, 2), ["a.lora_A.weight"] = zeros(2, 2) })).RankPattern).Key);
    }

    [Theory]
    [InlineData("hada_w1_b", "Loha", false, false)]
    [InlineData("lokr_w2_b", "Lokr", false, false)]
    [InlineData("lokr_w2", "Lokr", false, false)]
    [InlineData("lokr_w1_b", "Lokr", false, false)]
    [InlineData("lora_embedding_A", "Lora", false, false)]
    [InlineData("dora_scale", "Lora", true, false)]
    [InlineData("hada_t1", "Lora", false, true)]
    [InlineData("lokr_t2", "Lora", false, true)]
    [InlineData("lora_mid.weight", "Lora", false, false)]
    public void FromState_OfAPart_TellsMethodLengthsAndCores(string part, string name, bool dora, bool core)
    {
        var method = AdapterMethod.Named(name);
        using var scope = NewDisposeScope();
        var tensors = new Dictionary<string, Tensor> { [$"a.{part}"] = zeros(2, 2) };
        if (method == AdapterMethod.Lora)
        {
            tensors["a.lora_A.weight"] = zeros(2, 2);
        }

        var config = LoraConfig.FromState(new LoraState(tensors));

        Assert.Equal((method, dora, core), (config.Method, config.UseDora, config.UseEffectiveConv2d));
    }

    [Fact]
    public void FromState_OfWhatCannotBe_IsRefused()
    {
        using var scope = NewDisposeScope();

        Assert.Equal(
            "The file has no LoRA weights; expected names that end in '.lora_A.weight', found a, b, c.",
            Assert.Throws<InvalidDataException>(() => LoraConfig.FromState(
                new LoraState(new Dictionary<string, Tensor> { ["a"] = zeros(1), ["b"] = zeros(1), ["c"] = zeros(1), ["d"] = zeros(1) }))).Message);
        Assert.Equal(
            "The weights tell settings that cannot be, 2 faults:\n- Rank: got 0, expected at least 1; 4 to 32 is usual\n"
                + "- Alpha: got NaN, expected a positive number; the rank or half of it is usual\nDownload or save the file again.",
            Assert.Throws<InvalidDataException>(() => LoraConfig.FromState(new LoraState(
                new Dictionary<string, Tensor> { ["a.lora_A.weight"] = zeros(0, 2) },
                new Dictionary<string, double> { ["a"] = double.NaN }))).Message);
    }

    /// <summary>Without what would be a fault of its own where the setting is missing.</summary>
    private static JsonObject With(JsonObject json, (string Property, object Value, AdapterMethod Method, string Key, string Json) setting)
    {
        var copy = json.DeepClone().AsObject();
        switch (setting.Key)
        {
            case "target_modules":
                copy["target_modules"] = new JsonArray("other");
                break;
            case "peft_type":
                copy["lora_alpha"] = 8;
                break;
        }

        return copy;
    }

    private static string Text(object? value) => value switch
    {
        null => "none",
        AdapterMethod method =>
            $"{method} {string.Join(", ", method.GetType().GetProperties().Where(static option => option.CanWrite).Select(option => option.GetValue(method)))}",
        ModuleSelection selection => $"{selection.IsRegex} {selection.IsAllLinear} {selection}",
        IEnumerable<KeyValuePair<string, JsonNode?>> fields => string.Join(", ", fields.Select(static pair => $"{pair.Key}={pair.Value?.ToJsonString()}")),
        System.Collections.IEnumerable items and not string => string.Join(", ", items.Cast<object>()),
        _ => string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{value}"),
    };
}
