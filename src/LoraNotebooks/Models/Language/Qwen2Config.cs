using System.Text.Json.Nodes;

namespace LoraNotebooks.Models.Language;

/// <summary>The architecture of a <see cref="Qwen2ForCausalLM"/>: the <c>config.json</c> of its folder. Defaults are upstream's.</summary>
/// <remarks>Source: transformers, models/qwen2/configuration_qwen2.py.</remarks>
public sealed record Qwen2Config : RotaryDecoderConfig
{
    internal const string Type = "qwen2";

    private const string Full = "full_attention";
    private const string Sliding = "sliding_attention";

    /// <summary>What stands in the file.</summary>
    private static readonly ConfigKeys<Qwen2Config> Keys = new ConfigKeys<Qwen2Config>(c => c.Extra, (c, rest) => c with { Extra = rest })
        .Written("architectures", _ => new JsonArray(nameof(Qwen2ForCausalLM)))
        .Including(Common)
        .Value("use_sliding_window", c => c.UseSlidingWindow, (c, uses) => c with { UseSlidingWindow = uses })
        .Optional("sliding_window", c => c.SlidingWindow, (c, length) => c with { SlidingWindow = length })
        .Value("max_window_layers", c => c.MaxWindowLayers, (c, count) => c with { MaxWindowLayers = count })
        .List("layer_types", c => c.LayerTypes, (c, types) => c with { LayerTypes = types }).WrittenWhere(c => c.LayerTypes.Count > 0);

    /// <summary>The defaults.</summary>
    public Qwen2Config()
    {
        VocabSize = 151936;
        HiddenSize = 4096;
        IntermediateSize = 22016;
        NumHiddenLayers = 32;
        NumAttentionHeads = 32;
        NumKeyValueHeads = 32;
        MaxPositionEmbeddings = 32768;
    }

    /// <summary>Whether some layers see only <see cref="SlidingWindow"/> tokens, default no.</summary>
    public bool UseSlidingWindow { get; init; }

    /// <summary>How many tokens, itself included, a token sees in those layers; default 4096. It counts where <see cref="UseSlidingWindow"/>.</summary>
    public int? SlidingWindow { get; init; } = 4096;

    /// <summary>The first layer with a window, where <see cref="LayerTypes"/> does not tell; default 28.</summary>
    public int MaxWindowLayers { get; init; } = 28;

    /// <summary>full_attention or sliding_attention for each layer; default empty, which leaves it to <see cref="MaxWindowLayers"/>.</summary>
    public IReadOnlyList<string> LayerTypes { get; init; } = [];

    internal override string ModelType => Type;

    internal override bool HasQueryKeyValueBias => true;

    internal override bool HasOutputBias => false;

    internal override bool HasMlpBias => false;

    internal override int? WindowOf(int layer) =>
        UseSlidingWindow && (LayerTypes.Count > 0 ? LayerTypes[layer] == Sliding : layer >= MaxWindowLayers) ? SlidingWindow : null;

    /// <summary>Reads a config.json.</summary>
    /// <param name="path">The file.</param>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="InvalidDataException">The file asks for what this class does not build, or is damaged; all faults are listed.</exception>
    public static Qwen2Config Load(string path) => Keys.Read(ConfigReader.ReadObject(path), new Qwen2Config(), path, static config => config.Validate());

    /// <inheritdoc/>
    public override JsonObject ToJson() => Keys.ToJson(this);

    /// <inheritdoc/>
    public override IReadOnlyList<string> Validate()
    {
        var faults = new Faults();
        faults.AddRange(base.Validate());
        faults.Require(
            !UseSlidingWindow || SlidingWindow is > 0,
            $"sliding_window: got {SlidingWindow?.ToString() ?? "null"} with use_sliding_window, expected a positive whole number");
        faults.Require(
            LayerTypes.Count == 0 || LayerTypes.Count == NumHiddenLayers,
            $"layer_types: got {LayerTypes.Count} entries, expected {NumHiddenLayers}, one per layer, or none");
        var unknown = LayerTypes.Where(static type => type is not (Full or Sliding)).Distinct().ToList();
        faults.Require(unknown.Count == 0, $"layer_types: got {string.Join(", ", unknown)}, expected only {Full} or {Sliding}");
        return faults;
    }

    private protected override Faults CheckKeys() => Keys.Validate(this);
}
