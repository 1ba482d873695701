using System.Text.Json.Nodes;
using LoraNotebooks.Models.Language;

namespace LoraNotebooks.Tests.Models.Language;

public sealed class CausalLanguageConfigTests
{
    [Fact]
    public void Validate_SeveralFaults_ListsAll()
    {
        var llama = TinyLanguageModels.Llama with
        {
            NumKeyValueHeads = 3,
            HiddenAct = "mish",
            HeadDim = 3,
            PadTokenId = 20,
            Rotary = new RotaryConfig { Type = "yarn", Factor = 0 },
        };
        var qwen = TinyLanguageModels.Qwen2 with
        {
            UseSlidingWindow = true,
            SlidingWindow = null,
            LayerTypes = ["full_attention", "linear_attention", "full_attention"],
        };
        var gpt = TinyLanguageModels.Gpt2 with
        {
            NumAttentionHeads = 3,
            VocabSize = 0,
            HiddenAct = "mish",
            Extra = new Dictionary<string, JsonNode?> { ["add_cross_attention"] = true },
        };
        AssertNames(
            ["num_key_value_heads", "hidden_act", "head_dim", "pad_token_id", "rope_type", "rope_scaling.factor"],
            Assert.Throws<ArgumentException>(() => new LlamaForCausalLM(llama)).Message);
        AssertNames(
            ["sliding_window", "got 3 entries, expected 2", "linear_attention"],
            Assert.Throws<ArgumentException>(() => new Qwen2ForCausalLM(qwen)).Message);
        AssertNames(
            ["n_head", "vocab_size", "activation_function", "add_cross_attention"],
            Assert.Throws<ArgumentException>(() => new Gpt2LMHeadModel(gpt)).Message);
    }

    [Fact]
    public void Load_DamagedFile_NamesTheKeysOfPartsToo()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder.In("config.json"), """{ "model_type": "llama", "vocab_size": "many", "rope_scaling": { "rope_type": "llama3", "factor": true }, "rope_parameters": 3, "quantization_config": { "bits": 4 } }""");
        AssertNames(
            ["vocab_size: got \"many\"", "rope_scaling.factor: got true", "rope_parameters: got 3, expected an object", "quantization_config"],
            Assert.Throws<InvalidDataException>(() => LlamaConfig.Load(folder.In("config.json"))).Message);
    }

    /// <summary>Older files keep rope_theta outside and rope_scaling beside it, newer ones have it all in rope_parameters.</summary>
    [Theory]
    [InlineData("""{ "rope_theta": 500.0, "rope_scaling": null }""", 500, "default", 1)]
    [InlineData("""{ "rope_theta": 500.0, "rope_scaling": { "type": "linear", "factor": 4.0 } }""", 500, "linear", 4)]
    [InlineData("""{ "rope_parameters": { "rope_theta": 700.0, "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16 } }""", 700, "llama3", 8)]
    [InlineData("{ }", 10000, "default", 1)]
    public void Load_EitherFormOfRotary_ReadsAndWritesBoth(string json, double theta, string type, double factor)
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder.In("config.json"), json);
        var config = LlamaConfig.Load(folder.In("config.json"));
        File.WriteAllText(folder.In("again.json"), config.ToJson().ToJsonString());
        Assert.Equal((theta, type, factor), (config.Rotary.Theta, config.Rotary.Type, config.Rotary.Factor));
        Assert.Equal(config.Rotary, LlamaConfig.Load(folder.In("again.json")).Rotary);
        Assert.Equal(theta, config.ToJson()["rope_theta"]!.GetValue<double>());
        Assert.Equal(type, config.ToJson()["rope_parameters"]!["rope_type"]!.GetValue<string>());
    }

    [Fact]
    public void Frequencies_Llama3_StretchesOnlySlowOnes()
    {
        var plain = new RotaryConfig { Theta = 10000 };
        var stretched = plain with { Type = "llama3", Factor = 8, LowFreqFactor = 1, HighFreqFactor = 4, OriginalMaxPositionEmbeddings = 64 };
        var ratios = plain.Frequencies(32).Zip(stretched.Frequencies(32), static (a, b) => (double)b / a).ToList();
        Assert.Equal(1, ratios[0], 6); // 64 tokens are 10 turns of the fastest,
        Assert.Equal(1.0 / 8, ratios[^1], 6); // and less than one of the slowest.
        Assert.Contains(ratios, static ratio => ratio is > 0.126 and < 0.999);
        Assert.Equal(ratios.OrderDescending(), ratios);
        Assert.All(
            plain.Frequencies(8).Zip((plain with { Type = "linear", Factor = 4 }).Frequencies(8)),
            static pair => Assert.Equal(pair.First / 4, pair.Second, 6));
    }

    private static void AssertNames(string[] parts, string message) => Assert.All(parts, part => Assert.Contains(part, message));
}
