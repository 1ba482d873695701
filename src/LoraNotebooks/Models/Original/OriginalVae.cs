using LoraNotebooks.Models.Diffusion;

namespace LoraNotebooks.Models.Original;

/// <summary>The autoencoder of an original checkpoint: its names, and its architecture as its shapes tell it.</summary>
/// <remarks>Source: CompVis/stable-diffusion, ldm/modules/diffusionmodules/model.py; its decoder counts levels from the highest resolution.</remarks>
internal static class OriginalVae
{
    private const double ScalingOfSd = 0.18215;
    private const double ScalingOfXL = 0.13025;
    private const int SizeOfSd = 512;
    private const int SizeOfXL = 1024;

    private static readonly (string Here, string Original)[] AttentionParts =
        [("group_norm", "norm"), ("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "proj_out")];

    /// <summary>A module's path here → its path in the original, where they differ.</summary>
    public static IReadOnlyDictionary<string, string> Modules(AutoencoderKLConfig config)
    {
        var names = new Dictionary<string, string>(StringComparer.Ordinal);
        var levels = config.BlockOutChannels.Count;
        foreach (var coder in (string[])["encoder", "decoder"])
        {
            names[$"{coder}.conv_norm_out"] = $"{coder}.norm_out";
            Resnet($"{coder}.mid_block.resnets.0", $"{coder}.mid.block_1");
            Resnet($"{coder}.mid_block.resnets.1", $"{coder}.mid.block_2");
            foreach (var (part, original) in AttentionParts)
            {
                names[$"{coder}.mid_block.attentions.0.{part}"] = $"{coder}.mid.attn_1.{original}";
            }
        }

        for (var i = 0; i < levels; i++)
        {
            names[$"encoder.down_blocks.{i}.downsamplers.0"] = $"encoder.down.{i}.downsample";
            names[$"decoder.up_blocks.{i}.upsamplers.0"] = $"decoder.up.{levels - 1 - i}.upsample";
            for (var layer = 0; layer <= config.LayersPerBlock; layer++)
            {
                Resnet($"encoder.down_blocks.{i}.resnets.{layer}", $"encoder.down.{i}.block.{layer}");
                Resnet($"decoder.up_blocks.{i}.resnets.{layer}", $"decoder.up.{levels - 1 - i}.block.{layer}");
            }
        }

        return names;

        void Resnet(string here, string original)
        {
            names[here] = original;
            names[$"{here}.conv_shortcut"] = $"{original}.nin_shortcut";
        }
    }

    /// <summary>Where a parameter is: the attention's linear layers are 1×1 convolutions there.</summary>
    public static OriginalTensor Place(OriginalNames names, string parameter) => new(
        OriginalCheckpoint.VaePrefix + names.Of(parameter),
        parameter.Contains(".attentions.", StringComparison.Ordinal) ? OriginalForm.PointConvolution : OriginalForm.Whole);

    /// <summary>The architecture by the shapes; the scaling factor is that of the family.</summary>
    /// <exception cref="InvalidDataException">Tensors that tell it are missing or of strange shapes.</exception>
    public static AutoencoderKLConfig Infer(OriginalCheckpoint checkpoint, bool isXL)
    {
        var levels = checkpoint.Count(static i => Name($"encoder.down.{i}.block.0.conv1.weight"));
        return new AutoencoderKLConfig
        {
            InChannels = Size("encoder.conv_in.weight", 1),
            OutChannels = Size("decoder.conv_out.weight", 0),
            LatentChannels = Size("decoder.conv_in.weight", 1),
            BlockOutChannels = [.. Enumerable.Range(0, levels).Select(i => Size($"encoder.down.{i}.block.0.conv1.weight", 0))],
            DownBlockTypes = [.. Enumerable.Repeat("DownEncoderBlock2D", levels)],
            UpBlockTypes = [.. Enumerable.Repeat("UpDecoderBlock2D", levels)],
            LayersPerBlock = checkpoint.Count(static i => Name($"encoder.down.0.block.{i}.conv1.weight")),
            SampleSize = isXL ? SizeOfXL : SizeOfSd,
            ScalingFactor = isXL ? ScalingOfXL : ScalingOfSd,
            UseQuantConv = checkpoint.Has(Name("quant_conv.weight")),
            UsePostQuantConv = checkpoint.Has(Name("post_quant_conv.weight")),
            MidBlockAddAttention = checkpoint.Has(Name("encoder.mid.attn_1.q.weight")),
        };

        int Size(string name, Index dimension) => checkpoint.Size(Name(name), dimension);
    }

    private static string Name(string name) => OriginalCheckpoint.VaePrefix + name;
}
