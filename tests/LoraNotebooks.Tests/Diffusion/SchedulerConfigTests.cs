using System.Reflection;
using System.Text.Json;
using System.Text.Json.Nodes;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Tests.Models;

namespace LoraNotebooks.Tests.Diffusion;

public sealed class SchedulerConfigTests
{
    [Fact]
    public void Save_ConfigWithUnknownKeysAndInfinity_KeepsThem()
    {
        using var folder = new TemporaryFolder();
        var path = folder.In("scheduler_config.json");
        File.WriteAllText(path, "{\n  \"_class_name\": \"DPMSolverMultistepScheduler\",\n  \"lambda_min_clipped\": -Infinity,\n  \"thresholding\": false,\n  \"solver_type\": \"heun\"\n}\n");
        var config = SchedulerConfig.Load(path);
        config.Save(path);
        var text = File.ReadAllText(path);
        Assert.Contains("\"lambda_min_clipped\": -Infinity", text);
        Assert.Contains("\"thresholding\": false", text);
        Assert.Contains("\"solver_type\": \"heun\"", text);
        var again = SchedulerConfig.Load(path);
        Assert.Equal(config with { OtherSettings = again.OtherSettings }, again);
    }

    [Fact]
    public void Load_AbsentKeys_HaveTheDefaultsOfTheClass()
    {
        var ddim = SchedulerConfig.FromJson(new JsonObject { ["_class_name"] = "DDIMScheduler" }, "test");
        var euler = SchedulerConfig.FromJson(new JsonObject { ["_class_name"] = "EulerDiscreteScheduler" }, "test");
        Assert.Equal((TimestepSpacing.Leading, true, true), (ddim.TimestepSpacing, ddim.ClipSample, ddim.SetAlphaToOne));
        Assert.Equal((TimestepSpacing.Linspace, false, false), (euler.TimestepSpacing, euler.ClipSample, euler.SetAlphaToOne));
    }

    [Fact]
    public void Load_SeveralFaults_ListsAllAndNamesTheFile()
    {
        using var folder = new TemporaryFolder();
        var path = folder.In("scheduler_config.json");
        File.WriteAllText(path, "{\"beta_schedule\": \"sigmoid\", \"prediction_type\": 3, \"beta_start\": 0.5}");
        var message = Assert.Throws<InvalidDataException>(() => SchedulerConfig.Load(path)).Message;
        Assert.All(new[] { path, "sigmoid", "scaled_linear", "prediction_type", "beta_start" }, part => Assert.Contains(part, message));
        Assert.Contains("expected a scheduler's configuration", Assert.Throws<FileNotFoundException>(() => SchedulerConfig.Load(folder.In("none.json"))).Message);
        File.WriteAllText(path, "[1");
        Assert.Contains(path, Assert.Throws<InvalidDataException>(() => SchedulerConfig.Load(path)).Message);
    }

    /// <summary>Upstream's key of each property, and values that are not its default, as the file writes them.</summary>
    private static readonly Dictionary<string, (string Key, (object Value, string Json)[] Values)> Keys = new()
    {
        [nameof(SchedulerConfig.ClassName)] = ("_class_name", [("HeunDiscreteScheduler", "\"HeunDiscreteScheduler\"")]),
        [nameof(SchedulerConfig.NumTrainTimesteps)] = ("num_train_timesteps", [(250, "250")]),
        [nameof(SchedulerConfig.BetaStart)] = ("beta_start", [(0.00085, "0.00085")]),
        [nameof(SchedulerConfig.BetaEnd)] = ("beta_end", [(0.012, "0.012")]),
        [nameof(SchedulerConfig.BetaSchedule)] = ("beta_schedule", [(BetaSchedule.ScaledLinear, "\"scaled_linear\""), (BetaSchedule.SquaredCosCapV2, "\"squaredcos_cap_v2\""), (BetaSchedule.Linear, "\"linear\"")]),
        [nameof(SchedulerConfig.TrainedBetas)] = ("trained_betas", [(Enumerable.Repeat(0.5, 1000).ToArray(), $"[{string.Join(",", Enumerable.Repeat("0.5", 1000))}]")]),
        [nameof(SchedulerConfig.PredictionType)] = ("prediction_type", [(PredictionType.VPrediction, "\"v_prediction\""), (PredictionType.Sample, "\"sample\""), (PredictionType.Epsilon, "\"epsilon\"")]),
        [nameof(SchedulerConfig.RescaleBetasZeroSnr)] = ("rescale_betas_zero_snr", [(true, "true")]),
        [nameof(SchedulerConfig.TimestepSpacing)] = ("timestep_spacing", [(TimestepSpacing.Linspace, "\"linspace\""), (TimestepSpacing.Trailing, "\"trailing\""), (TimestepSpacing.Leading, "\"leading\"")]),
        [nameof(SchedulerConfig.StepsOffset)] = ("steps_offset", [(1, "1")]),
        [nameof(SchedulerConfig.SetAlphaToOne)] = ("set_alpha_to_one", [(false, "false"), (true, "true")]),
        [nameof(SchedulerConfig.ClipSample)] = ("clip_sample", [(false, "false"), (true, "true")]),
        [nameof(SchedulerConfig.ClipSampleRange)] = ("clip_sample_range", [(2.5, "2.5")]),
        [nameof(SchedulerConfig.UseKarrasSigmas)] = ("use_karras_sigmas", [(true, "true")]),
        [nameof(SchedulerConfig.UseExponentialSigmas)] = ("use_exponential_sigmas", [(true, "true")]),
        [nameof(SchedulerConfig.FinalSigma)] = ("final_sigmas_type", [(FinalSigma.SigmaMin, "\"sigma_min\"")]),
        [nameof(SchedulerConfig.SolverOrder)] = ("solver_order", [(3, "3")]),
        [nameof(SchedulerConfig.SolverType)] = ("solver_type", [("heun", "\"heun\""), ("bh1", "\"bh1\""), ("bh2", "\"bh2\"")]),
        [nameof(SchedulerConfig.AlgorithmType)] = ("algorithm_type", [("sde-dpmsolver++", "\"sde-dpmsolver++\"")]),
        [nameof(SchedulerConfig.LowerOrderFinal)] = ("lower_order_final", [(false, "false")]),
        [nameof(SchedulerConfig.EulerAtFinal)] = ("euler_at_final", [(true, "true")]),
        [nameof(SchedulerConfig.DisableCorrector)] = ("disable_corrector", [(new[] { 0, 2 }, "[0,2]")]),
    };

    /// <summary>The keys of which upstream's classes have some; where they are not needed they are not written.</summary>
    private static readonly string[] OfSomeSamplers =
        ["use_karras_sigmas", "use_exponential_sigmas", "final_sigmas_type", "solver_order", "solver_type", "algorithm_type", "lower_order_final", "euler_at_final", "disable_corrector"];

    private static IEnumerable<PropertyInfo> Properties =>
        typeof(SchedulerConfig).GetProperties(BindingFlags.Public | BindingFlags.Instance).Where(static property => property.Name != nameof(SchedulerConfig.OtherSettings));

    [Fact]
    public void ToJson_EveryPropertyAlone_IsWrittenUnderUpstreamsKeyAndReadBack()
    {
        foreach (var property in Properties)
        {
            Assert.True(Keys.ContainsKey(property.Name), $"{property.Name} is a setting of the file; say here under which key and with what values");
            var (key, values) = Keys[property.Name];
            foreach (var (value, json) in values)
            {
                var config = With(property, value);
                var written = config.ToJson();
                Assert.Equal(
                    json,
                    written[key]!.ToJsonString(new JsonSerializerOptions { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping }));
                Assert.Equal(value, property.GetValue(SchedulerConfig.FromJson(written, "case")));
                Assert.Equal(value, property.GetValue(SchedulerConfig.FromJson((JsonObject)JsonNode.Parse($"{{\"{key}\": {json}}}")!, "case")));
            }
        }

        // Of the others nothing is written that some class of upstream's would not know.
        Assert.Equal(
            Keys.Values.Select(static entry => entry.Key).Except(OfSomeSamplers).Order(StringComparer.Ordinal),
            new SchedulerConfig().ToJson().Select(static pair => pair.Key).Order(StringComparer.Ordinal));
    }

    /// <summary>What a file did not say is not said in its name, unless it was changed since; what it said stays.</summary>
    [Fact]
    public void ToJson_OfAFile_KeepsItsKeysAndAddsOnlyWhatWasChanged()
    {
        var file = (JsonObject)JsonNode.Parse("""{"_class_name": "EulerDiscreteScheduler", "solver_order": 2, "beta_start": 0.0001, "thresholding": false}""")!;
        var config = SchedulerConfig.FromJson(file, "case");
        Assert.Equal(["_class_name", "beta_start", "solver_order", "thresholding"], config.ToJson().Select(static pair => pair.Key));

        foreach (var property in Properties.Where(static property => property.Name != nameof(SchedulerConfig.ClassName)))
        {
            var (key, values) = Keys[property.Name];
            var value = values.Select(static pair => pair.Value).First(value => !value.Equals(property.GetValue(config)));
            var changed = config with { };
            property.SetValue(changed, value);
            Assert.Equal(
                new[] { "_class_name", "beta_start", "solver_order", "thresholding", key }.Distinct().Order(StringComparer.Ordinal),
                changed.ToJson().Select(static pair => pair.Key));
        }
    }

    [Fact]
    public void Equals_SettingsOfAFileAndOfAProgram_IsByValue()
    {
        var (file, made) = (SchedulerConfig.FromJson(new JsonObject { ["_class_name"] = "DDIMScheduler" }, "case"), new SchedulerConfig());
        made = made with { OtherSettings = file.OtherSettings, DisableCorrector = file.DisableCorrector };
        Assert.Equal(made, file);
        Assert.Equal(made.GetHashCode(), file.GetHashCode());
    }

    [Theory]
    [InlineData("DDIMScheduler", TimestepSpacing.Leading, true, true, "midpoint")]
    [InlineData("DDPMScheduler", TimestepSpacing.Leading, false, true, "midpoint")]
    [InlineData("PNDMScheduler", TimestepSpacing.Leading, false, false, "midpoint")]
    [InlineData("EulerDiscreteScheduler", TimestepSpacing.Linspace, false, false, "midpoint")]
    [InlineData("EulerAncestralDiscreteScheduler", TimestepSpacing.Linspace, false, false, "midpoint")]
    [InlineData("DPMSolverMultistepScheduler", TimestepSpacing.Linspace, false, false, "midpoint")]
    [InlineData("HeunDiscreteScheduler", TimestepSpacing.Linspace, false, false, "midpoint")]
    [InlineData("LMSDiscreteScheduler", TimestepSpacing.Linspace, false, false, "midpoint")]
    [InlineData("UniPCMultistepScheduler", TimestepSpacing.Linspace, false, false, "bh2")]
    public void Load_OfEveryClass_HasItsDefaults(string name, TimestepSpacing spacing, bool alphaToOne, bool clips, string solver)
    {
        var config = SchedulerConfig.FromJson(new JsonObject { ["_class_name"] = name }, "case");
        Assert.Equal(
            (name, spacing, alphaToOne, clips, solver),
            (config.ClassName, config.TimestepSpacing, config.SetAlphaToOne, config.ClipSample, config.SolverType));
        Assert.Equal(
            (1000, 0.0001, 0.02, BetaSchedule.Linear, PredictionType.Epsilon, 0),
            (config.NumTrainTimesteps, config.BetaStart, config.BetaEnd, config.BetaSchedule, config.PredictionType, config.StepsOffset));
        Assert.Null(config.TrainedBetas);
        Assert.Equal(
            (1.0, FinalSigma.Zero, 2, "dpmsolver++", true, false),
            (config.ClipSampleRange, config.FinalSigma, config.SolverOrder, config.AlgorithmType, config.LowerOrderFinal, config.EulerAtFinal));
        Assert.Equal([name], config.ToJson().Select(static pair => pair.Value!.GetValue<string>()));
    }

    [Fact]
    public void StableDiffusion_Settings_AreUpstreams()
    {
        var config = SchedulerConfig.StableDiffusion;
        Assert.Equal(
            ("DDIMScheduler", 1000, 0.00085, 0.012, BetaSchedule.ScaledLinear),
            (config.ClassName, config.NumTrainTimesteps, config.BetaStart, config.BetaEnd, config.BetaSchedule));
        Assert.Equal(
            (false, false, 1, TimestepSpacing.Leading, PredictionType.Epsilon),
            (config.ClipSample, config.SetAlphaToOne, config.StepsOffset, config.TimestepSpacing, config.PredictionType));
    }

    /// <summary>Each bound, at it and beyond it.</summary>
    [Theory]
    [InlineData(nameof(SchedulerConfig.NumTrainTimesteps), 1, null)]
    [InlineData(nameof(SchedulerConfig.NumTrainTimesteps), 0, "num_train_timesteps: got 0, expected 1 to 100000")]
    [InlineData(nameof(SchedulerConfig.NumTrainTimesteps), 100_000, null)]
    [InlineData(nameof(SchedulerConfig.NumTrainTimesteps), 100_001, "num_train_timesteps: got 100001")]
    [InlineData(nameof(SchedulerConfig.BetaStart), 0.0, "beta_start, beta_end: got 0 and 0.02, expected 0 < start ≤ end < 1")]
    [InlineData(nameof(SchedulerConfig.BetaStart), 0.02, null)]
    [InlineData(nameof(SchedulerConfig.BetaStart), 0.021, "got 0.021 and 0.02")]
    [InlineData(nameof(SchedulerConfig.BetaStart), double.NaN, "beta_start")]
    [InlineData(nameof(SchedulerConfig.BetaEnd), 0.999, null)]
    [InlineData(nameof(SchedulerConfig.BetaEnd), 1.0, "got 0.0001 and 1")]
    [InlineData(nameof(SchedulerConfig.StepsOffset), 0, null)]
    [InlineData(nameof(SchedulerConfig.StepsOffset), -1, "steps_offset: got -1, expected 0 or more")]
    [InlineData(nameof(SchedulerConfig.ClipSampleRange), 1e-9, null)]
    [InlineData(nameof(SchedulerConfig.ClipSampleRange), 0.0, "clip_sample_range: got 0, expected more than 0")]
    [InlineData(nameof(SchedulerConfig.SolverOrder), 0, "solver_order: got 0, expected 1 to 3")]
    [InlineData(nameof(SchedulerConfig.SolverOrder), 1, null)]
    [InlineData(nameof(SchedulerConfig.SolverOrder), 3, null)]
    [InlineData(nameof(SchedulerConfig.SolverOrder), 4, "solver_order: got 4")]
    [InlineData(nameof(SchedulerConfig.SolverType), "midpoint", null)]
    [InlineData(nameof(SchedulerConfig.SolverType), "heun", null)]
    [InlineData(nameof(SchedulerConfig.SolverType), "bh1", null)]
    [InlineData(nameof(SchedulerConfig.SolverType), "bh2", null)]
    [InlineData(nameof(SchedulerConfig.SolverType), "", "solver_type: got , expected midpoint or heun, for UniPC bh1 or bh2")]
    [InlineData(nameof(SchedulerConfig.AlgorithmType), "dpmsolver++", null)]
    [InlineData(nameof(SchedulerConfig.AlgorithmType), "sde-dpmsolver++", null)]
    [InlineData(nameof(SchedulerConfig.AlgorithmType), "dpmsolver", "algorithm_type: got dpmsolver, expected dpmsolver++ or sde-dpmsolver++")]
    public void Validate_AtAndBeyondEveryBound_NamesWhatWasGot(string property, object value, string? expected)
    {
        var faults = With(typeof(SchedulerConfig).GetProperty(property)!, value).Validate();
        Assert.Equal(expected is null ? 0 : 1, faults.Count);
        Assert.Contains(expected ?? "", faults.FirstOrDefault() ?? "");
    }

    [Fact]
    public void Validate_GivenBetas_AreOneForEachTimestepAndVariances()
    {
        var config = new SchedulerConfig { NumTrainTimesteps = 2, BetaStart = 7 };
        Assert.Empty((config with { TrainedBetas = [1e-9, 1] }).Validate());
        Assert.Empty((config with { BetaSchedule = BetaSchedule.SquaredCosCapV2 }).Validate());
        Assert.Contains("trained_betas: got 1 values, expected one for each of the 2", Assert.Single((config with { TrainedBetas = [0.5] }).Validate()));
        Assert.Contains("trained_betas: got a value outside (0, 1]", Assert.Single((config with { TrainedBetas = [0.5, 0] }).Validate()));
        Assert.Contains("outside (0, 1]", Assert.Single((config with { TrainedBetas = [1.01, 0.5] }).Validate()));
        Assert.Contains("got both", Assert.Single(new SchedulerConfig { UseKarrasSigmas = true, UseExponentialSigmas = true }.Validate()));
    }

    [Fact]
    public void With_Spacing_SetsThatOneAlone()
    {
        var karras = new SchedulerConfig { UseKarrasSigmas = true };
        Assert.Same(karras, karras.With(null));
        foreach (var spacing in Enum.GetValues<SigmaSpacing>())
        {
            var config = karras.With(spacing);
            Assert.Equal((spacing == SigmaSpacing.Karras, spacing == SigmaSpacing.Exponential), (config.UseKarrasSigmas, config.UseExponentialSigmas));
            Assert.Equal(spacing, config.SigmaSpacing);
        }
    }

    /// <summary>Settings of upstream's classes that have one value here: that one goes, any other is named with it.</summary>
    [Theory]
    [InlineData("thresholding", "false", "true")]
    [InlineData("use_beta_sigmas", "false", "true")]
    [InlineData("use_lu_lambdas", "false", "true")]
    [InlineData("use_flow_sigmas", "false", "true")]
    [InlineData("skip_prk_steps", "true", "false")]
    [InlineData("predict_x0", "true", "false")]
    [InlineData("interpolation_type", "\"linear\"", "\"log_linear\"")]
    [InlineData("timestep_type", "\"discrete\"", "\"continuous\"")]
    [InlineData("variance_type", "\"fixed_small\"", "\"learned\"")]
    [InlineData("solver_p", "null", "\"DPMSolver\"")]
    [InlineData("sigma_min", "null", "0.1")]
    [InlineData("sigma_max", "null", "14.5")]
    public void UnsupportedSettings_OfUpstreamsClasses_NameTheOneValueThereIs(string key, string value, string other)
    {
        Assert.Empty(Of(value).UnsupportedSettings());
        Assert.Empty(Of("null").UnsupportedSettings());
        Assert.StartsWith($"{key}: got {other}, expected {value}; name a sampler", Assert.Single(Of(other).UnsupportedSettings()));

        SchedulerConfig Of(string json) => SchedulerConfig.FromJson((JsonObject)JsonNode.Parse($"{{\"{key}\": {json}}}")!, "case");
    }

    [Theory]
    [InlineData("beta_schedule", "linear, scaled_linear, squaredcos_cap_v2")]
    [InlineData("prediction_type", "epsilon, v_prediction, sample")]
    [InlineData("timestep_spacing", "leading, linspace, trailing")]
    [InlineData("final_sigmas_type", "zero, sigma_min")]
    public void Load_UnknownName_ListsThoseThereAre(string key, string names) =>
        Assert.Contains(
            $"{key}: got sideways, expected {names}",
            Assert.Throws<InvalidDataException>(() => SchedulerConfig.FromJson(new JsonObject { [key] = "sideways" }, "case")).Message);

    private static SchedulerConfig With(PropertyInfo property, object value)
    {
        var config = new SchedulerConfig();
        property.SetValue(config, value);
        return config;
    }

    [Fact]
    public void BaseModelFolder_WhereNoneIsCopied_SaysWhereItWasLookedFor()
    {
        var beside = Path.Combine(AppContext.BaseDirectory, "Assets", "avatar-diffusion");
        if (File.Exists(Path.Combine(beside, "model_index.json")))
        {
            Assert.Equal(beside, BaseModel.Folder.TrimEnd(Path.DirectorySeparatorChar));
        }
        else
        {
            Assert.Contains(beside, Assert.Throws<DirectoryNotFoundException>(() => BaseModel.Folder).Message);
        }
    }
}
