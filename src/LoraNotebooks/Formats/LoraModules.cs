using System.Text.RegularExpressions;

namespace LoraNotebooks.Formats;

/// <summary>Which module of which network a <see cref="LoraKey"/> means: looked up in a model's own modules, or told by the name alone.</summary>
internal sealed partial class LoraModules
{
    private readonly IReadOnlyList<LoraPart> _parts;
    private readonly ILookup<string, (string Network, string Path)>? _modules;

    /// <summary>The modules of a model, or of any.</summary>
    /// <param name="parts">The networks; none where there is no model to look names up in.</param>
    public LoraModules(IReadOnlyList<LoraPart> parts)
    {
        _parts = parts;

        // Underscores cannot be turned back into dots by rule ("to_q" has one of its own), so names are looked up as if all were underscored.
        _modules = parts.Count == 0 ? null : parts
            .SelectMany(static part => KohyaNames.Of(part)
                .Select(entry => (Name: entry.Name[(part.KohyaPrefix.Length + 1)..], Module: (part.Name, entry.Path))))
            .Distinct()
            .ToLookup(static entry => entry.Name, static entry => entry.Module, StringComparer.Ordinal);
    }

    /// <summary>The modules that a name may mean: one, or if it means none or is ambiguous, another number.</summary>
    public IReadOnlyList<(string Network, string Path)> Find(LoraKey key)
    {
        if (_modules is null)
        {
            return Told(key) is { } told ? [told] : [];
        }

        var written = key.IsDotted ? key.Module : KohyaNames.Dotted(key.Module);
        foreach (var form in new[] { key.Module, OfUNet(written), OfText(written) }.Distinct())
        {
            var matches = _modules[form.Replace('.', '_')].Where(module => key.Network is null || module.Network == key.Network).ToList();
            if (matches.Count > 0)
            {
                return matches;
            }
        }

        return [];
    }

    /// <summary>Why a name that means no module is left out.</summary>
    public string WhyUnknown(LoraKey key) => key.Network is { } network && _modules is not null && _parts.All(part => part.Name != network)
        ? $"the model has no {network}"
        : _modules is null ? "the name is not understood" : "the model has no such module";

    /// <summary>The module by its name alone, in diffusers' words.</summary>
    private static (string Network, string Path)? Told(LoraKey key)
    {
        var path = key.IsDotted ? key.Module : KohyaNames.Dotted(key.Module);
        var network = key.Network ?? NetworkOf(path) ?? (key.IsWrapped || key.IsDotted ? "model" : key.IsOfKohya ? "unet" : null);
        return network switch
        {
            null => null,
            "unet" => (network, SgmNames.ToDiffusers(OfUNet(path), SgmNames.UsualLayersPerBlock) ?? OfUNet(path)),
            "text_encoder" or "text_encoder_2" => (network, OfText(path)),
            _ => (network, path),
        };
    }

    private static string? NetworkOf(string path) =>
        UNetPath().IsMatch(path) ? "unet"
        : TextPath().IsMatch(path) ? "text_encoder"
        : null;

    /// <summary>diffusers' first files named the attention's processor, and its output as the whole of two layers.</summary>
    private static string OfUNet(string path)
    {
        path = path.Replace(".processor.", ".", StringComparison.Ordinal);
        return path.EndsWith(".to_out", StringComparison.Ordinal) ? path + ".0" : path;
    }

    /// <summary>
    /// CLIP's text encoder in transformers' names, from those of diffusers' first files, of OpenCLIP, and of
    /// transformers without the outermost module.
    /// </summary>
    private static string OfText(string path)
    {
        path = OpenClipLayer().Replace(path, "text_model.encoder.layers.$1.");
        path = Inner().Replace(path, "text_model.");
        return TextProjection().Replace(path, static match => match.Groups[1].Value + (match.Groups[2].Value switch
        {
            "to_q" => "q_proj",
            "to_k" => "k_proj",
            "to_v" => "v_proj",
            "c_fc" => "fc1",
            "c_proj" => "fc2",
            _ => "out_proj",
        })).Replace(".attn.", ".self_attn.", StringComparison.Ordinal);
    }

    [GeneratedRegex(
        @"^(?:down_blocks|up_blocks|mid_block|input_blocks|output_blocks|middle_block|conv_in|conv_out"
            + @"|time_embedding|time_embed|add_embedding|label_emb)(?:\.|$)")]
    private static partial Regex UNetPath();

    [GeneratedRegex(
        @"^(?:text_model|encoder\.layers|transformer\.resblocks|transformer\.text_model"
            + @"|model\.transformer\.resblocks|final_layer_norm|text_projection)(?:\.|$)")]
    private static partial Regex TextPath();

    [GeneratedRegex(@"^(?:text_model\.)?(?:model\.)?transformer\.resblocks\.(\d+)\.")]
    private static partial Regex OpenClipLayer();

    [GeneratedRegex(@"^(?:transformer\.text_model\.|(?=(?:encoder\.layers|embeddings|final_layer_norm)(?:\.|$)))")]
    private static partial Regex Inner();

    [GeneratedRegex(@"(\.(?:self_attn|attn|mlp)\.)(to_q|to_k|to_v|to_out(?:\.0)?|c_fc|c_proj)$")]
    private static partial Regex TextProjection();
}
