using System.Text.RegularExpressions;

namespace LoraNotebooks.Formats;

/// <summary>A kind of model that a LoRA can be for.</summary>
public enum LoraArchitecture
{
    /// <summary>Nothing tells.</summary>
    Unknown,

    /// <summary>Stable Diffusion 1.x or 2.x, whose modules are called alike.</summary>
    StableDiffusion,

    /// <summary>Stable Diffusion 1.x.</summary>
    StableDiffusion1,

    /// <summary>Stable Diffusion 2.x.</summary>
    StableDiffusion2,

    /// <summary>Stable Diffusion XL.</summary>
    StableDiffusionXL,

    /// <summary>Stable Diffusion 3.x.</summary>
    StableDiffusion3,

    /// <summary>Flux, or a model that is built like it.</summary>
    Flux,

    /// <summary>Stable Cascade.</summary>
    StableCascade,

    /// <summary>Qwen-Image.</summary>
    QwenImage,

    /// <summary>Wan, a video model.</summary>
    Wan,

    /// <summary>Another diffusion transformer.</summary>
    DiffusionTransformer,

    /// <summary>A language model.</summary>
    LanguageModel,
}

/// <summary>What a LoRA file is for and what made it, as far as its names, shapes and metadata tell.</summary>
/// <param name="Architecture">The kind of model.</param>
/// <param name="Tool">The program that wrote it, or <see langword="null"/>.</param>
/// <remarks>
/// Widths of the text that attentions look at: 768 in Stable Diffusion 1.x, 1024 in 2.x, 2048 in XL. Metadata: kohya-ss/sd-scripts,
/// library/sai_model_spec.py and train_network.py; Nerogar/OneTrainer; ostris/ai-toolkit.
/// </remarks>
public sealed partial record LoraOrigin(LoraArchitecture Architecture, string? Tool)
{
    /// <summary>Which names are of one kind of model only; the first that fits counts. Names are compared underscored, after the network's.</summary>
    private static readonly (Regex Pattern, LoraArchitecture Architecture)[] Marks =
    [
        (Cascade(), LoraArchitecture.StableCascade),
        (Qwen(), LoraArchitecture.QwenImage),
        (Flux(), LoraArchitecture.Flux),
        (Sd3(), LoraArchitecture.StableDiffusion3),
        (Wan(), LoraArchitecture.Wan),
        (Xl(), LoraArchitecture.StableDiffusionXL),
        (OtherTransformer(), LoraArchitecture.DiffusionTransformer),
        (Language(), LoraArchitecture.LanguageModel),
        (Sd(), LoraArchitecture.StableDiffusion),
    ];

    /// <summary>The kind of model in words.</summary>
    public string Text => TextOf(Architecture);

    /// <summary>A kind of model in words.</summary>
    public static string TextOf(LoraArchitecture architecture) => architecture switch
    {
        LoraArchitecture.StableDiffusion => "Stable Diffusion 1.x or 2.x",
        LoraArchitecture.StableDiffusion1 => "Stable Diffusion 1.x",
        LoraArchitecture.StableDiffusion2 => "Stable Diffusion 2.x",
        LoraArchitecture.StableDiffusionXL => "Stable Diffusion XL (SDXL)",
        LoraArchitecture.StableDiffusion3 => "Stable Diffusion 3.x",
        LoraArchitecture.Flux => "Flux or a model built like it",
        LoraArchitecture.StableCascade => "Stable Cascade",
        LoraArchitecture.QwenImage => "Qwen-Image",
        LoraArchitecture.Wan => "Wan",
        LoraArchitecture.DiffusionTransformer => "a diffusion transformer",
        LoraArchitecture.LanguageModel => "a language model",
        _ => "an unknown model",
    };

    /// <summary>One sentence that says what the LoRA is for where that is another kind of model than this; else <see langword="null"/>.</summary>
    /// <param name="model">The model that it is read for.</param>
    public string? Mismatch(LoraArchitecture model) => Agree(Architecture, model)
        ? null
        : $"This LoRA is for {Text}{(Tool is null ? "" : $" (made with {Tool})")}, the pipeline is {TextOf(model)}. "
            + $"Expected a LoRA for {TextOf(model)}: take one, or load a model that this LoRA is for.";

    /// <summary>Whether a LoRA for one kind of model may be one for the other.</summary>
    public static bool Agree(LoraArchitecture one, LoraArchitecture other) =>
        one == other || one == LoraArchitecture.Unknown || other == LoraArchitecture.Unknown
        || (IsEither(one) && IsSecondOrFirst(other)) || (IsEither(other) && IsSecondOrFirst(one));

    /// <summary>What names, shapes and metadata tell: names first, then widths, then what was noted.</summary>
    /// <param name="tensors">Names and shapes, of a file or a PEFT folder.</param>
    /// <param name="metadata">The metadata.</param>
    internal static LoraOrigin Of(IReadOnlyDictionary<string, SafetensorInfo> tensors, IReadOnlyDictionary<string, string> metadata)
    {
        var keys = tensors.Values.Select(static info => (Key: LoraKey.Parse(info.Name, []), info.Shape)).Where(static pair => pair.Key.IsOfLora).ToList();
        var named = keys.Select(static pair => Named(pair.Key)).Distinct().ToList();
        var architecture = keys.Exists(static pair => pair.Key.Network == "text_encoder_2")
            && !keys.Exists(static pair => pair.Key.Network is "text_encoder_3" or "transformer")
            && !named.Exists(static name => Flux().IsMatch(name) || Sd3().IsMatch(name))
            ? LoraArchitecture.StableDiffusionXL
            : Marks.FirstOrDefault(mark => named.Exists(name => mark.Pattern.IsMatch(name))).Architecture;
        if (IsEither(architecture) || architecture == LoraArchitecture.Unknown)
        {
            var width = keys
                .Where(static pair => OfWidth().IsMatch(Named(pair.Key)) && SpansInputs(pair.Key.Part) && pair.Shape.Count > 1)
                .Select(static pair => pair.Shape[1])
                .FirstOrDefault();
            var told = width switch
            {
                768 => LoraArchitecture.StableDiffusion1,
                1024 => LoraArchitecture.StableDiffusion2,
                2048 => LoraArchitecture.StableDiffusionXL,
                _ when keys.Exists(static pair => pair.Key.Network == "text_encoder" && DeepText().IsMatch(Named(pair.Key))) =>
                    LoraArchitecture.StableDiffusion2,
                _ => Noted(metadata),
            };
            architecture = told != LoraArchitecture.Unknown
                && (architecture == LoraArchitecture.Unknown || width is 768 or 1024 or 2048 || Agree(told, architecture))
                ? told
                : architecture;
        }

        return new LoraOrigin(architecture, ToolOf(tensors.Values.Select(static info => info.Name), metadata));
    }

    private static bool IsEither(LoraArchitecture architecture) => architecture == LoraArchitecture.StableDiffusion;

    private static bool IsSecondOrFirst(LoraArchitecture architecture) =>
        architecture is LoraArchitecture.StableDiffusion1 or LoraArchitecture.StableDiffusion2;

    private static string Named(LoraKey key) => $"{key.Network}:{key.Module.Replace('.', '_')}";

    private static bool SpansInputs(string? part) =>
        part is not null && LoraNames.Find(LoraNames.Stem(part)) is { Factor: var factor } && factor.Has(FactorFacts.SpansInputs);

    /// <summary>What the file notes of its base.</summary>
    private static LoraArchitecture Noted(IReadOnlyDictionary<string, string> metadata)
    {
        var noted = string.Join(' ', new[] { "modelspec.architecture", "ss_base_model_version" }.Select(key => metadata.GetValueOrDefault(key, "")))
            .ToLowerInvariant();
        return noted switch
        {
            _ when noted.Contains("xl", StringComparison.Ordinal) => LoraArchitecture.StableDiffusionXL,
            _ when noted.Contains("stable-diffusion-3", StringComparison.Ordinal) || noted.Contains("sd3", StringComparison.Ordinal) =>
                LoraArchitecture.StableDiffusion3,
            _ when noted.Contains("flux", StringComparison.Ordinal) => LoraArchitecture.Flux,
            _ when noted.Contains("qwen", StringComparison.Ordinal) => LoraArchitecture.QwenImage,
            _ when noted.Contains("wan", StringComparison.Ordinal) => LoraArchitecture.Wan,
            _ when noted.Contains("diffusion-v2", StringComparison.Ordinal) || noted.Contains("sd_v2", StringComparison.Ordinal) =>
                LoraArchitecture.StableDiffusion2,
            _ when noted.Contains("diffusion-v1", StringComparison.Ordinal)
                    || noted.Contains("sd_v1", StringComparison.Ordinal) || noted.Contains("sd_1", StringComparison.Ordinal) =>
                LoraArchitecture.StableDiffusion1,
            _ => LoraArchitecture.Unknown,
        };
    }

    private static string? ToolOf(IEnumerable<string> names, IReadOnlyDictionary<string, string> metadata)
    {
        if (metadata.TryGetValue("software", out var software))
        {
            return SoftwareName().Match(software) is { Success: true } match ? match.Groups[1].Value : null;
        }

        var module = metadata.GetValueOrDefault("ss_network_module", "");
        return metadata.Keys.Any(static key => key.StartsWith("ot_", StringComparison.Ordinal))
            || names.Any(static name => name.StartsWith("bundle_emb.", StringComparison.Ordinal)) ? "OneTrainer"
            : module.StartsWith("lycoris", StringComparison.Ordinal)
                || names.Any(static name => name.StartsWith("lycoris_", StringComparison.Ordinal)) ? "LyCORIS"
            : module.StartsWith("networks.", StringComparison.Ordinal) ? "kohya-ss/sd-scripts or in its format"
            : names.Any(static name => name.StartsWith(PeftFolder.Prefix, StringComparison.Ordinal)) ? "PEFT"
            : metadata.ContainsKey(DiffusersLoraFile.ConfigKey) ? "diffusers"
            : null;
    }

    [GeneratedRegex("^prior_unet:")]
    private static partial Regex Cascade();

    [GeneratedRegex(@"transformer_blocks_\d+_(?:img|txt)_(?:mlp|mod)")]
    private static partial Regex Qwen();

    [GeneratedRegex("double_blocks_|single_transformer_blocks_|:single_blocks_")]
    private static partial Regex Flux();

    [GeneratedRegex(@"joint_blocks_|^transformer:transformer_blocks_\d+_attn_add_|^text_encoder_3:")]
    private static partial Regex Sd3();

    [GeneratedRegex(@":blocks_\d+_(?:self_attn|cross_attn|ffn)_")]
    private static partial Regex Wan();

    /// <summary>Attentions of more than one block, those of the original code's third and fourth level, and the module for sizes.</summary>
    [GeneratedRegex(
        @"attentions_\d+_transformer_blocks_[1-9]|(?:(?:input|output)_blocks_\d+_1|middle_block_1)_transformer_blocks_[1-9]|add_embedding|label_emb")]
    private static partial Regex Xl();

    [GeneratedRegex(@"^transformer:|:transformer_blocks_\d+_|adaln_single|:joint_transformer_blocks_")]
    private static partial Regex OtherTransformer();

    [GeneratedRegex(@"^:(?:model_)?(?:layers|decoder_layers)_\d+_(?:self_attn|mlp)|^:transformer_h_\d+_|^:h_\d+_(?:attn|mlp)")]
    private static partial Regex Language();

    [GeneratedRegex(@"down_blocks_0_attentions_|up_blocks_3_attentions_|input_blocks_[12]_1_|output_blocks_(?:9|10|11)_1_")]
    private static partial Regex Sd();

    [GeneratedRegex("attn2_to_[kv]$")]
    private static partial Regex OfWidth();

    [GeneratedRegex("layers_(?:1[2-9]|2[0-9])_")]
    private static partial Regex DeepText();

    [GeneratedRegex("\"name\"\\s*:\\s*\"([^\"]{1,60})\"")]
    private static partial Regex SoftwareName();
}
