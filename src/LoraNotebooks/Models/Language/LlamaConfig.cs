using System.Text.Json.Nodes;

namespace LoraNotebooks.Models.Language;

/// <summary>The architecture of a <see cref="LlamaForCausalLM"/>: the <c>config.json</c> of its folder. Defaults are upstream's, those of Llama 7B.</summary>
/// <remarks>Source: transformers, models/llama/configuration_llama.py.</remarks>
public sealed record LlamaConfig : RotaryDecoderConfig
{
    internal const string Type = "llama";

    /// <summary>What stands in the file.</summary>
    private static readonly ConfigKeys<LlamaConfig> Keys = new ConfigKeys<LlamaConfig>(c => c.Extra, (c, rest) => c with { Extra = rest })
        .Written("architectures", _ => new JsonArray(nameof(LlamaForCausalLM)))
        .Including(Common)
        .Value("attention_bias", c => c.AttentionBias, (c, has) => c with { AttentionBias = has })
        .Value("mlp_bias", c => c.MlpBias, (c, has) => c with { MlpBias = has });

    /// <summary>The defaults.</summary>
    public LlamaConfig()
    {
        VocabSize = 32000;
        HiddenSize = 4096;
        IntermediateSize = 11008;
        NumHiddenLayers = 32;
        NumAttentionHeads = 32;
        MaxPositionEmbeddings = 2048;
    }

    /// <summary>Whether attention's four projections have a bias, default no.</summary>
    public bool AttentionBias { get; init; }

    /// <summary>Whether the feed-forward layers have a bias, default no.</summary>
    public bool MlpBias { get; init; }

    internal override string ModelType => Type;

    internal override bool HasQueryKeyValueBias => AttentionBias;

    internal override bool HasOutputBias => AttentionBias;

    internal override bool HasMlpBias => MlpBias;

    /// <summary>Reads a config.json.</summary>
    /// <param name="path">The file.</param>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="InvalidDataException">The file asks for what this class does not build, or is damaged; all faults are listed.</exception>
    public static LlamaConfig Load(string path) => Keys.Read(ConfigReader.ReadObject(path), new LlamaConfig(), path, static config => config.Validate());

    /// <inheritdoc/>
    public override JsonObject ToJson() => Keys.ToJson(this);

    private protected override Faults CheckKeys() => Keys.Validate(this);
}
