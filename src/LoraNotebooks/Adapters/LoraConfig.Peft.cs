using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using LoraNotebooks.Adapters.Methods;
using LoraNotebooks.Formats;

namespace LoraNotebooks.Adapters;

/// <content>The same settings in PEFT's words: adapter_config.json.</content>
public sealed partial record LoraConfig
{
    private const string TypeKey = "peft_type";
    internal const string InitKey = "init_lora_weights";

    /// <summary>
    /// Fields that change what an adapter computes in a way that is not supported, unless they have one of these values.
    /// Any other unknown field is kept and written back.
    /// </summary>
    private static readonly Dictionary<string, string[]> Unsupported = new(StringComparer.Ordinal)
    {
        ["use_qalora"] = ["false", "null"],
        ["use_bdlora"] = ["false", "null"],
        ["layer_replication"] = ["null"],
        ["trainable_token_indices"] = ["null"],
        ["target_parameters"] = ["null", "[]"],
        ["alora_invocation_tokens"] = ["null"],
        ["arrow_config"] = ["null"],
        ["megatron_config"] = ["null"],
        ["velora_config"] = ["null"],
        ["monteclora_config"] = ["null"],
        ["kasa_config"] = ["null"],

        // The other ways of initialising also change the base's weights, which an adapter's file does not hold.
        [InitKey] = ["true", "false", "null", "\"gaussian\"", "\"eva\"", "\"orthogonal\""],
    };

    /// <summary>Reads an adapter_config.json.</summary>
    /// <param name="json">The object.</param>
    /// <exception cref="InvalidDataException">Fields have wrong values, or ask for what is not supported: all are named.</exception>
    public static LoraConfig FromPeftJson(JsonObject json)
    {
        ArgumentNullException.ThrowIfNull(json);

        // A value made in memory converts only to the type it was made from; a parsed one is a number of any kind.
        json = JsonNode.Parse(json.ToJsonString())!.AsObject();
        var fields = new PeftFields(json);
        fields.Faults.AddRange(
            from pair in Unsupported.Append(KeyValuePair.Create(TypeKey, AdapterMethod.All.Select(static method => $"\"{method.Dialect.PeftType}\"").ToArray()))
            where json.TryGetPropertyValue(pair.Key, out var value) && !pair.Value.Contains(PeftFields.Text(value))
            select $"{pair.Key}: got {PeftFields.Text(json[pair.Key])}, supported is {string.Join(" or ", pair.Value)}");

        var method = fields.Choice(TypeKey, AdapterMethod.Lora, [.. AdapterMethod.All.Select(static method => (method.Dialect.PeftType, method))]).With(fields);
        var config = new LoraConfig
        {
            Method = method,
            UseDora = fields.Flag("use_dora"),
            UseEffectiveConv2d = fields.Flag("use_effective_conv2d"),
            Rank = fields.Integer("r", 8),
            Alpha = fields.Number(method.AlphaKey, 8),
            TargetModules = fields.Selection("target_modules") ?? [],
            ExcludeModules = fields.Selection("exclude_modules"),
            Dropout = fields.Number("lora_dropout", 0),
            Bias = fields.Choice("bias", BiasTraining.None, ("none", BiasTraining.None), ("all", BiasTraining.All), ("lora_only", BiasTraining.LoraOnly)),
            UseLoraBias = fields.Flag("lora_bias"),
            RankPattern = fields.Patterns<int>("rank_pattern"),
            AlphaPattern = fields.Patterns<double>("alpha_pattern"),
            UseRsLora = fields.Flag("use_rslora"),
            FanInFanOut = fields.Flag("fan_in_fan_out"),
            Initialization = PeftFields.Text(json[InitKey]) == "\"gaussian\"" ? LoraInitialization.Gaussian : LoraInitialization.KaimingUniform,
            LayersToTransform = [.. fields.Numbers("layers_to_transform")],
            LayersPattern = fields.Texts("layers_pattern"),
            ModulesToSave = fields.Texts("modules_to_save"),
            Carried = fields.Rest(),
        };
        fields.Faults.AddRange(config.Validate());
        Faults.ThrowIfAny(fields.Faults, static faults => new InvalidDataException($"The adapter's configuration has {Faults.Text(faults, Listing.Most)}"));
        return config;
    }

    /// <summary>The settings that the weights of a file without configuration tell: r from their shapes, α beside them.</summary>
    /// <param name="state">The weights.</param>
    /// <exception cref="InvalidDataException">There are no low-rank updates, or ones whose rank or α cannot be: all are named.</exception>
    public static LoraConfig FromState(LoraState state)
    {
        ArgumentNullException.ThrowIfNull(state);
        var ranks = state.Ranks;
        if (ranks.Count == 0)
        {
            throw new InvalidDataException(
                $"The file has no LoRA weights; expected names that end in '{LoraState.DownPart}', found {string.Join(", ", state.Tensors.Keys.Take(3))}.");
        }

        var methods = ranks.Keys.ToDictionary(static path => path, path => AdapterMethod.Of(state, path), StringComparer.Ordinal);
        var alphas = ranks.ToDictionary(static pair => pair.Key, pair => state.Alphas.GetValueOrDefault(pair.Key, pair.Value), StringComparer.Ordinal);
        var (rank, alpha) = (MostFrequent(ranks.Values), MostFrequent(alphas.Values));
        var config = new LoraConfig
        {
            Method = methods.Values.GroupBy(static method => method)
                .OrderByDescending(static group => group.Count())
                .ThenBy(static group => AdapterMethod.All.ToList().IndexOf(group.Key))
                .First().Key,
            UseDora = state.Tensors.Keys.Any(static name => LoraNames.OwnerOf(name)?.Dialect == DoraLayer.Dialect),
            UseEffectiveConv2d = state.Tensors.Keys.Any(static name =>
                LoraNames.OwnerOf(name) is { Factor: var factor } && factor.Has(FactorFacts.IsCore) && !factor.Has(FactorFacts.IsNotPefts)),
            Rank = rank,
            Alpha = alpha,
            TargetModules = ModuleSelection.Names([.. ranks.Keys.Order(StringComparer.Ordinal)]),
            RankPattern = Exceptions(ranks, rank),
            AlphaPattern = Exceptions(alphas, alpha),
        };
        Faults.ThrowIfAny(config.Validate(), static faults => new InvalidDataException(
            $"The weights tell settings that cannot be, {Listing.Count(faults.Count, "fault")}:\n{Listing.Lines(faults)}\nDownload or save the file again."));
        return config;
    }

    /// <summary>These settings as an adapter_config.json that PEFT reads, <see cref="Carried"/> fields included.</summary>
    public JsonObject ToPeftJson()
    {
        var fields = new Dictionary<string, JsonNode?>(
            Carried.Select(static pair => KeyValuePair.Create(pair.Key, pair.Value?.DeepClone())), StringComparer.Ordinal)
        {
            [TypeKey] = Method.Dialect.PeftType,
            ["r"] = Rank,
            [Method.AlphaKey] = PeftFields.Number(Alpha),
            ["target_modules"] = PeftFields.Selection(TargetModules),
            ["exclude_modules"] = ExcludeModules is null ? null : PeftFields.Selection(ExcludeModules),
            ["rank_pattern"] = new JsonObject(RankPattern.Select(static pair => KeyValuePair.Create(pair.Key, (JsonNode?)pair.Value))),
            ["alpha_pattern"] = new JsonObject(AlphaPattern.Select(static pair => KeyValuePair.Create(pair.Key, PeftFields.Number(pair.Value)))),
            ["layers_to_transform"] = PeftFields.List(LayersToTransform),
            ["layers_pattern"] = PeftFields.List(LayersPattern),
            ["modules_to_save"] = PeftFields.List(ModulesToSave),
        };
        foreach (var (key, value) in Method.Fields(this))
        {
            fields[key] = value;
        }

        foreach (var (key, value) in Defaults())
        {
            fields.TryAdd(key, value);
        }

        return new JsonObject(fields.OrderBy(static pair => pair.Key, StringComparer.Ordinal));
    }

    /// <summary>What PEFT expects to find beside, for an adapter that is not of a file.</summary>
    private IEnumerable<(string Key, JsonNode? Value)> Defaults() =>
    [
        ("auto_mapping", null), ("base_model_name_or_path", null), (PeftFolder.InferenceKey, false), ("revision", null), ("task_type", null),
        .. Method.FieldsBeside(this),
    ];

    private static T MostFrequent<T>(IEnumerable<T> values) =>
        values.GroupBy(static value => value).OrderByDescending(static group => group.Count()).ThenBy(static group => group.Key).First().Key;

    /// <summary>One exact pattern for each module that differs from the rest.</summary>
    private static OrderedDictionary<string, T> Exceptions<T>(IReadOnlyDictionary<string, T> values, T usual)
        where T : struct => new(values
            .Where(pair => !pair.Value.Equals(usual))
            .OrderBy(static pair => pair.Key, StringComparer.Ordinal)
            .Select(static pair => KeyValuePair.Create($"^{Regex.Escape(pair.Key)}", pair.Value)));
}
