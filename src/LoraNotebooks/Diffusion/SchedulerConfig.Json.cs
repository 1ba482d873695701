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

    /// <summary>The settings that only some samplers have.</summary>
    private static readonly ConfigKeys<SchedulerConfig> SamplerKeys = NewKeys()
        .Value("use_karras_sigmas", c => c.UseKarrasSigmas, (c, uses) => c with { UseKarrasSigmas = uses })
        .Value("use_exponential_sigmas", c => c.UseExponentialSigmas, (c, uses) => c with { UseExponentialSigmas = uses })
        .Choice("final_sigmas_type", c => c.FinalSigma, (c, sigma) => c with { FinalSigma = sigma }, FinalSigmas)
        .Value("solver_order", c => c.SolverOrder, (c, order) => c with { SolverOrder = order },
            (faults, key, order) => faults.Expect(order is >= 1 and <= 3, key, order, "1 to 3."))
        .Value("solver_type", c => c.SolverType, (c, type) => c with { SolverType = type },
            (faults, key, type) => faults.Expect(type is "midpoint" or "heun" or "bh1" or "bh2", key, type, "midpoint or heun, for UniPC bh1 or bh2."))
        .Value("algorithm_type", c => c.AlgorithmType, (c, type) => c with { AlgorithmType = type },
            (faults, key, type) => faults.Expect(type is "dpmsolver++" or "sde-dpmsolver++", key, type, "dpmsolver++ or sde-dpmsolver++."))
        .Value("lower_order_final", c => c.LowerOrderFinal, (c, ends) => c with { LowerOrderFinal = ends })
        .Value("euler_at_final", c => c.EulerAtFinal, (c, ends) => c with { EulerAtFinal = ends })
        .List("disable_corrector", c => c.DisableCorrector, (c, steps) => c with { DisableCorrector = steps });

    /// <summary>What stands in the file.</summary>
    private static readonly ConfigKeys<SchedulerConfig> Keys = NewKeys()
        .Value("_class_name", c => c.ClassName, (c, name) => c with { ClassName = name })
        .Value("num_train_timesteps", c => c.NumTrainTimesteps, (c, count) => c with { NumTrainTimesteps = count },
            (faults, key, count) => faults.Expect(count is >= 1 and <= MostTimesteps, key, count, $"1 to {MostTimesteps}; Stable Diffusion has 1000."))
        .Value("beta_start", c => c.BetaStart, (c, beta) => c with { BetaStart = beta })
        .Value("beta_end", c => c.BetaEnd, (c, beta) => c with { BetaEnd = beta })
        .Choice("beta_schedule", c => c.BetaSchedule, (c, schedule) => c with { BetaSchedule = schedule }, BetaSchedules)
        .Key(
            "trained_betas",
            c => c.TrainedBetas,
            (c, betas) => c with { TrainedBetas = betas },
            (reader, _) => reader.List<double>("trained_betas", []) is { Count: > 0 } betas ? betas : null,
            betas => betas is null ? null : ConfigWriter.Node(betas),
            (faults, key, betas) => faults.Require(
                betas is null || betas.All(beta => beta is > 0 and <= 1), $"{key}: got a value outside (0, 1]; each β is a variance."))
        .Choice("prediction_type", c => c.PredictionType, (c, type) => c with { PredictionType = type }, PredictionTypes)
        .Value("rescale_betas_zero_snr", c => c.RescaleBetasZeroSnr, (c, rescales) => c with { RescaleBetasZeroSnr = rescales })
        .Choice("timestep_spacing", c => c.TimestepSpacing, (c, spacing) => c with { TimestepSpacing = spacing }, Spacings)
        .Value("steps_offset", c => c.StepsOffset, (c, offset) => c with { StepsOffset = offset },
            (faults, key, offset) => faults.Expect(offset >= 0, key, offset, "0 or more; Stable Diffusion has 1."))
        .Value("set_alpha_to_one", c => c.SetAlphaToOne, (c, sets) => c with { SetAlphaToOne = sets })
        .Value("clip_sample", c => c.ClipSample, (c, clips) => c with { ClipSample = clips })
        .Value("clip_sample_range", c => c.ClipSampleRange, (c, range) => c with { ClipSampleRange = range },
            (faults, key, range) => faults.Expect(range > 0, key, range, "more than 0."))
        .Including(SamplerKeys);

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
        var name = json["_class_name"] is JsonValue value && value.TryGetValue<string>(out var given) ? given : new SchedulerConfig().ClassName;
        return Keys.Read(
            json,
            Defaults(name) with { Origin = new(json.Select(static pair => pair.Key).ToHashSet(StringComparer.Ordinal)) },
            source,
            static config => config.Validate());
    }

    /// <summary>The settings of upstream's class where its file says nothing.</summary>
    private static SchedulerConfig Defaults(string className)
    {
        var (isDdim, isDdpm, isPndm) = (Is("DDIM"), Is("DDPM"), Is("PNDM"));
        return new()
        {
            ClassName = className,
            TimestepSpacing = isDdim || isDdpm || isPndm ? TimestepSpacing.Leading : TimestepSpacing.Linspace,
            SetAlphaToOne = isDdim,
            ClipSample = Is("DD"),
            SolverType = Is("UniPC") ? "bh2" : "midpoint",
        };

        bool Is(string beginning) => className.StartsWith(beginning, StringComparison.Ordinal);
    }

    private FileOrigin Origin { get; init; } = new(null);

    /// <summary>
    /// The object of a <c>scheduler_config.json</c>. What a file lacked is left out as long as it is what that lack means, and so are the samplers'
    /// own settings where no file named them: upstream's classes have different keys.
    /// </summary>
    internal JsonObject ToJson()
    {
        var absent = Keys.Write(Defaults(ClassName)).ToDictionary();
        var ofSamplers = SamplerKeys.Write(this).Select(static pair => pair.Key).ToHashSet(StringComparer.Ordinal);
        return ConfigWriter.Join(
            OtherSettings,
            Keys.Write(this).Where(pair => !JsonNode.DeepEquals(pair.Value, absent[pair.Key])
                || (Origin.Keys is { } ofFile ? ofFile.Contains(pair.Key) : !ofSamplers.Contains(pair.Key))));
    }

    private static ConfigKeys<SchedulerConfig> NewKeys() => new(static c => c.OtherSettings, static (c, rest) => c with { OtherSettings = rest });

    /// <summary>Every carried setting that asks the configuration's own sampler for what it does not do.</summary>
    internal IReadOnlyList<string> UnsupportedSettings() =>
    [
        .. OtherSettings
            .Where(static pair => pair.Value is not null && OnlyValues.TryGetValue(pair.Key, out var value) && !JsonNode.DeepEquals(value, pair.Value))
            .Select(static pair => $"{pair.Key}: got {pair.Value!.ToJsonString()}, "
                + $"expected {OnlyValues[pair.Key]?.ToJsonString() ?? "null"}; name a sampler for the run to go without it."),
    ];

    /// <summary>
    /// The keys that the file of these settings had, or null if a program made them. Settings are equal wherever they come from, so all origins are, too.
    /// </summary>
    private sealed record FileOrigin(HashSet<string>? Keys)
    {
        public bool Equals(FileOrigin? other) => true;

        public override int GetHashCode() => 0;
    }
}
