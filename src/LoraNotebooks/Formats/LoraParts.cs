namespace LoraNotebooks.Formats;

/// <summary>The networks that a LoRA is for, as far as its own names tell, for work on files without their base model.</summary>
internal static class LoraParts
{
    /// <summary>Networks of Stable Diffusion: name, kohya's prefix, kohya's prefix where there are two text encoders.</summary>
    private static readonly (string Name, string Prefix, string DualPrefix)[] Networks =
    [
        ("unet", "lora_unet", "lora_unet"),
        ("text_encoder", "lora_te", "lora_te1"),
        ("text_encoder_2", "lora_te2", "lora_te2"),
    ];

    /// <summary>The parts of a file in kohya's or diffusers' names; empty if it is neither.</summary>
    public static IReadOnlyList<LoraPart> Of(SafetensorsFile file)
    {
        var modules = file.Tensors.Keys.Select(static key => key.Split('.')[0]).Distinct(StringComparer.Ordinal).ToList();
        var isDual = modules.Any(static module => module.StartsWith("lora_te1_", StringComparison.Ordinal) || module.StartsWith("lora_te2_", StringComparison.Ordinal));
        var hasSgmNames = modules.Any(static module => module.StartsWith("lora_unet_input_blocks_", StringComparison.Ordinal)
            || module.StartsWith("lora_unet_middle_block_", StringComparison.Ordinal) || module.StartsWith("lora_unet_output_blocks_", StringComparison.Ordinal));
        var parts = new List<LoraPart>();
        foreach (var (name, single, dual) in Networks)
        {
            var prefix = isDual ? dual : single;
            var paths = modules.Where(module => module.StartsWith(prefix + "_", StringComparison.Ordinal)).Select(module => Path(module[(prefix.Length + 1)..])).ToList();
            if (paths.Count > 0)
            {
                parts.Add(new LoraPart(name, prefix, paths, HasSgmNames: hasSgmNames && name == "unet"));
            }
        }

        return parts.Count > 0 ? parts : For([.. Networks.Select(static network => network.Name).Where(name => file.Tensors.Keys.Any(key => key.StartsWith(name + ".", StringComparison.Ordinal))).DefaultIfEmpty(file.Tensors.Keys.Any(DiffusersLoraFile.IsOfFirstFiles) ? "unet" : "").Where(static name => name.Length > 0)], isSdxl: false, static _ => []);
    }

    /// <summary>Parts of known names.</summary>
    /// <param name="names">The networks.</param>
    /// <param name="isSdxl">Whether kohya names them as SDXL's.</param>
    /// <param name="paths">The modules of a network.</param>
    public static IReadOnlyList<LoraPart> For(IEnumerable<string> names, bool isSdxl, Func<string, IReadOnlyCollection<string>> paths) =>
    [
        .. names.Select(name => Networks.FirstOrDefault(network => network.Name == name) is { Name: not null } network
            ? new LoraPart(name, isSdxl ? network.DualPrefix : network.Prefix, paths(name), HasSgmNames: isSdxl && name == "unet")
            : new LoraPart(name, $"lora_{name}", paths(name))),
    ];

    private static string Path(string underscored)
    {
        var dotted = KohyaNames.Dotted(underscored);
        return SgmNames.ToDiffusers(dotted, SgmNames.UsualLayersPerBlock) ?? dotted;
    }
}
