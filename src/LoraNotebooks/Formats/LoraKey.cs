using System.Text.RegularExpressions;

namespace LoraNotebooks.Formats;

/// <summary>
/// One name of a LoRA file, in whatever dialect it is written: which network, which module of it, which part of the update. Known are the names of
/// kohya's sd-scripts, LyCORIS (also by its wrapper), OneTrainer, diffusers since its first year, PEFT with and without adapter names, and ComfyUI.
/// </summary>
/// <param name="Text">The whole name.</param>
/// <param name="Network">The network as diffusers calls it; <see langword="null"/> if the name does not tell.</param>
/// <param name="Module">The module as it is written, after the network's name.</param>
/// <param name="IsWrapped">Whether PEFT's wrapper stood before the module, so that it is a path of its model as it is.</param>
/// <param name="Part">The part by its name in a <see cref="LoraState"/>, "alpha", or <see langword="null"/> if the name ends like no part of a LoRA.</param>
/// <remarks>
/// Source: huggingface/diffusers, loaders/lora_base.py and utils/state_dict_utils.py; comfyanonymous/ComfyUI, comfy/lora.py; Nerogar/OneTrainer,
/// modules/util/convert/lora; kohya-ss/sd-scripts, networks/lora.py; KohakuBlueleaf/LyCORIS, lycoris/wrapper.py.
/// </remarks>
internal sealed partial record LoraKey(string Text, string? Network, string Module, bool IsWrapped, string? Part)
{
    public const string Alpha = "alpha";

    private const string UNet = "unet";
    private const string Text1 = "text_encoder";
    private const string Text2 = "text_encoder_2";
    private const string Text3 = "text_encoder_3";
    private const string PriorUNet = "prior_unet";
    private const string Transformer = "transformer";

    /// <summary>
    /// How names begin → the network, <see langword="null"/> where the module has to tell. After it comes a
    /// dot, after those of "lora" and "lycoris" also an underscore.
    /// </summary>
    private static readonly (string Prefix, string? Network)[] Prefixes =
    [
        ("lora_unet", UNet), ("lora_te1", Text1), ("lora_te2", Text2), ("lora_te3", Text3), ("lora_te", Text1),
        ("lora_prior_unet", PriorUNet), ("lora_transformer", Transformer), ("lycoris", null),
        ("unet", UNet), (Text1, Text1), (Text2, Text2), (Text3, Text3), (Transformer, Transformer),
        ("model.diffusion_model", UNet), ("diffusion_model", UNet),
        ("text_encoders.clip_l.transformer", Text1), ("text_encoders.clip_g.transformer", Text2),
        ("text_encoders.clip_l", Text1), ("text_encoders.clip_g", Text2), ("clip_l", Text1), ("clip_g", Text2),
        ("cond_stage_model.transformer", Text1), ("cond_stage_model.model", Text1),
        ("conditioner.embedders.0.transformer", Text1), ("conditioner.embedders.1.model", Text2),
    ];

    /// <summary>What is known and not read → why.</summary>
    private static readonly (Regex Pattern, string Reason)[] Unsupported =
    [
        (BundledEmbedding(), "an embedding that OneTrainer bundled with the LoRA is no part of it; use it as a textual inversion elsewhere"),
        (WholeDifference(),
            "whole differences of weights and biases (diff, diff_b, set_weight) are not supported; merge them into the base with the tool that made them"),
        (Norm(), "trained norms (w_norm, b_norm) are not supported; merge them into the base with the tool that made them"),
        (Orthogonal(), "orthogonal finetuning (OFT, BOFT) is not supported; merge it into the base with the tool that made it"),
        (Glora(), "GLoRA is not supported; merge it into the base with the tool that made it"),
        (Ia3(), "(IA)³ is not supported; merge it into the base with the tool that made it"),
    ];

    /// <summary>Whether a module is named with dots.</summary>
    public bool IsDotted => Module.Contains('.', StringComparison.Ordinal);

    /// <summary>Whether the name begins as kohya's and LyCORIS' do.</summary>
    public bool IsOfKohya => Text.StartsWith("lora_", StringComparison.Ordinal) || Text.StartsWith("lycoris_", StringComparison.Ordinal);

    /// <summary>Whether a name's own beginning says that it belongs to a LoRA, whatever its end says.</summary>
    public bool IsOfLora => Part is not null || IsOfKohya;

    /// <summary>Why a name that ends like no part is left out, if that is known.</summary>
    public static string? WhyUnsupported(string text) => Unsupported.FirstOrDefault(entry => entry.Pattern.IsMatch(text)).Reason;

    /// <summary>Takes a name apart.</summary>
    /// <param name="text">The name.</param>
    /// <param name="parts">The networks of a model, whose own names also count; may be none.</param>
    public static LoraKey Parse(string text, IReadOnlyList<LoraPart> parts)
    {
        var (module, part) = Split(text);
        if (module.StartsWith(PeftFolder.Prefix, StringComparison.Ordinal))
        {
            return new LoraKey(text, null, module[PeftFolder.Prefix.Length..], IsWrapped: true, part);
        }

        foreach (var own in parts)
        {
            if (After(module, own.KohyaPrefix, orUnderscore: true) is { } ofKohya)
            {
                return new LoraKey(text, own.Name, ofKohya, IsWrapped: false, part);
            }
        }

        foreach (var (prefix, network) in Prefixes)
        {
            if (After(module, prefix, prefix.StartsWith('l')) is { } rest)
            {
                return new LoraKey(text, network, rest, IsWrapped: false, part);
            }
        }

        var named = parts.FirstOrDefault(own => After(module, own.Name, orUnderscore: false) is not null);
        return new LoraKey(text, named?.Name, named is null ? module : module[(named.Name.Length + 1)..], IsWrapped: false, part);
    }

    /// <summary>The name of the tensor without which this one means nothing, e.g. of B for A; <see langword="null"/> if it stands for itself.</summary>
    public string? Counterpart()
    {
        if (Part is null || Part.EndsWith(".bias", StringComparison.Ordinal))
        {
            return null;
        }

        if (LoraNames.Ending.Match(Text) is { Success: true } match)
        {
            var part = match.Groups["part"];
            var other = LoraNames.Find(part.Value) is { Factor.Counterpart: { } counterpart } found
                && LoraNames.Find(LoraNames.Stem(counterpart)) is { Factor: var factor }
                ? LoraNames.Stem(found.IsKohyas ? factor.Kohya ?? factor.Name : factor.Name)
                : null;
            return other is null ? null : Text[..part.Index] + other + Text[(part.Index + part.Length)..];
        }

        return OldEnding().Match(Text) is { Success: true } old && old.Groups["way"] is var way
            ? Text[..way.Index] + (way.Value == "down" ? "up" : "down") + Text[(way.Index + way.Length)..]
            : null;
    }

    /// <summary>A name's beginning up to the module, and the part after it.</summary>
    public static (string Stem, string? Part) Split(string text)
    {
        if (LoraNames.Ending.Match(text) is { Success: true } match)
        {
            var part = match.Groups["part"].Value;
            return (match.Groups["module"].Value, LoraNames.Find(part) is not { Factor: var factor } ? part
                : match.Groups["kind"].Value == "bias" && factor.Name.EndsWith(".weight", StringComparison.Ordinal) ? BiasOf(factor)
                : factor.Name);
        }

        return OldEnding().Match(text) is { Success: true } old
            ? (old.Groups["module"].Value, (old.Groups["way"].Value == "down" ? LoraState.DownPart : LoraState.UpPart)[1..])
            : (text, null);
    }

    private static string? BiasOf(LoraFactor factor) =>
        LoraNames.Stem(factor.Name) + ".bias" is var bias && LoraNames.Factors.Any(other => other.Name == bias) ? bias : null;

    private static string? After(string text, string prefix, bool orUnderscore) =>
        text.Length > prefix.Length + 1
        && text.StartsWith(prefix, StringComparison.Ordinal)
        && (text[prefix.Length] == '.' || (orUnderscore && text[prefix.Length] == '_'))
            ? text[(prefix.Length + 1)..]
            : null;

    /// <summary>diffusers' first year.</summary>
    [GeneratedRegex(@"^(?<module>.+?)(?:\.lora|\.lora_linear_layer|_lora)\.(?<way>down|up)\.weight$")]
    private static partial Regex OldEnding();

    [GeneratedRegex(@"^bundle_emb\.")]
    private static partial Regex BundledEmbedding();

    [GeneratedRegex(@"\.(?:diff|diff_b|set_weight|reshape_weight)$")]
    private static partial Regex WholeDifference();

    [GeneratedRegex(@"\.(?:w_norm|b_norm)$")]
    private static partial Regex Norm();

    [GeneratedRegex(@"\.(?:oft_blocks|oft_diag|oft_[rR]|boft_[rRs]|rescale)(?:\.[^.]+)?(?:\.weight)?$|^oft_")]
    private static partial Regex Orthogonal();

    [GeneratedRegex(@"\.(?:a1|a2|b1|b2|bm1|bm2)(?:\.weight)?$")]
    private static partial Regex Glora();

    [GeneratedRegex(@"\.(?:on_input|ia3_l)(?:\.[^.]+)?$")]
    private static partial Regex Ia3();
}
