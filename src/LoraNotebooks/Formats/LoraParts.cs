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
        ("text_encoder_3", "lora_te3", "lora_te3"),
    ];

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
}
