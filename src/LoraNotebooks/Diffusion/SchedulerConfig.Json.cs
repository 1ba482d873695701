using System.Text.Json.Nodes;

namespace LoraNotebooks.Diffusion;

/// <content>The file <c>scheduler_config.json</c>.</content>
public sealed partial record SchedulerConfig
{
    private static readonly Dictionary<BetaSchedule, string> BetaSchedules = new()
    {
        [BetaSchedule.Linear] = "linear",
        [BetaSchedule.ScaledLinear] = "scaled_linear",
        [BetaSchedule.SquaredCosCapV2] = "squaredcos_cap_v2",
    };

    private static readonly Dictionary<PredictionType, string> PredictionTypes = new()
    {
        [PredictionType.Epsilon] = "epsilon",
        [PredictionType.VPrediction] = "v_prediction",
        [PredictionType.Sample] = "sample",
    };

    private static readonly Dictionary<TimestepSpacing, string> Spacings = new()
    {
        [TimestepSpacing.Leading] = "leading",
        [TimestepSpacing.Linspace] = "linspace",
        [TimestepSpacing.Trailing] = "trailing",
    };

    private static readonly Dictionary<FinalSigma, string> FinalSigmas = new() { [FinalSigma.Zero] = "zero", [FinalSigma.SigmaMin] = "sigma_min" };

    /// <summary>Settings of upstream's classes that change the numbers and have only one value here.</summary>
    private static readonly Dictionary<string, JsonNode?> OnlyValues = new()
    {
        ["thresholding"] = false,
        ["use_beta_sigmas"] = false,
        ["use_lu_lambdas"] = false,
        ["use_flow_sigmas"] = false,
        ["skip_prk_steps"] = true,
        ["predict_x0"] = true,
        ["interpolation_type"] = "linear",
        ["timestep_type"] = "discrete",
        ["variance_type"] = "fixed_small",
        ["solver_p"] = null,
        ["sigma_min"] = null,
        ["sigma_max"] = null,
    };

    /// <summary>Reads a <c>scheduler_config.json</c>. An absent key has the default of upstream's class that the file names.</summary>
    /// <param name="path">The file.</param>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="InvalidDataException">The file is damaged or asks for what is not supported; all faults are listed.</exception>
    public static SchedulerConfig Load(string path) => File.Exists(path)
        ? FromJson(PythonJson.ReadObject(path), path)
        : throw new FileNotFoundException($"'{path}' does not exist: expected a scheduler's configuration as diffusers saves it.", path);

    /// <summary>Writes a <c>scheduler_config.json</c> that <see cref="Load"/> and diffusers read.</summary>
    /// <param name="path">The file; it is replaced whole or not at all.</param>
    public void Save(string path) => AtomicFile.WriteAllText(path, PythonJson.Write(ToJson()));

    /// <summary>Reads the object of a <c>scheduler_config.json</c>.</summary>
    /// <param name="json">The object.</param>
    /// <param name="source">What to call it in an error.</param>
    /// <exception cref="InvalidDataException">The object asks for what is not supported; all faults are listed.</exception>
    internal static SchedulerConfig FromJson(JsonObject json, string source)
    {
        var reader = new ConfigReader(json);
        var defaults = new SchedulerConfig();
        var name = reader.Value("_class_name", defaults.ClassName);
        var bySigma = !name.StartsWith("DDIM", StringComparison.Ordinal) && !name.StartsWith("DDPM", StringComparison.Ordinal) && !name.StartsWith("PNDM", StringComparison.Ordinal);
        var config = new SchedulerConfig
        {
            ClassName = name,
            NumTrainTimesteps = reader.Value("num_train_timesteps", defaults.NumTrainTimesteps),
            BetaStart = reader.Value("beta_start", defaults.BetaStart),
            BetaEnd = reader.Value("beta_end", defaults.BetaEnd),
            BetaSchedule = Choice(reader, "beta_schedule", BetaSchedules, defaults.BetaSchedule),
            TrainedBetas = reader.List<double>("trained_betas", []) is { Count: > 0 } trained ? trained : null,
            PredictionType = Choice(reader, "prediction_type", PredictionTypes, defaults.PredictionType),
            RescaleBetasZeroSnr = reader.Value("rescale_betas_zero_snr", defaults.RescaleBetasZeroSnr),
            TimestepSpacing = Choice(reader, "timestep_spacing", Spacings, bySigma ? TimestepSpacing.Linspace : TimestepSpacing.Leading),
            StepsOffset = reader.Value("steps_offset", defaults.StepsOffset),
            SetAlphaToOne = reader.Value("set_alpha_to_one", name.StartsWith("DDIM", StringComparison.Ordinal)),
            ClipSample = reader.Value("clip_sample", name.StartsWith("DD", StringComparison.Ordinal)),
            ClipSampleRange = reader.Value("clip_sample_range", defaults.ClipSampleRange),
            UseKarrasSigmas = reader.Value("use_karras_sigmas", defaults.UseKarrasSigmas),
            UseExponentialSigmas = reader.Value("use_exponential_sigmas", defaults.UseExponentialSigmas),
            FinalSigma = Choice(reader, "final_sigmas_type", FinalSigmas, defaults.FinalSigma),
            SolverOrder = reader.Value("solver_order", defaults.SolverOrder),
            SolverType = reader.Value("solver_type", name.StartsWith("UniPC", StringComparison.Ordinal) ? "bh2" : defaults.SolverType),
            AlgorithmType = reader.Value("algorithm_type", defaults.AlgorithmType),
            LowerOrderFinal = reader.Value("lower_order_final", defaults.LowerOrderFinal),
            EulerAtFinal = reader.Value("euler_at_final", defaults.EulerAtFinal),
            DisableCorrector = reader.List<int>("disable_corrector", []),
            OtherSettings = reader.Rest(),
            Origin = new(json.Select(static pair => pair.Key).ToHashSet(StringComparer.Ordinal)),
        };
        Faults.ThrowIfAnyIn(source, [.. reader.Faults, .. config.Validate()]);
        return config;
    }

    private FileOrigin Origin { get; init; } = new(null);

    /// <summary>
    /// The object of a <c>scheduler_config.json</c>. What a file lacked is left out as long as it is what that lack means, and so are the samplers'
    /// own settings where no file named them: upstream's classes have different keys.
    /// </summary>
    internal JsonObject ToJson()
    {
        var known = Known();
        var absent = FromJson(new JsonObject { ["_class_name"] = ClassName }, ClassName).Known();
        foreach (var key in known.Keys.Where(key => JsonNode.DeepEquals(known[key], absent[key]) && (Origin.Keys is { } ofFile ? !ofFile.Contains(key) : SamplerKeys.Contains(key))).ToList())
        {
            known.Remove(key);
        }

        return ConfigWriter.Join(OtherSettings, known);
    }

    /// <summary>The settings that only some samplers have.</summary>
    private static readonly HashSet<string> SamplerKeys = new(StringComparer.Ordinal)
    {
        "use_karras_sigmas", "use_exponential_sigmas", "final_sigmas_type", "solver_order", "solver_type", "algorithm_type", "lower_order_final", "euler_at_final", "disable_corrector",
    };

    private Dictionary<string, JsonNode?> Known() => new()
    {
        ["_class_name"] = ClassName,
        ["num_train_timesteps"] = NumTrainTimesteps,
        ["beta_start"] = PythonJson.Float(BetaStart),
        ["beta_end"] = PythonJson.Float(BetaEnd),
        ["beta_schedule"] = BetaSchedules[BetaSchedule],
        ["trained_betas"] = TrainedBetas is null ? null : ConfigWriter.Node(TrainedBetas),
        ["prediction_type"] = PredictionTypes[PredictionType],
        ["rescale_betas_zero_snr"] = RescaleBetasZeroSnr,
        ["timestep_spacing"] = Spacings[TimestepSpacing],
        ["steps_offset"] = StepsOffset,
        ["set_alpha_to_one"] = SetAlphaToOne,
        ["clip_sample"] = ClipSample,
        ["clip_sample_range"] = PythonJson.Float(ClipSampleRange),
        ["use_karras_sigmas"] = UseKarrasSigmas,
        ["use_exponential_sigmas"] = UseExponentialSigmas,
        ["final_sigmas_type"] = FinalSigmas[FinalSigma],
        ["solver_order"] = SolverOrder,
        ["solver_type"] = SolverType,
        ["algorithm_type"] = AlgorithmType,
        ["lower_order_final"] = LowerOrderFinal,
        ["euler_at_final"] = EulerAtFinal,
        ["disable_corrector"] = ConfigWriter.Node(DisableCorrector),
    };

    /// <summary>Every carried setting that asks the configuration's own sampler for what it does not do.</summary>
    internal IReadOnlyList<string> UnsupportedSettings() =>
    [
        .. OtherSettings.Where(static pair => pair.Value is not null && OnlyValues.TryGetValue(pair.Key, out var value) && !JsonNode.DeepEquals(value, pair.Value))
            .Select(static pair => $"{pair.Key}: got {pair.Value!.ToJsonString()}, expected {OnlyValues[pair.Key]?.ToJsonString() ?? "null"}; name a sampler for the run to go without it."),
    ];

    private static T Choice<T>(ConfigReader reader, string key, Dictionary<T, string> names, T defaultValue)
        where T : struct, Enum
    {
        var text = reader.Value(key, names[defaultValue]);
        foreach (var (value, name) in names)
        {
            if (name == text)
            {
                return value;
            }
        }

        reader.Faults.Add($"{key}: got {text}, expected {string.Join(", ", names.Values)}");
        return defaultValue;
    }

    /// <summary>The keys that the file of these settings had, or null if a program made them. Settings are equal wherever they come from, so all origins are, too.</summary>
    private sealed record FileOrigin(HashSet<string>? Keys)
    {
        public bool Equals(FileOrigin? other) => true;

        public override int GetHashCode() => 0;
    }
}
