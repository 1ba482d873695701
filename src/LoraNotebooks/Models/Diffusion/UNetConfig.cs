using System.Text.Json.Nodes;

namespace LoraNotebooks.Models.Diffusion;

/// <summary>
/// The architecture of a <see cref="UNet2DConditionModel"/>: the <c>config.json</c> of a diffusers <c>unet</c> folder.
/// Property names are upstream's in Pascal case and the defaults are upstream's; keys that mean nothing here are kept and saved again.
/// </summary>
/// <remarks>Source: diffusers, models/unets/unet_2d_condition.py.</remarks>
public sealed record UNetConfig
{
    internal const string ClassName = "UNet2DConditionModel";

    private const string CrossAttnDownBlock = "CrossAttnDownBlock2D";
    private const string DownBlock = "DownBlock2D";
    private const string CrossAttnUpBlock = "CrossAttnUpBlock2D";
    private const string UpBlock = "UpBlock2D";
    private const string TextTime = "text_time";

    /// <summary>Keys whose value must be one of these, as another one would mean a network that this class does not build.</summary>
    private static readonly FixedKeys Fixed = new(new()
    {
        ["_class_name"] = [ClassName],
        ["act_fn"] = ["silu", "swish"],
        ["attention_type"] = ["default"],
        ["center_input_sample"] = [false],
        ["class_embed_type"] = [null],
        ["class_embeddings_concat"] = [false],
        ["conv_in_kernel"] = [3],
        ["conv_out_kernel"] = [3],
        ["cross_attention_norm"] = [null],
        ["dual_cross_attention"] = [false],
        ["encoder_hid_dim"] = [null],
        ["encoder_hid_dim_type"] = [null],
        ["mid_block_only_cross_attention"] = [null, false],
        ["mid_block_scale_factor"] = [1],
        ["mid_block_type"] = ["UNetMidBlock2DCrossAttn"],
        ["num_attention_heads"] = [null],
        ["num_class_embeds"] = [null],
        ["resnet_out_scale_factor"] = [1],
        ["resnet_skip_time_act"] = [false],
        ["resnet_time_scale_shift"] = ["default"],
        ["reverse_transformer_layers_per_block"] = [null],
        ["time_cond_proj_dim"] = [null],
        ["time_embedding_act_fn"] = [null],
        ["time_embedding_dim"] = [null],
        ["time_embedding_type"] = ["positional"],
        ["timestep_post_act"] = [null],
    });

    /// <summary>The height and width of the latents that the model was trained on; informative. Default: not known.</summary>
    public int? SampleSize { get; init; }

    /// <summary>The number of channels of the noisy latents, default 4.</summary>
    public int InChannels { get; init; } = 4;

    /// <summary>The number of channels of the prediction, default 4.</summary>
    public int OutChannels { get; init; } = 4;

    /// <summary>Whether the cosines come before the sines in the timestep features, default true.</summary>
    public bool FlipSinToCos { get; init; } = true;

    /// <summary>The shift in the exponent of the timestep features' frequencies, default 0.</summary>
    public double FreqShift { get; init; }

    /// <summary>The levels of the contracting path, from the highest resolution down: CrossAttnDownBlock2D or DownBlock2D.</summary>
    public IReadOnlyList<string> DownBlockTypes { get; init; } = [CrossAttnDownBlock, CrossAttnDownBlock, CrossAttnDownBlock, DownBlock];

    /// <summary>The levels of the expanding path, from the lowest resolution up: UpBlock2D or CrossAttnUpBlock2D.</summary>
    public IReadOnlyList<string> UpBlockTypes { get; init; } = [UpBlock, CrossAttnUpBlock, CrossAttnUpBlock, CrossAttnUpBlock];

    /// <summary>Whether the first attention of each transformer block looks at the text, too; default false.</summary>
    public PerBlock<bool> OnlyCrossAttention { get; init; } = false;

    /// <summary>The number of channels of each level, default 320, 640, 1280, 1280.</summary>
    public IReadOnlyList<int> BlockOutChannels { get; init; } = [320, 640, 1280, 1280];

    /// <summary>The number of residual blocks per level of the contracting path, default 2; the expanding path has one more.</summary>
    public PerBlock<int> LayersPerBlock { get; init; } = 2;

    /// <summary>The padding of the downsampling convolutions: 1 all around, 0 at the right and the bottom only. Default 1.</summary>
    public int DownsamplePadding { get; init; } = 1;

    /// <summary>The dropout rate, default 0.</summary>
    public double Dropout { get; init; }

    /// <summary>The number of groups of the group norms, default 32; it divides every number of channels.</summary>
    public int NormNumGroups { get; init; } = 32;

    /// <summary>ε of the group norms, default 1e-5.</summary>
    public double NormEps { get; init; } = 1e-5;

    /// <summary>The size of the text's hidden states, default 1280.</summary>
    public PerBlock<int> CrossAttentionDim { get; init; } = 1280;

    /// <summary>The number of transformer blocks per transformer, default 1.</summary>
    public PerBlock<int> TransformerLayersPerBlock { get; init; } = 1;

    /// <summary>
    /// The <b>number</b> of attention heads, default 8. Upstream's key says dimension for history's sake: SD 1.x means 8 heads by 8,
    /// SD 2.x means 5, 10, 20, 20 heads by the list.
    /// </summary>
    public PerBlock<int> AttentionHeadDim { get; init; } = 8;

    /// <summary>Whether the transformers' in- and out-projections are linear layers (SD 2.x) rather than 1×1 convolutions; default false.</summary>
    public bool UseLinearProjection { get; init; }

    /// <summary>Whether attention is computed in float32 whatever the weights' type; default false.</summary>
    public bool UpcastAttention { get; init; }

    /// <summary>text_time in SDXL: pooled text and the picture's sizes are added to the timestep's embedding. Default nothing is.</summary>
    public string? AdditionEmbedType { get; init; }

    /// <summary>The number of sinusoidal features of each of the six sizes; needed with <see cref="AdditionEmbedType"/>, 256 in SDXL.</summary>
    public int? AdditionTimeEmbedDim { get; init; }

    /// <summary>The size of pooled text and the features of all sizes together; needed with <see cref="AdditionEmbedType"/>, 2816 in SDXL.</summary>
    public int? ProjectionClassEmbeddingsInputDim { get; init; }

    /// <summary>Whether pooled text and sizes are added to the timestep's embedding, as in SDXL.</summary>
    public bool HasAddedConditions => AdditionEmbedType == TextTime;

    /// <summary>The size of the pooled text where <see cref="HasAddedConditions"/>, else 0.</summary>
    public int TextEmbedsDim => HasAddedConditions ? (ProjectionClassEmbeddingsInputDim ?? 0) - SizeConditions.Count * (AdditionTimeEmbedDim ?? 0) : 0;

    /// <summary>The keys of the file that have no property here; they are saved as they were.</summary>
    public IReadOnlyDictionary<string, JsonNode?> Extra { get; init; } = new Dictionary<string, JsonNode?>();

    /// <summary>Reads a config.json.</summary>
    /// <param name="path">The file.</param>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="InvalidDataException">The file asks for what this class does not build, or is damaged; all faults are listed.</exception>
    public static UNetConfig Load(string path)
    {
        var reader = new ConfigReader(ConfigReader.ReadObject(path));
        var defaults = new UNetConfig();
        var config = new UNetConfig
        {
            SampleSize = reader.Optional<int>("sample_size"),
            InChannels = reader.Value("in_channels", defaults.InChannels),
            OutChannels = reader.Value("out_channels", defaults.OutChannels),
            FlipSinToCos = reader.Value("flip_sin_to_cos", defaults.FlipSinToCos),
            FreqShift = reader.Value("freq_shift", defaults.FreqShift),
            DownBlockTypes = reader.List("down_block_types", defaults.DownBlockTypes),
            UpBlockTypes = reader.List("up_block_types", defaults.UpBlockTypes),
            OnlyCrossAttention = reader.PerBlock("only_cross_attention", defaults.OnlyCrossAttention),
            BlockOutChannels = reader.List("block_out_channels", defaults.BlockOutChannels),
            LayersPerBlock = reader.PerBlock("layers_per_block", defaults.LayersPerBlock),
            DownsamplePadding = reader.Value("downsample_padding", defaults.DownsamplePadding),
            Dropout = reader.Value("dropout", defaults.Dropout),
            NormNumGroups = reader.Value("norm_num_groups", defaults.NormNumGroups),
            NormEps = reader.Value("norm_eps", defaults.NormEps),
            CrossAttentionDim = reader.PerBlock("cross_attention_dim", defaults.CrossAttentionDim),
            TransformerLayersPerBlock = reader.PerBlock("transformer_layers_per_block", defaults.TransformerLayersPerBlock),
            AttentionHeadDim = reader.PerBlock("attention_head_dim", defaults.AttentionHeadDim),
            UseLinearProjection = reader.Value("use_linear_projection", defaults.UseLinearProjection),
            UpcastAttention = reader.Value("upcast_attention", defaults.UpcastAttention),
            AdditionEmbedType = reader.OptionalText("addition_embed_type"),
            AdditionTimeEmbedDim = reader.Optional<int>("addition_time_embed_dim"),
            ProjectionClassEmbeddingsInputDim = reader.Optional<int>("projection_class_embeddings_input_dim"),
            Extra = reader.Rest(),
        };
        Faults.ThrowIfAnyIn(path, [.. reader.Faults, .. config.Validate()]);
        return config;
    }

    /// <summary>The config.json of this architecture.</summary>
    public JsonObject ToJson() => ConfigWriter.Join(Extra, new Dictionary<string, JsonNode?>
    {
        ["_class_name"] = ClassName,
        ["sample_size"] = SampleSize,
        ["in_channels"] = InChannels,
        ["out_channels"] = OutChannels,
        ["flip_sin_to_cos"] = FlipSinToCos,
        ["freq_shift"] = FreqShift,
        ["down_block_types"] = ConfigWriter.Node(DownBlockTypes),
        ["up_block_types"] = ConfigWriter.Node(UpBlockTypes),
        ["only_cross_attention"] = PerBlockJson.Node(OnlyCrossAttention),
        ["block_out_channels"] = ConfigWriter.Node(BlockOutChannels),
        ["layers_per_block"] = PerBlockJson.Node(LayersPerBlock),
        ["downsample_padding"] = DownsamplePadding,
        ["dropout"] = PythonJson.Float(Dropout),
        ["norm_num_groups"] = NormNumGroups,
        ["norm_eps"] = PythonJson.Float(NormEps),
        ["cross_attention_dim"] = PerBlockJson.Node(CrossAttentionDim),
        ["transformer_layers_per_block"] = PerBlockJson.Node(TransformerLayersPerBlock),
        ["attention_head_dim"] = PerBlockJson.Node(AttentionHeadDim),
        ["use_linear_projection"] = UseLinearProjection,
        ["upcast_attention"] = UpcastAttention,
        ["addition_embed_type"] = AdditionEmbedType,
        ["addition_time_embed_dim"] = AdditionTimeEmbedDim,
        ["projection_class_embeddings_input_dim"] = ProjectionClassEmbeddingsInputDim,
    });

    /// <summary>Everything that is wrong or not supported: what was got, what is expected, what to do. Empty if all is well.</summary>
    public IReadOnlyList<string> Validate()
    {
        var faults = new Faults();
        faults.AddRange(Fixed.Faults(Extra));
        faults.Positive("in_channels", InChannels);
        faults.Positive("out_channels", OutChannels);
        faults.Positive("norm_num_groups", NormNumGroups);
        faults.Require(NormEps > 0, $"norm_eps: got {NormEps}, expected a number above 0");
        faults.Require(Dropout is >= 0 and < 1, $"dropout: got {Dropout}, expected a rate of at least 0 and below 1");
        faults.Require(DownsamplePadding is 0 or 1, $"downsample_padding: got {DownsamplePadding}, expected 0 or 1");
        faults.Require(BlockOutChannels.Count > 0, "block_out_channels: got an empty list, expected one number of channels per level");
        faults.Require(
            BlockOutChannels.All(channels => channels > 0 && (NormNumGroups <= 0 || channels % NormNumGroups == 0)),
            $"block_out_channels: got [{string.Join(", ", BlockOutChannels)}], expected positive multiples of norm_num_groups ({NormNumGroups})");

        var levels = BlockOutChannels.Count;
        faults.Levels("down_block_types", DownBlockTypes, levels, [CrossAttnDownBlock, DownBlock]);
        faults.Levels("up_block_types", UpBlockTypes, levels, [CrossAttnUpBlock, UpBlock]);
        faults.Levels("only_cross_attention", OnlyCrossAttention, levels, _ => true, "true or false");
        faults.Levels("layers_per_block", LayersPerBlock, levels, value => value > 0, "a positive whole number");
        faults.Levels("cross_attention_dim", CrossAttentionDim, levels, value => value > 0, "a positive whole number");
        faults.Levels("transformer_layers_per_block", TransformerLayersPerBlock, levels, value => value > 0, "a positive whole number");
        faults.Levels("attention_head_dim", AttentionHeadDim, levels, value => value > 0, "a positive number of heads");
        faults.Require(AdditionEmbedType is null or TextTime, $"addition_embed_type: got {AdditionEmbedType}, supported is null or {TextTime}");
        faults.Require(
            !HasAddedConditions || (AdditionTimeEmbedDim is > 0 && TextEmbedsDim > 0),
            $"projection_class_embeddings_input_dim: got {ProjectionClassEmbeddingsInputDim?.ToString() ?? "null"} with addition_time_embed_dim {AdditionTimeEmbedDim?.ToString() ?? "null"}, expected the size of the pooled text plus {SizeConditions.Count} times that of a size's features");
        faults.Require(
            BlockOutChannels.Zip(AttentionHeadDim.IsUniform ? Enumerable.Repeat(AttentionHeadDim[0], levels) : AttentionHeadDim).All(static level => level.Second <= level.First),
            $"attention_head_dim: got {AttentionHeadDim} heads, expected at most the channels of each level, [{string.Join(", ", BlockOutChannels)}]");
        return faults;
    }

    /// <summary>Throws if <see cref="Validate"/> finds faults.</summary>
    /// <exception cref="ArgumentException">Something is wrong; the message lists everything.</exception>
    public void ThrowIfInvalid() => Faults.ThrowIfAny(Validate());

    /// <summary>The transformers of a level of the contracting path (level 0 is the highest resolution), or null where it has none.</summary>
    internal TransformerOptions? DownTransformer(int level) => DownBlockTypes[level] == CrossAttnDownBlock ? Transformer(level) : null;

    /// <summary>The transformers of a level of the expanding path, counted like the contracting path's, or null where it has none.</summary>
    internal TransformerOptions? UpTransformer(int level) =>
        UpBlockTypes[BlockOutChannels.Count - 1 - level] == CrossAttnUpBlock ? Transformer(level) : null;

    /// <summary>The transformer of the bottom: like the lowest level's, and its first attention is always self-attention.</summary>
    internal TransformerOptions MidTransformer() => Transformer(BlockOutChannels.Count - 1) with { OnlyCrossAttention = false };

    private TransformerOptions Transformer(int level) => new(
        TransformerLayersPerBlock[level],
        AttentionHeadDim[level],
        CrossAttentionDim[level],
        NormNumGroups,
        UseLinearProjection,
        OnlyCrossAttention[level],
        UpcastAttention,
        Dropout);
}
