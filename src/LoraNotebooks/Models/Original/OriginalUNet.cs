using LoraNotebooks.Models.Diffusion;

namespace LoraNotebooks.Models.Original;

/// <summary>The UNet of an original checkpoint: its names, and its architecture as its shapes tell it.</summary>
/// <remarks>
/// Source: CompVis/stable-diffusion, ldm/modules/diffusionmodules/openaimodel.py: the blocks of both paths are numbered through, each
/// holding a residual block, then a transformer where there is one, then a sampler at the end of a level.
/// </remarks>
internal static class OriginalUNet
{
    private const int HeadSize = 64;
    private const int HeadsOfSd1 = 8;
    private const int SizeFeatures = 256;
    private const int LatentsOfXL = 128;
    private const int LatentsOfSd1 = 64;

    private static readonly (string Here, string Original)[] ResnetParts =
    [
        ("norm1", "in_layers.0"), ("conv1", "in_layers.2"), ("time_emb_proj", "emb_layers.1"),
        ("norm2", "out_layers.0"), ("conv2", "out_layers.3"), ("conv_shortcut", "skip_connection"),
    ];

    /// <summary>A module's path here → its path in the original, for residual blocks' parts, transformers, samplers and what is outside the blocks.</summary>
    public static IReadOnlyDictionary<string, string> Modules(UNetConfig config)
    {
        var names = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["time_embedding.linear_1"] = "time_embed.0",
            ["time_embedding.linear_2"] = "time_embed.2",
            ["add_embedding.linear_1"] = "label_emb.0.0",
            ["add_embedding.linear_2"] = "label_emb.0.2",
            ["conv_in"] = "input_blocks.0.0",
            ["conv_norm_out"] = "out.0",
            ["conv_out"] = "out.2",
            ["mid_block.attentions.0"] = "middle_block.1",
        };
        Resnet("mid_block.resnets.0", "middle_block.0");
        Resnet("mid_block.resnets.1", "middle_block.2");

        var levels = config.BlockOutChannels.Count;
        var block = 1;
        for (var level = 0; level < levels; level++)
        {
            for (var layer = 0; layer < config.LayersPerBlock[level]; layer++, block++)
            {
                Resnet($"down_blocks.{level}.resnets.{layer}", $"input_blocks.{block}.0");
                names[$"down_blocks.{level}.attentions.{layer}"] = $"input_blocks.{block}.1";
            }

            if (level < levels - 1)
            {
                names[$"down_blocks.{level}.downsamplers.0.conv"] = $"input_blocks.{block++}.0.op";
            }
        }

        block = 0;
        for (var i = 0; i < levels; i++)
        {
            var level = levels - 1 - i;
            for (var layer = 0; layer <= config.LayersPerBlock[level]; layer++, block++)
            {
                Resnet($"up_blocks.{i}.resnets.{layer}", $"output_blocks.{block}.0");
                names[$"up_blocks.{i}.attentions.{layer}"] = $"output_blocks.{block}.1";
            }

            names[$"up_blocks.{i}.upsamplers.0"] = $"output_blocks.{block - 1}.{(config.UpTransformer(level) is null ? 1 : 2)}";
        }

        return names;

        void Resnet(string here, string original)
        {
            foreach (var (part, originalPart) in ResnetParts)
            {
                names[$"{here}.{part}"] = $"{original}.{originalPart}";
            }
        }
    }

    /// <summary>The architecture by the shapes. What they do not tell is as in Stable Diffusion: 32 groups, 8 heads in 1.x and heads of size 64 else.</summary>
    /// <exception cref="InvalidDataException">Tensors that tell it are missing or of strange shapes.</exception>
    public static UNetConfig Infer(OriginalCheckpoint checkpoint)
    {
        var channels = new List<int>();
        var layers = new List<int>();
        var depths = new List<int>();
        for (var (block, layer) = (1, 0); ; block++)
        {
            if (checkpoint.Has(Name($"input_blocks.{block}.0.op.weight")))
            {
                layer = 0;
            }
            else if (checkpoint.Has(Name($"input_blocks.{block}.0.out_layers.3.weight")))
            {
                if (layer++ == 0)
                {
                    channels.Add(Size($"input_blocks.{block}.0.out_layers.3.weight", 0));
                    layers.Add(0);
                    depths.Add(Depth($"input_blocks.{block}.1"));
                }

                layers[^1] = layer;
            }
            else
            {
                break;
            }
        }

        if (channels.Count == 0)
        {
            throw checkpoint.Lacks(Name("input_blocks.1.0.out_layers.3.weight"));
        }

        var middle = Depth("middle_block.1");
        var transformers = depths.Select((depth, level) => depth > 0 ? depth : level == depths.Count - 1 ? middle : 1).ToArray();
        var isLinear = checkpoint.Shape(Name("middle_block.1.proj_in.weight")).Count == 2;
        var isXL = checkpoint.Has(Name("label_emb.0.0.weight"));
        var down = depths.Select(static depth => depth > 0 ? "CrossAttnDownBlock2D" : "DownBlock2D").ToArray();
        var defaults = new UNetConfig();
        return defaults with
        {
            SampleSize = isXL ? LatentsOfXL : LatentsOfSd1,
            InChannels = Size("input_blocks.0.0.weight", 1),
            OutChannels = Size("out.2.weight", 0),
            BlockOutChannels = channels,
            LayersPerBlock = Uniform([.. layers]),
            DownBlockTypes = down,
            UpBlockTypes = [.. down.Reverse().Select(static type => type.Replace("Down", "Up", StringComparison.Ordinal))],
            TransformerLayersPerBlock = Uniform(transformers),
            CrossAttentionDim = Size("middle_block.1.transformer_blocks.0.attn2.to_k.weight", 1),
            UseLinearProjection = isLinear,
            AttentionHeadDim = isLinear ? channels.Select(static size => size / HeadSize).ToArray() : HeadsOfSd1,
            AdditionEmbedType = isXL ? "text_time" : null,
            AdditionTimeEmbedDim = isXL ? SizeFeatures : null,
            ProjectionClassEmbeddingsInputDim = isXL ? Size("label_emb.0.0.weight", 1) : null,
        };

        int Depth(string block) => checkpoint.Count(i => Name($"{block}.transformer_blocks.{i}.norm1.weight"));

        int Size(string name, Index dimension) => checkpoint.Size(Name(name), dimension);
    }

    private static string Name(string name) => OriginalCheckpoint.UNetPrefix + name;

    private static PerBlock<int> Uniform(int[] values) => values.Distinct().Count() == 1 ? values[0] : values;
}
