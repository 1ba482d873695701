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

    private static readonly FixedKeys Fixed = new(new()
    {
        ["_class_name"] = [ClassName],
        ["act_fn"] = ["silu", "swish"],
        ["latents_mean"] = [null],
        ["latents_std"] = [null],
    });

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
    public static AutoencoderKLConfig Load(string path)
    {
        var reader = new ConfigReader(ConfigReader.ReadObject(path));
        var defaults = new AutoencoderKLConfig();
        var config = new AutoencoderKLConfig
        {
            InChannels = reader.Value("in_channels", defaults.InChannels),
            OutChannels = reader.Value("out_channels", defaults.OutChannels),
            DownBlockTypes = reader.List("down_block_types", defaults.DownBlockTypes),
            UpBlockTypes = reader.List("up_block_types", defaults.UpBlockTypes),
            BlockOutChannels = reader.List("block_out_channels", defaults.BlockOutChannels),
            LayersPerBlock = reader.Value("layers_per_block", defaults.LayersPerBlock),
            LatentChannels = reader.Value("latent_channels", defaults.LatentChannels),
            NormNumGroups = reader.Value("norm_num_groups", defaults.NormNumGroups),
            SampleSize = reader.Value("sample_size", defaults.SampleSize),
            ScalingFactor = reader.Value("scaling_factor", defaults.ScalingFactor),
            ShiftFactor = reader.Optional<double>("shift_factor"),
            ForceUpcast = reader.Value("force_upcast", defaults.ForceUpcast),
            UseQuantConv = reader.Value("use_quant_conv", defaults.UseQuantConv),
            UsePostQuantConv = reader.Value("use_post_quant_conv", defaults.UsePostQuantConv),
            MidBlockAddAttention = reader.Value("mid_block_add_attention", defaults.MidBlockAddAttention),
            Extra = reader.Rest(),
        };
        Faults.ThrowIfAnyIn(path, [.. reader.Faults, .. config.Validate()]);
        return config;
    }

    /// <summary>The config.json of this architecture.</summary>
    public JsonObject ToJson() => ConfigWriter.Join(Extra, new Dictionary<string, JsonNode?>
    {
        ["_class_name"] = ClassName,
        ["in_channels"] = InChannels,
        ["out_channels"] = OutChannels,
        ["down_block_types"] = ConfigWriter.Node(DownBlockTypes),
        ["up_block_types"] = ConfigWriter.Node(UpBlockTypes),
        ["block_out_channels"] = ConfigWriter.Node(BlockOutChannels),
        ["layers_per_block"] = LayersPerBlock,
        ["latent_channels"] = LatentChannels,
        ["norm_num_groups"] = NormNumGroups,
        ["sample_size"] = SampleSize,
        ["scaling_factor"] = PythonJson.Float(ScalingFactor),
        ["shift_factor"] = ShiftFactor is { } shift ? PythonJson.Float(shift) : null,
        ["force_upcast"] = ForceUpcast,
        ["use_quant_conv"] = UseQuantConv,
        ["use_post_quant_conv"] = UsePostQuantConv,
        ["mid_block_add_attention"] = MidBlockAddAttention,
    });

    /// <summary>Everything that is wrong or not supported: what was got, what is expected, what to do. Empty if all is well.</summary>
    public IReadOnlyList<string> Validate()
    {
        var faults = new Faults();
        faults.AddRange(Fixed.Faults(Extra));
        faults.Positive("in_channels", InChannels);
        faults.Positive("out_channels", OutChannels);
        faults.Positive("layers_per_block", LayersPerBlock);
        faults.Positive("latent_channels", LatentChannels);
        faults.Positive("norm_num_groups", NormNumGroups);
        faults.Require(ScalingFactor > 0, $"scaling_factor: got {ScalingFactor}, expected a number above 0");
        faults.Require(BlockOutChannels.Count > 0, "block_out_channels: got an empty list, expected one number of channels per level");
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
