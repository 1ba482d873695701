using static TorchSharp.torch;

namespace LoraNotebooks.Models.Language;

/// <summary>Qwen2 and Qwen2.5 with a head over the vocabulary: Llama's architecture with a bias on queries, keys and values.</summary>
/// <remarks>Source: Yang et al. 2024 (arXiv:2407.10671), section 2.2; transformers, models/qwen2/modeling_qwen2.py, <c>Qwen2ForCausalLM</c>.</remarks>
public sealed class Qwen2ForCausalLM : CausalLanguageModel
{
    /// <summary>Creates the model; loading gives it weights.</summary>
    /// <param name="config">The architecture.</param>
    /// <exception cref="ArgumentException">The configuration has faults; all are listed.</exception>
    public Qwen2ForCausalLM(Qwen2Config config)
        : base(nameof(Qwen2ForCausalLM), new RotaryDecoder(config), config) => Config = config;

    /// <inheritdoc/>
    public override Qwen2Config Config { get; }

    /// <summary>Reads a folder: config.json and safetensors weights.</summary>
    /// <inheritdoc cref="ModelFolder.Load{T}"/>
    public static new Qwen2ForCausalLM FromFolder(string folder, ScalarType? dtype = null, Device? device = null, string? variant = null) =>
        Load(folder, Qwen2Config.Load, static config => new Qwen2ForCausalLM(config), dtype, device, variant);
}
