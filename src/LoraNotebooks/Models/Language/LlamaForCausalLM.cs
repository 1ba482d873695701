using static TorchSharp.torch;

namespace LoraNotebooks.Models.Language;

/// <summary>Llama, from the first one to Llama 3.2's text models, with a head over the vocabulary.</summary>
/// <remarks>Source: Touvron et al. 2023 (arXiv:2302.13971), section 2.2; transformers, models/llama/modeling_llama.py, <c>LlamaForCausalLM</c>.</remarks>
public sealed class LlamaForCausalLM : CausalLanguageModel
{
    /// <summary>Creates the model; loading gives it weights.</summary>
    /// <param name="config">The architecture.</param>
    /// <exception cref="ArgumentException">The configuration has faults; all are listed.</exception>
    public LlamaForCausalLM(LlamaConfig config)
        : base(nameof(LlamaForCausalLM), new RotaryDecoder(config), config) => Config = config;

    /// <inheritdoc/>
    public override LlamaConfig Config { get; }

    /// <summary>Reads a folder: config.json and safetensors weights.</summary>
    /// <inheritdoc cref="ModelFolder.Load{T}"/>
    public static new LlamaForCausalLM FromFolder(string folder, ScalarType? dtype = null, Device? device = null, string? variant = null) =>
        Load(folder, LlamaConfig.Load, static config => new LlamaForCausalLM(config), dtype, device, variant);
}
