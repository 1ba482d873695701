using System.Globalization;
using System.Text.RegularExpressions;

namespace LoraNotebooks.Formats;

/// <summary>
/// A UNet's modules under the names of the original code (Stability AI's generative-models, "sgm"), which kohya's SDXL files use:
/// <c>down_blocks.1.attentions.0</c> is <c>input_blocks.4.1</c>. The original numbers blocks through, and a block's parts are
/// resnet (0), attention (1), sampler (last).
/// </summary>
/// <remarks>
/// Source: diffusers, loaders/lora_conversion_utils.py and scripts/convert_diffusers_to_original_sdxl.py; kohya-ss/sd-scripts, networks/lora.py.
/// </remarks>
internal static partial class SgmNames
{
    /// <summary>Resnets in each block of every Stable Diffusion.</summary>
    public const int UsualLayersPerBlock = 2;

    private static readonly (string Diffusers, string Sgm)[] Fixed =
    [
        ("conv_in", "input_blocks.0.0"),
        ("conv_norm_out", "out.0"),
        ("conv_out", "out.2"),
        ("time_embedding.linear_1", "time_embed.0"),
        ("time_embedding.linear_2", "time_embed.2"),
        ("add_embedding.linear_1", "label_emb.0.0"),
        ("add_embedding.linear_2", "label_emb.0.2"),
        ("mid_block.resnets.0", "middle_block.0"),
        ("mid_block.attentions.0", "middle_block.1"),
        ("mid_block.resnets.1", "middle_block.2"),
    ];

    private static readonly (string Diffusers, string Sgm)[] ResnetParts =
    [
        ("norm1", "in_layers.0"), ("conv1", "in_layers.2"), ("time_emb_proj", "emb_layers.1"),
        ("norm2", "out_layers.0"), ("conv2", "out_layers.3"), ("conv_shortcut", "skip_connection"),
    ];

    /// <summary>The original name of a module, or <see langword="null"/> if it has none.</summary>
    /// <param name="path">Its path in diffusers' UNet.</param>
    /// <param name="layersPerBlock">The UNet's resnets per down block.</param>
    /// <param name="hasAttention">Whether an up block has attentions, which moves its upsampler from place 1 to place 2.</param>
    public static string? Of(string path, int layersPerBlock, Func<int, bool> hasAttention)
    {
        foreach (var (diffusers, sgm) in Fixed)
        {
            if (path == diffusers || path.StartsWith(diffusers + ".", StringComparison.Ordinal))
            {
                return sgm + Rest(path[diffusers.Length..], isResnet: diffusers.Contains("resnets", StringComparison.Ordinal));
            }
        }

        if (BlockPath().Match(path) is not { Success: true } match)
        {
            return null;
        }

        var isDown = match.Groups["way"].Value == "down";
        var (block, kind, layer) = (Number(match, "block"), match.Groups["kind"].Value, Number(match, "layer"));
        var first = (block * (layersPerBlock + 1)) + (isDown ? 1 : 0);
        var rest = match.Groups["rest"].Value;
        return (isDown ? "input_blocks." : "output_blocks.") + kind switch
        {
            "resnets" => $"{first + layer}.0{Rest(rest, isResnet: true)}",
            "attentions" => $"{first + layer}.1{rest}",
            "downsamplers" => $"{first + layersPerBlock}.0{rest.Replace(".conv", ".op", StringComparison.Ordinal)}",
            _ => $"{first + layersPerBlock}.{(hasAttention(block) ? 2 : 1)}{rest}",
        };
    }

    /// <summary>The path of a module in diffusers' UNet, or <see langword="null"/> if the name is not an original one.</summary>
    /// <param name="name">The original name.</param>
    /// <param name="layersPerBlock">The UNet's resnets per down block.</param>
    public static string? ToDiffusers(string name, int layersPerBlock)
    {
        foreach (var (diffusers, sgm) in Fixed)
        {
            if (name == sgm || name.StartsWith(sgm + ".", StringComparison.Ordinal))
            {
                return diffusers + RestBack(name[sgm.Length..], isResnet: diffusers.Contains("resnets", StringComparison.Ordinal));
            }
        }

        if (SgmPath().Match(name) is not { Success: true } match)
        {
            return null;
        }

        var isDown = match.Groups["way"].Value == "input";
        var index = Number(match, "index") - (isDown ? 1 : 0);
        var (block, layer) = (index / (layersPerBlock + 1), index % (layersPerBlock + 1));
        var (place, rest) = (Number(match, "place"), match.Groups["rest"].Value);
        var blocks = isDown ? "down_blocks" : "up_blocks";
        return rest switch
        {
            ".op" => $"{blocks}.{block}.downsamplers.0.conv",
            ".conv" => $"{blocks}.{block}.upsamplers.0.conv",
            _ when place == 0 => $"{blocks}.{block}.resnets.{layer}{RestBack(rest, isResnet: true)}",
            _ => $"{blocks}.{block}.attentions.{layer}{rest}",
        };
    }

    private static string Rest(string rest, bool isResnet) =>
        isResnet && ResnetParts.FirstOrDefault(part => "." + part.Diffusers == rest) is { Sgm: { } sgm } ? "." + sgm : rest;

    private static string RestBack(string rest, bool isResnet) =>
        isResnet && ResnetParts.FirstOrDefault(part => "." + part.Sgm == rest) is { Diffusers: { } diffusers } ? "." + diffusers : rest;

    private static int Number(Match match, string group) => int.Parse(match.Groups[group].Value, CultureInfo.InvariantCulture);

    [GeneratedRegex(@"^(?<way>down|up)_blocks\.(?<block>\d{1,4})\.(?<kind>resnets|attentions|downsamplers|upsamplers)\.(?<layer>\d{1,4})(?<rest>\..*)?$")]
    private static partial Regex BlockPath();

    [GeneratedRegex(@"^(?<way>input|output)_blocks\.(?<index>\d{1,4})\.(?<place>\d{1,4})(?<rest>\..*)?$")]
    private static partial Regex SgmPath();
}
