using LoraNotebooks.Models.Language;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Models.Language;

/// <summary>The smallest causal language models that still have everything: groups of queries, several layers, biases where there are any.</summary>
internal static class TinyLanguageModels
{
    public static LlamaConfig Llama => new()
    {
        VocabSize = 20,
        HiddenSize = 16,
        IntermediateSize = 12,
        NumHiddenLayers = 2,
        NumAttentionHeads = 4,
        NumKeyValueHeads = 2,
        MaxPositionEmbeddings = 32,
    };

    public static Qwen2Config Qwen2 => new()
    {
        VocabSize = 20,
        HiddenSize = 16,
        IntermediateSize = 12,
        NumHiddenLayers = 2,
        NumAttentionHeads = 4,
        NumKeyValueHeads = 1,
        MaxPositionEmbeddings = 32,
        TieWordEmbeddings = true,
    };

    public static Gpt2Config Gpt2 => new()
    {
        VocabSize = 20,
        HiddenSize = 16,
        NumHiddenLayers = 2,
        NumAttentionHeads = 2,
        MaxPositionEmbeddings = 32,
    };

    public static IReadOnlyList<string> Names { get; } = ["llama", "qwen2", "gpt2"];

    public static Tensor Ids => tensor(new long[,] { { 3, 7, 1, 19, 4, 4, 0, 11 } });

    public static CausalLanguageModel Create(string name) => name switch
    {
        "llama" => Create(Llama),
        "qwen2" => Create(Qwen2),
        _ => Create(Gpt2),
    };

    /// <summary>A model with weights large enough that everything has an effect.</summary>
    public static CausalLanguageModel Create(CausalLanguageConfig config)
    {
        CausalLanguageModel model = config switch
        {
            LlamaConfig llama => new LlamaForCausalLM(llama),
            Qwen2Config qwen => new Qwen2ForCausalLM(qwen),
            Gpt2Config gpt => new Gpt2LMHeadModel(gpt),
            _ => throw new ArgumentException(config.GetType().Name),
        };
        using var generator = new Generator(1);
        using var noGradient = no_grad();
        foreach (var (name, parameter) in model.named_parameters())
        {
            parameter.normal_(name.Contains("norm") || name.Contains("ln_") ? 1 : 0, 0.3, generator);
        }

        return model;
    }
}
