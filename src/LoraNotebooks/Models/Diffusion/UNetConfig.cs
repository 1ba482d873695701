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

    /// <summary>What stands in the file. Where only some values are supported, another one would mean a network that this class does not build.</summary>
    private static readonly ConfigKeys<UNetConfig> Keys = new ConfigKeys<UNetConfig>(c => c.Extra, (c, rest) => c with { Extra = rest })
        .Written("_class_name", _ => ClassName)
        .Optional("sample_size", c => c.SampleSize, (c, size) => c with { SampleSize = size })
        .Value("in_channels", c => c.InChannels, (c, count) => c with { InChannels = count }, Check.Positive)
        .Value("out_channels", c => c.OutChannels, (c, count) => c with { OutChannels = count }, Check.Positive)
        .Value("flip_sin_to_cos", c => c.FlipSinToCos, (c, flips) => c with { FlipSinToCos = flips })
        // Written without a point, as upstream's default is.
        .Key(
            "freq_shift",
            c => c.FreqShift,
            (c, shift) => c with { FreqShift = shift },
            (reader, shift) => reader.Value("freq_shift", shift),
            shift => shift,
            null)
        .List("down_block_types", c => c.DownBlockTypes, (c, types) => c with { DownBlockTypes = types })
        .List("up_block_types", c => c.UpBlockTypes, (c, types) => c with { UpBlockTypes = types })
        .PerBlock("only_cross_attention", c => c.OnlyCrossAttention, (c, only) => c with { OnlyCrossAttention = only })
        .List("block_out_channels", c => c.BlockOutChannels, (c, counts) => c with { BlockOutChannels = counts },
            (faults, key, counts) => faults.Require(counts.Count > 0, $"{key}: got an empty list, expected one number of channels per level"))
        .PerBlock("layers_per_block", c => c.LayersPerBlock, (c, count) => c with { LayersPerBlock = count })
        .Value("downsample_padding", c => c.DownsamplePadding, (c, width) => c with { DownsamplePadding = width },
            (faults, key, width) => faults.Expect(width is 0 or 1, key, width, "0 or 1"))
        .Value("dropout", c => c.Dropout, (c, rate) => c with { Dropout = rate },
            (faults, key, rate) => faults.Expect(rate is >= 0 and < 1, key, rate, "a rate of at least 0 and below 1"))
        .Value("norm_num_groups", c => c.NormNumGroups, (c, count) => c with { NormNumGroups = count }, Check.Positive)
        .Value("norm_eps", c => c.NormEps, (c, epsilon) => c with { NormEps = epsilon }, Check.Positive)
        .PerBlock("cross_attention_dim", c => c.CrossAttentionDim, (c, size) => c with { CrossAttentionDim = size })
        .PerBlock("transformer_layers_per_block", c => c.TransformerLayersPerBlock, (c, count) => c with { TransformerLayersPerBlock = count })
        .PerBlock("attention_head_dim", c => c.AttentionHeadDim, (c, heads) => c with { AttentionHeadDim = heads })
        .Value("use_linear_projection", c => c.UseLinearProjection, (c, uses) => c with { UseLinearProjection = uses })
        .Value("upcast_attention", c => c.UpcastAttention, (c, upcasts) => c with { UpcastAttention = upcasts })
        .OptionalText("addition_embed_type", c => c.AdditionEmbedType, (c, type) => c with { AdditionEmbedType = type },
            (faults, key, type) => faults.Require(type is null or TextTime, $"{key}: got {type}, supported is null or {TextTime}"))
        .Optional("addition_time_embed_dim", c => c.AdditionTimeEmbedDim, (c, size) => c with { AdditionTimeEmbedDim = size })
        .Optional(
            "projection_class_embeddings_input_dim",
            c => c.ProjectionClassEmbeddingsInputDim,
            (c, size) => c with { ProjectionClassEmbeddingsInputDim = size })
        .Only("_class_name", ClassName)
        .Only("act_fn", "silu", "swish")
        .Only("attention_type", "default")
        .Only("center_input_sample", false)
        .Only("class_embed_type", [null])
        .Only("class_embeddings_concat", false)
        .Only("conv_in_kernel", 3)
        .Only("conv_out_kernel", 3)
        .Only("cross_attention_norm", [null])
        .Only("dual_cross_attention", false)
        .Only("encoder_hid_dim", [null])
        .Only("encoder_hid_dim_type", [null])
        .Only("mid_block_only_cross_attention", null, false)
        .Only("mid_block_scale_factor", 1)
        .Only("mid_block_type", "UNetMidBlock2DCrossAttn")
        .Only("num_attention_heads", [null])
        .Only("num_class_embeds", [null])
        .Only("resnet_out_scale_factor", 1)
        .Only("resnet_skip_time_act", false)
        .Only("resnet_time_scale_shift", "default")
        .Only("reverse_transformer_layers_per_block", [null])
        .Only("time_cond_proj_dim", [null])
        .Only("time_embedding_act_fn", [null])
        .Only("time_embedding_dim", [null])
        .Only("time_embedding_type", "positional")
        .Only("timestep_post_act", [null]);

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
    public static UNetConfig Load(string path) => Keys.Read(ConfigReader.ReadObject(path), new UNetConfig(), path, static config => config.Validate());

    /// <summary>The config.json of this architecture.</summary>
    public JsonObject ToJson() => Keys.ToJson(this);

    /// <summary>Everything that is wrong or not supported: what was got, what is expected, what to do. Empty if all is well.</summary>
    public IReadOnlyList<string> Validate()
    {
        var faults = Keys.Validate(this);
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
        faults.Require(
            !HasAddedConditions || (AdditionTimeEmbedDim is > 0 && TextEmbedsDim > 0),
            $"projection_class_embeddings_input_dim: got {ProjectionClassEmbeddingsInputDim?.ToString() ?? "null"} with addition_time_embed_dim "
                + $"{AdditionTimeEmbedDim?.ToString() ?? "null"}, expected the size of the pooled text plus {SizeConditions.Count} times that of a "
                + "size's features");
        faults.Require(
            BlockOutChannels
                .Zip(AttentionHeadDim.IsUniform ? Enumerable.Repeat(AttentionHeadDim[0], levels) : AttentionHeadDim)
                .All(static level => level.Second <= level.First),
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
