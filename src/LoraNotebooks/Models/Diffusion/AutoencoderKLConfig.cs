using System.Text.Json.Nodes;
using static TorchSharp.torch;

namespace LoraNotebooks.Models.Diffusion;

/// <summary>
/// The architecture of an <see cref="AutoencoderKL"/>: the <c>config.json</c> of a diffusers <c>vae</c> folder.
/// Property names are upstream's in Pascal case and the defaults are upstream's; keys that mean nothing here are kept and saved again.
/// </summary>
/// <remarks>Source: diffusers, models/autoencoders/autoencoder_kl.py.</remarks>
public sealed record AutoencoderKLConfig
{
    internal const string ClassName = "AutoencoderKL";

    private const string DownEncoderBlock = "DownEncoderBlock2D";
    private const string UpDecoderBlock = "UpDecoderBlock2D";

    /// <summary>What stands in the file.</summary>
    private static readonly ConfigKeys<AutoencoderKLConfig> Keys = new ConfigKeys<AutoencoderKLConfig>(c => c.Extra, (c, rest) => c with { Extra = rest })
        .Written("_class_name", _ => ClassName)
        .Value("in_channels", c => c.InChannels, (c, count) => c with { InChannels = count }, Check.Positive)
        .Value("out_channels", c => c.OutChannels, (c, count) => c with { OutChannels = count }, Check.Positive)
        .List("down_block_types", c => c.DownBlockTypes, (c, types) => c with { DownBlockTypes = types })
        .List("up_block_types", c => c.UpBlockTypes, (c, types) => c with { UpBlockTypes = types })
        .List("block_out_channels", c => c.BlockOutChannels, (c, counts) => c with { BlockOutChannels = counts },
            (faults, key, counts) => faults.Require(counts.Count > 0, $"{key}: got an empty list, expected one number of channels per level"))
        .Value("layers_per_block", c => c.LayersPerBlock, (c, count) => c with { LayersPerBlock = count }, Check.Positive)
        .Value("latent_channels", c => c.LatentChannels, (c, count) => c with { LatentChannels = count }, Check.Positive)
        .Value("norm_num_groups", c => c.NormNumGroups, (c, count) => c with { NormNumGroups = count }, Check.Positive)
        .Value("sample_size", c => c.SampleSize, (c, size) => c with { SampleSize = size })
        .Value("scaling_factor", c => c.ScalingFactor, (c, factor) => c with { ScalingFactor = factor }, Check.Positive)
        .Optional("shift_factor", c => c.ShiftFactor, (c, shift) => c with { ShiftFactor = shift })
        .Value("force_upcast", c => c.ForceUpcast, (c, upcasts) => c with { ForceUpcast = upcasts })
        .Value("use_quant_conv", c => c.UseQuantConv, (c, uses) => c with { UseQuantConv = uses })
        .Value("use_post_quant_conv", c => c.UsePostQuantConv, (c, uses) => c with { UsePostQuantConv = uses })
        .Value("mid_block_add_attention", c => c.MidBlockAddAttention, (c, adds) => c with { MidBlockAddAttention = adds })
        .Only("_class_name", ClassName)
        .Only("act_fn", "silu", "swish")
        .Only("latents_mean", [null])
        .Only("latents_std", [null]);

    /// <summary>The number of channels of the image, default 3.</summary>
    public int InChannels { get; init; } = 3;

    /// <summary>The number of channels of the reconstruction, default 3.</summary>
    public int OutChannels { get; init; } = 3;

    /// <summary>The levels of the encoder, one DownEncoderBlock2D per entry of <see cref="BlockOutChannels"/>.</summary>
    public IReadOnlyList<string> DownBlockTypes { get; init; } = [DownEncoderBlock];

    /// <summary>The levels of the decoder, one UpDecoderBlock2D per entry of <see cref="BlockOutChannels"/>.</summary>
    public IReadOnlyList<string> UpBlockTypes { get; init; } = [UpDecoderBlock];

    /// <summary>The number of channels of each level, default 64. L levels shrink the image 2^(L−1)-fold.</summary>
    public IReadOnlyList<int> BlockOutChannels { get; init; } = [64];

    /// <summary>The number of residual blocks per level of the encoder, default 1; the decoder has one more.</summary>
    public int LayersPerBlock { get; init; } = 1;

    /// <summary>The number of channels of the latents, default 4.</summary>
    public int LatentChannels { get; init; } = 4;

    /// <summary>The number of groups of the group norms, default 32; it divides every number of channels.</summary>
    public int NormNumGroups { get; init; } = 32;

    /// <summary>The height and width of the images that the model was trained on; informative. Default 32.</summary>
    public int SampleSize { get; init; } = 32;

    /// <summary>The factor that brings the latents to about unit variance for the diffusion model; default 0.18215.</summary>
    public double ScalingFactor { get; init; } = 0.18215;

    /// <summary>What is subtracted from the latents before scaling, default nothing.</summary>
    public double? ShiftFactor { get; init; }

    /// <summary>Whether the model overflows in float16, so that it is then loaded in float32. Default true.</summary>
    public bool ForceUpcast { get; init; } = true;

    /// <summary>Whether a 1×1 convolution follows the encoder, default true.</summary>
    public bool UseQuantConv { get; init; } = true;

    /// <summary>Whether a 1×1 convolution precedes the decoder, default true.</summary>
    public bool UsePostQuantConv { get; init; } = true;

    /// <summary>Whether encoder and decoder have an attention layer at their lowest resolution, default true.</summary>
    public bool MidBlockAddAttention { get; init; } = true;

    /// <summary>The keys of the file that have no property here; they are saved as they were.</summary>
    public IReadOnlyDictionary<string, JsonNode?> Extra { get; init; } = new Dictionary<string, JsonNode?>();

    /// <summary>The type in which the weights are loaded where others are loaded in some type: float32 for float16, if that would overflow.</summary>
    internal ScalarType TypeInMemory(ScalarType type) => ForceUpcast && type == ScalarType.Float16 ? ScalarType.Float32 : type;

    /// <summary>Reads a config.json.</summary>
    /// <param name="path">The file.</param>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="InvalidDataException">The file asks for what this class does not build, or is damaged; all faults are listed.</exception>
    public static AutoencoderKLConfig Load(string path) =>
        Keys.Read(ConfigReader.ReadObject(path), new AutoencoderKLConfig(), path, static config => config.Validate());

    /// <summary>The config.json of this architecture.</summary>
    public JsonObject ToJson() => Keys.ToJson(this);

    /// <summary>Everything that is wrong or not supported: what was got, what is expected, what to do. Empty if all is well.</summary>
    public IReadOnlyList<string> Validate()
    {
        var faults = Keys.Validate(this);
        faults.Require(
            BlockOutChannels.All(channels => channels > 0 && (NormNumGroups <= 0 || channels % NormNumGroups == 0)),
            $"block_out_channels: got [{string.Join(", ", BlockOutChannels)}], expected positive multiples of norm_num_groups ({NormNumGroups})");
        faults.Levels("down_block_types", DownBlockTypes, BlockOutChannels.Count, [DownEncoderBlock]);
        faults.Levels("up_block_types", UpBlockTypes, BlockOutChannels.Count, [UpDecoderBlock]);
        return faults;
    }

    /// <summary>Throws if <see cref="Validate"/> finds faults.</summary>
    /// <exception cref="ArgumentException">Something is wrong; the message lists everything.</exception>
    public void ThrowIfInvalid() => Faults.ThrowIfAny(Validate());
}
