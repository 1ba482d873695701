using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using LoraNotebooks.Formats;

namespace LoraNotebooks.Adapters;

/// <content>The same settings in PEFT's words: adapter_config.json.</content>
public sealed partial record LoraConfig
{
    private const string InitKey = "init_lora_weights";

    /// <summary>
    /// Fields that change what an adapter computes in a way that is not supported, unless they have one of these values.
    /// Any other unknown field is kept and written back.
    /// </summary>
    private static readonly Dictionary<string, string[]> Unsupported = new(StringComparer.Ordinal)
    {
        ["peft_type"] = ["\"LORA\""],
        ["use_dora"] = ["false", "null"],
        ["use_qalora"] = ["false", "null"],
        ["use_bdlora"] = ["false", "null"],
        ["fan_in_fan_out"] = ["false", "null"],
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
            from pair in Unsupported
            where json.TryGetPropertyValue(pair.Key, out var value) && !pair.Value.Contains(PeftFields.Text(value))
            select $"{pair.Key}: got {PeftFields.Text(json[pair.Key])}, supported is {string.Join(" or ", pair.Value)}");

        var config = new LoraConfig
        {
            Rank = fields.Integer("r", 8),
            Alpha = fields.Number("lora_alpha", 8),
            TargetModules = fields.Selection("target_modules") ?? [],
            ExcludeModules = fields.Selection("exclude_modules"),
            Dropout = fields.Number("lora_dropout", 0),
            Bias = fields.Choice("bias", BiasTraining.None, ("none", BiasTraining.None), ("all", BiasTraining.All), ("lora_only", BiasTraining.LoraOnly)),
            UseLoraBias = fields.Flag("lora_bias"),
            RankPattern = fields.Patterns<int>("rank_pattern"),
            AlphaPattern = fields.Patterns<double>("alpha_pattern"),
            UseRsLora = fields.Flag("use_rslora"),
            Initialization = PeftFields.Text(json[InitKey]) == "\"gaussian\"" ? LoraInitialization.Gaussian : LoraInitialization.KaimingUniform,
            LayersToTransform = [.. fields.Numbers("layers_to_transform")],
            LayersPattern = fields.Texts("layers_pattern"),
            ModulesToSave = fields.Texts("modules_to_save"),
            Carried = fields.Rest(),
        };
        fields.Faults.AddRange(config.Validate());
        return fields.Faults.Count == 0
            ? config
            : throw new InvalidDataException($"The adapter's configuration has {fields.Faults.Count} unsupported or wrong value{(fields.Faults.Count == 1 ? "" : "s")}:\n- {string.Join("\n- ", fields.Faults)}");
    }

    /// <summary>The settings that the weights of a file without configuration tell: r from their shapes, α beside them.</summary>
    /// <param name="state">The weights.</param>
    public static LoraConfig FromState(LoraState state)
    {
        ArgumentNullException.ThrowIfNull(state);
        var ranks = state.Ranks;
        if (ranks.Count == 0)
        {
            throw new InvalidDataException($"The file has no LoRA weights; expected names that end in '{LoraState.DownPart}', found {string.Join(", ", state.Tensors.Keys.Take(3))}.");
        }

        var alphas = ranks.ToDictionary(static pair => pair.Key, pair => state.Alphas.GetValueOrDefault(pair.Key, pair.Value), StringComparer.Ordinal);
        var (rank, alpha) = (MostFrequent(ranks.Values), MostFrequent(alphas.Values));
        return new LoraConfig
        {
            Rank = rank,
            Alpha = alpha,
            TargetModules = ModuleSelection.Names([.. ranks.Keys.Order(StringComparer.Ordinal)]),
            RankPattern = Exceptions(ranks, rank),
            AlphaPattern = Exceptions(alphas, alpha),
        };
    }

    /// <summary>These settings as an adapter_config.json that PEFT reads, <see cref="Carried"/> fields included.</summary>
    public JsonObject ToPeftJson()
    {
        var fields = new Dictionary<string, JsonNode?>(StringComparer.Ordinal)
        {
            // What PEFT expects to find, for an adapter that is not of a file.
            ["auto_mapping"] = null,
            ["base_model_name_or_path"] = null,
            ["fan_in_fan_out"] = false,
            ["inference_mode"] = true,
            ["peft_type"] = "LORA",
            ["revision"] = null,
            ["task_type"] = null,
            ["use_dora"] = false,
            [InitKey] = Initialization == LoraInitialization.Gaussian ? "gaussian" : true,
        };
        foreach (var (key, value) in Carried)
        {
            fields[key] = value?.DeepClone();
        }

        fields["r"] = Rank;
        fields["lora_alpha"] = PeftFields.Number(Alpha);
        fields["target_modules"] = PeftFields.Selection(TargetModules);
        fields["exclude_modules"] = ExcludeModules is null ? null : PeftFields.Selection(ExcludeModules);
        fields["lora_dropout"] = PeftFields.Float(Dropout);
        fields["bias"] = Bias switch { BiasTraining.All => "all", BiasTraining.LoraOnly => "lora_only", _ => "none" };
        fields["lora_bias"] = UseLoraBias;
        fields["rank_pattern"] = new JsonObject(RankPattern.Select(static pair => KeyValuePair.Create(pair.Key, (JsonNode?)pair.Value)));
        fields["alpha_pattern"] = new JsonObject(AlphaPattern.Select(static pair => KeyValuePair.Create(pair.Key, PeftFields.Number(pair.Value))));
        fields["use_rslora"] = UseRsLora;
        fields["layers_to_transform"] = PeftFields.List(LayersToTransform);
        fields["layers_pattern"] = PeftFields.List(LayersPattern);
        fields["modules_to_save"] = PeftFields.List(ModulesToSave);
        return new JsonObject(fields.OrderBy(static pair => pair.Key, StringComparer.Ordinal));
    }

    private static T MostFrequent<T>(IEnumerable<T> values) =>
        values.GroupBy(static value => value).OrderByDescending(static group => group.Count()).ThenBy(static group => group.Key).First().Key;

    /// <summary>One exact pattern for each module that differs from the rest.</summary>
    private static OrderedDictionary<string, T> Exceptions<T>(IReadOnlyDictionary<string, T> values, T usual)
        where T : struct => new(values
            .Where(pair => !pair.Value.Equals(usual))
            .OrderBy(static pair => pair.Key, StringComparer.Ordinal)
            .Select(static pair => KeyValuePair.Create($"^{Regex.Escape(pair.Key)}", pair.Value)));
}
