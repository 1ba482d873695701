using LoraNotebooks.Formats;
using static TorchSharp.torch;

namespace LoraNotebooks.Adapters.Tools;

/// <summary>How a LoRA is written.</summary>
public sealed record LoraWriting
{
    /// <summary>The kind of file or folder; default kohya's file.</summary>
    public LoraFileKind Kind { get; init; } = LoraFileKind.Kohya;

    /// <summary>The type of the weights; default <see langword="null"/>, each weight's own.</summary>
    public ScalarType? DType { get; init; }

    /// <summary>
    /// Whether kohya's names are SDXL's (original block names, two text encoders); default <see langword="null"/>, as the weights tell: SDXL has
    /// a second text encoder and attentions of more than one transformer block.
    /// </summary>
    public bool? IsSdxl { get; init; }

    /// <summary>The same, where nothing is given, as the file tells that the weights come from.</summary>
    internal LoraWriting For(LoraOrigin origin) =>
        IsSdxl is null && origin.Architecture == LoraArchitecture.StableDiffusionXL ? this with { IsSdxl = true } : this;
}

/// <summary>Writes LoRAs that are held network by network, without their base model.</summary>
internal static class LoraFileSet
{
    /// <summary>Writes one.</summary>
    /// <returns>The file or folder.</returns>
    public static void Write(string path, IReadOnlyDictionary<string, LoraState> states, IReadOnlyDictionary<string, string> metadata, LoraWriting writing)
    {
        var isSdxl = writing.IsSdxl
            ?? (states.ContainsKey("text_encoder_2")
                || states.Values.Any(static state => state.Tensors.Keys.Any(static name => name.Contains(".transformer_blocks.1.", StringComparison.Ordinal))));
        var parts = LoraParts.For(states.Keys, isSdxl, name => [.. states[name].Ranks.Keys]).Select(part => (part, states[part.Name])).ToList();
        switch (writing.Kind)
        {
            case LoraFileKind.Kohya:
                KohyaFile.Write(path, parts, WithoutOwn(metadata), writing.DType);
                break;
            case LoraFileKind.Diffusers:
                WithConfigs(parts, configured => DiffusersLoraFile.Write(
                    path.EndsWith(".safetensors", StringComparison.OrdinalIgnoreCase) ? path : Path.Combine(path, LoraFile.DiffusersName),
                    configured,
                    writing.DType,
                    WithoutOwn(metadata)));
                break;
            default:
                WithConfigs(parts, configured =>
                {
                    foreach (var (part, state) in configured)
                    {
                        PeftFolder.Write(configured.Count == 1 && part.Name == "model" ? path : Path.Combine(path, part.Name), state, writing.DType);
                    }
                });
                break;
        }
    }

    /// <summary>Metadata without what a writer computes itself.</summary>
    private static Dictionary<string, string> WithoutOwn(IReadOnlyDictionary<string, string> metadata) =>
        metadata
            .Where(static pair => pair.Key
                is not ("sshs_model_hash" or "sshs_legacy_hash" or "modelspec.hash_sha256" or "format" or "lora_adapter_metadata"))
            .ToDictionary(StringComparer.Ordinal);

    /// <summary>PEFT's kinds need settings; of a file without, the weights tell them.</summary>
    private static void WithConfigs(List<(LoraPart Part, LoraState State)> parts, Action<List<(LoraPart Part, LoraState State)>> write)
    {
        var faults = parts.Where(static pair => pair.State.Config is null)
            .SelectMany(static pair => Unsayable(pair.State).Select(fault => $"{pair.Part.Name}: {fault}"))
            .ToList();
        Faults.ThrowIfAny(faults, static found => new ArgumentException(
            $"PEFT cannot say what these weights mean; keep the kohya file:\n{Listing.Lines(found)}"));
        write([.. parts.Select(static pair => (pair.Part, pair.State.Config is null
            ? new LoraState(pair.State.Tensors, pair.State.Alphas, LoraConfig.FromState(pair.State).ToPeftJson())
            : pair.State))]);
    }

    private static IEnumerable<string> Unsayable(LoraState state)
    {
        var unknown = state.Ranks.Keys.Where(static path => !KohyaNames.IsKnown(path)).ToList();
        if (unknown.Count > 0)
        {
            yield return "modules of an architecture that is not Stable Diffusion's, whose dotted paths kohya's names do not tell: "
                + string.Join(", ", unknown.Take(3));
        }

        var methods = state.Ranks.Keys.Select(path => AdapterMethod.Of(state, path)).Distinct().ToList();
        if (methods.Select(static method => method.WhyNotPeft).OfType<string>().FirstOrDefault() is { } reason)
        {
            yield return reason;
        }
        else if (methods.Count > 1)
        {
            yield return $"several methods at once ({string.Join(", ", methods)})";
        }
    }
}
