using System.Globalization;
using System.Text.RegularExpressions;

namespace LoraNotebooks.Formats;

/// <summary>The names of modules in kohya's files: their paths with underscores, after the network's prefix.</summary>
internal static partial class KohyaNames
{
    /// <summary>Parts of paths that have an underscore of their own, in Stable Diffusion's UNets (both namings) and CLIP; the longest first.</summary>
    private static readonly Regex Compound = new(string.Join('|', new[]
    {
        "down_blocks", "up_blocks", "mid_block", "transformer_blocks", "time_emb_proj", "time_embedding", "add_embedding", "conv_shortcut",
        "conv_norm_out", "conv_in", "conv_out", "linear_1", "linear_2", "proj_in", "proj_out", "to_q", "to_k", "to_v", "to_out",
        "input_blocks", "output_blocks", "middle_block", "in_layers", "out_layers", "emb_layers", "skip_connection", "time_embed", "label_emb",
        "c_fc", "c_proj", "text_model", "self_attn", "q_proj", "k_proj", "v_proj", "out_proj", "token_embedding", "position_embedding", "text_projection",
        "layer_norm1", "layer_norm2", "final_layer_norm",
    }.OrderByDescending(static word => word.Length).Select(static word => $"(?<=^|_){word}(?=$|_)")), RegexOptions.CultureInvariant | RegexOptions.Compiled);

    private static readonly string[] Roots =
        ["down_blocks", "up_blocks", "mid_block", "conv_in", "conv_out", "time_embedding", "add_embedding", "text_model", "text_projection"];

    /// <summary>A module's name in a file.</summary>
    public static string Of(string prefix, string path) => $"{prefix}_{path.Replace('.', '_')}";

    /// <summary>
    /// The path that a name stands for, without a model to look it up in: every underscore is a dot except inside the words that such
    /// models are known to use.
    /// </summary>
    public static string Dotted(string underscored) =>
        Compound.Replace(underscored, static match => match.Value.Replace('_', '\0')).Replace('_', '.').Replace('\0', '_');

    /// <summary>Whether a path is one of Stable Diffusion's UNets or of CLIP, so that <see cref="Dotted"/> can be trusted.</summary>
    public static bool IsKnown(string path) => Roots.Any(root => path == root || path.StartsWith(root + ".", StringComparison.Ordinal));

    /// <summary>All names that mean a part's modules, the one to write first: by diffusers' path, and for a UNet by the original code's.</summary>
    public static IEnumerable<(string Name, string Path)> Of(LoraPart part)
    {
        var layersPerBlock = part.ModulePaths.Count(static path => FirstResnets().IsMatch(path)) is > 0 and var count ? count : SgmNames.UsualLayersPerBlock;

        // A file of a few modules does not tell; of SDXL, which uses these names, every up block with an upsampler has attentions.
        var isWhole = part.ModulePaths.Contains("up_blocks.0");
        var withAttention = part.ModulePaths
            .Select(static path => UpAttention().Match(path))
            .Where(static match => match.Success)
            .Select(static match => match.Groups[1].Value)
            .ToHashSet();
        foreach (var path in part.ModulePaths)
        {
            var usual = Of(part.KohyaPrefix, path);
            var original = SgmNames.Of(path, layersPerBlock, block => !isWhole || withAttention.Contains(block.ToString(CultureInfo.InvariantCulture)));
            if (original is null)
            {
                yield return (usual, path);
                continue;
            }

            yield return part.HasSgmNames ? (Of(part.KohyaPrefix, original), path) : (usual, path);
            yield return part.HasSgmNames ? (usual, path) : (Of(part.KohyaPrefix, original), path);
            if (!isWhole && SgmNames.Of(path, layersPerBlock, static _ => false) is { } other && other != original)
            {
                yield return (Of(part.KohyaPrefix, other), path);
            }
        }
    }

    [GeneratedRegex(@"^down_blocks\.0\.resnets\.\d+$")]
    private static partial Regex FirstResnets();

    [GeneratedRegex(@"^up_blocks\.(\d+)\.attentions\.")]
    private static partial Regex UpAttention();
}
