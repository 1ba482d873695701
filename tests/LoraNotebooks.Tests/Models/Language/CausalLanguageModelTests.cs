using LoraNotebooks.Formats;
using LoraNotebooks.Models;
using LoraNotebooks.Models.Language;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Models.Language;

public sealed class CausalLanguageModelTests
{
    public static TheoryData<string> Names { get; } = new(TinyLanguageModels.Names);

    [Theory]
    [MemberData(nameof(Names))]
    public void Save_Model_ReadsBackBitForBit(string name)
    {
        using var folder = new TemporaryFolder();
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        using var model = TinyLanguageModels.Create(name);
        model.Save(folder.In("a"));
        using var read = CausalLanguageModel.FromFolder(folder.In("a"));
        read.Save(folder.In("b"));

        Assert.Equal(model.GetType(), read.GetType());
        Assert.Equal(0, Fixtures.MaxDifference(model.call(TinyLanguageModels.Ids), read.call(TinyLanguageModels.Ids)));
        foreach (var file in (string[])[ModelFolder.Config, ModelFolder.TransformersWeights])
        {
            Assert.Equal(File.ReadAllBytes(folder.In("a", file)), File.ReadAllBytes(folder.In("b", file)));
        }

        using var saved = SafetensorsFile.Open(folder.In("a", ModelFolder.TransformersWeights));
        Assert.Equal(!model.Config.TieWordEmbeddings, saved.Tensors.ContainsKey("lm_head.weight"));
        Assert.Equal(WeightCountOf(model), model.Config.WeightCount);
    }

    [Fact]
    public void WeightCount_OfOtherOptions_IsWhatTheModelHas()
    {
        CausalLanguageConfig[] configs =
        [
            TinyLanguageModels.Llama with { AttentionBias = true, MlpBias = true, TieWordEmbeddings = true, HeadDim = 6, NumKeyValueHeads = null },
            TinyLanguageModels.Qwen2 with { TieWordEmbeddings = false, HeadDim = 2 },
            TinyLanguageModels.Gpt2 with { TieWordEmbeddings = false, IntermediateSize = 20 },
        ];
        Assert.All(configs, static config =>
        {
            using var folder = new TemporaryFolder();
            using var scope = NewDisposeScope();
            using var noGradient = no_grad();
            using var model = TinyLanguageModels.Create(config);
            model.Save(folder.Path);
            using var read = CausalLanguageModel.FromFolder(folder.Path);
            Assert.Equal(WeightCountOf(model), config.WeightCount);
            Assert.Equal(0, Fixtures.MaxDifference(model.call(TinyLanguageModels.Ids), read.call(TinyLanguageModels.Ids)));
        });
    }

    [Fact]
    public void Logits_ScaleOptionsOfGpt2_DivideTheScores()
    {
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        var config = TinyLanguageModels.Gpt2;
        using var plain = TinyLanguageModels.Create(config);
        using var unscaled = TinyLanguageModels.Create(config with { ScaleAttnWeights = false });
        using var inverse = TinyLanguageModels.Create(config with { ScaleAttnByInverseLayerIdx = true });
        Assert.True(Fixtures.MaxDifference(plain.call(TinyLanguageModels.Ids), unscaled.call(TinyLanguageModels.Ids)) > 1e-3);

        // With d = 8, scores without 1/√8 are those of queries √8 times as large; those of the second layer are divided by 2.
        ScaleQueries(unscaled, 0, 1 / Math.Sqrt(8));
        ScaleQueries(unscaled, 1, 1 / Math.Sqrt(8));
        ScaleQueries(inverse, 1, 2);
        Assert.InRange(Fixtures.MaxDifference(plain.call(TinyLanguageModels.Ids), unscaled.call(TinyLanguageModels.Ids)), 0, 1e-5);
        Assert.InRange(Fixtures.MaxDifference(plain.call(TinyLanguageModels.Ids), inverse.call(TinyLanguageModels.Ids)), 0, 1e-5);

        static void ScaleQueries(CausalLanguageModel model, int layer, double factor)
        {
            model.get_parameter($"transformer.h.{layer}.attn.c_attn.weight")!.narrow(1, 0, 16).mul_(factor);
            model.get_parameter($"transformer.h.{layer}.attn.c_attn.bias")!.narrow(0, 0, 16).mul_(factor);
        }
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void Constructor_InAScopeThatEnds_LeavesTheModelItsWeights(string name)
    {
        CausalLanguageModel model;
        using (NewDisposeScope())
        {
            model = TinyLanguageModels.Create(name);
        }

        using var scope = NewDisposeScope();
        Assert.Equal([1, 8, 20], model.call(TinyLanguageModels.Ids).shape);
        Assert.Equal(model.Config.WeightCount, WeightCountOf(model));
        model.Dispose();
    }

    [Fact]
    public void FromFolder_TiedHeadInTheFile_IsTheEmbeddingAllTheSame()
    {
        using var folder = new TemporaryFolder();
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        using var model = TinyLanguageModels.Create("qwen2");
        model.Save(folder.Path);
        Rewrite(folder, static tensors => tensors["lm_head.weight"] = zeros(20, 16));
        using var read = Qwen2ForCausalLM.FromFolder(folder.Path);
        Assert.Equal(0, Fixtures.MaxDifference(model.call(TinyLanguageModels.Ids), read.call(TinyLanguageModels.Ids)));
    }

    /// <summary>The first files of GPT-2 have bare names and carry its masks.</summary>
    [Fact]
    public void FromFolder_NamesOfABareDecoder_AreRead()
    {
        using var folder = new TemporaryFolder();
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        using var model = TinyLanguageModels.Create("gpt2");
        model.Save(folder.Path);
        Rewrite(folder, static tensors =>
        {
            foreach (var key in tensors.Keys.ToList())
            {
                tensors.Remove(key, out var tensor);
                tensors[key["transformer.".Length..]] = tensor!;
            }

            tensors["h.0.attn.bias"] = ones(1, 1, 32, 32).tril();
            tensors["h.0.attn.masked_bias"] = tensor(-1e4f);
        });
        using var read = CausalLanguageModel.FromFolder(folder.Path);
        Assert.Equal(0, Fixtures.MaxDifference(model.call(TinyLanguageModels.Ids), read.call(TinyLanguageModels.Ids)));
    }

    [Fact]
    public void FromFolder_MissingHead_IsNamed()
    {
        using var folder = new TemporaryFolder();
        using var scope = NewDisposeScope();
        using var model = TinyLanguageModels.Create("llama");
        model.Save(folder.Path);
        Rewrite(folder, static tensors => tensors.Remove("lm_head.weight"));
        Assert.Contains("missing: lm_head.weight [20, 16]", Assert.Throws<InvalidDataException>(() => CausalLanguageModel.FromFolder(folder.Path)).Message);
    }

    [Fact]
    public void FromFolder_OtherArchitecture_NamesThoseThatAreKnown()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder.In(ModelFolder.Config), """{ "model_type": "mamba" }""");
        Assert.Contains(
            "got model_type mamba, expected llama, qwen2 or gpt2",
            Assert.Throws<InvalidDataException>(() => CausalLanguageModel.FromFolder(folder.Path)).Message);
    }

    [Fact]
    public void FromFolder_BFloat16_ComputesCloseToFloat32()
    {
        using var folder = new TemporaryFolder();
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        foreach (var name in TinyLanguageModels.Names)
        {
            using var model = TinyLanguageModels.Create(name);
            model.Save(folder.Path);
            using var half = CausalLanguageModel.FromFolder(folder.Path, ScalarType.BFloat16);
            var mask = tensor(new long[,] { { 0, 0, 1, 1, 1, 1, 1, 1 } });
            var logits = half.Logits(TinyLanguageModels.Ids, mask);
            Assert.Equal(ScalarType.BFloat16, logits.dtype);
            Assert.InRange(Fixtures.RelativeDifference(model.Logits(TinyLanguageModels.Ids, mask)[.., 2..], logits[.., 2..]), 0, 0.1);
        }
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void Logits_LaterToken_DoesNotChangeEarlierOnes(string name)
    {
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        using var model = TinyLanguageModels.Create(name);
        var changed = TinyLanguageModels.Ids;
        changed[0, 5] = 9;
        var (first, second) = (model.call(TinyLanguageModels.Ids), model.call(changed));
        Assert.Equal(0, Fixtures.MaxDifference(first[.., ..5], second[.., ..5]));
        Assert.True(Fixtures.MaxDifference(first[.., 5..6], second[.., 5..6]) > 1e-3);
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void Logits_PaddedText_AreThoseOfTheTextAlone(string name)
    {
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        using var model = TinyLanguageModels.Create(name);
        var ids = TinyLanguageModels.Ids;
        var alone = model.call(ids[.., 3..]);
        var left = model.Logits(ids, tensor(new long[,] { { 0, 0, 0, 1, 1, 1, 1, 1 } }), tensor(new long[,] { { 0, 0, 0, 0, 1, 2, 3, 4 } }));
        var right = model.Logits(cat([ids[.., 3..], ids[.., ..3]], 1), tensor(new long[,] { { 1, 1, 1, 1, 1, 0, 0, 0 } }));
        Assert.InRange(Fixtures.MaxDifference(alone, left[.., 3..]), 0, 1e-5);
        Assert.InRange(Fixtures.MaxDifference(alone, right[.., ..5]), 0, 1e-5);
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void HiddenStates_LastOne_MakesTheLogits(string name)
    {
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        using var model = TinyLanguageModels.Create(name);
        var states = model.HiddenStates(TinyLanguageModels.Ids);
        var head = model.Config.TieWordEmbeddings ? $"{model.Config.DecoderName}.{model.Config.EmbeddingName}.weight" : "lm_head.weight";
        Assert.Equal(3, states.Count);
        Assert.InRange(Fixtures.MaxDifference(model.call(TinyLanguageModels.Ids), states[^1].matmul(model.get_parameter(head)!.t())), 0, 1e-5);
    }

    [Fact]
    public void Logits_SlidingWindow_ForgetsWhatIsBeforeIt()
    {
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        var config = TinyLanguageModels.Qwen2 with { NumHiddenLayers = 1, UseSlidingWindow = true, SlidingWindow = 3, MaxWindowLayers = 0 };
        var changed = TinyLanguageModels.Ids;
        changed[0, 0] = 9;
        Assert.Equal((0, 2), Reach(config));
        Assert.Equal((0, 7), Reach(config with { MaxWindowLayers = 1 }));
        Assert.Equal((0, 7), Reach(config with { LayerTypes = ["full_attention"] }));
        Assert.Equal((0, 2), Reach(config with { MaxWindowLayers = 1, LayerTypes = ["sliding_attention"] }));

        // The first and the last token on whose logits the first one has an effect.
        (long First, long Last) Reach(Qwen2Config config)
        {
            using var model = TinyLanguageModels.Create(config);
            var moved = (model.call(TinyLanguageModels.Ids) - model.call(changed)).abs().amax([0, 2]).gt(0).nonzero().data<long>().ToArray();
            return (moved[0], moved[^1]);
        }
    }

    [Fact]
    public void Loss_Labels_AreShiftedAndIgnoredOnesDoNotCount()
    {
        using var scope = NewDisposeScope();
        var logits = zeros(1, 3, 4);
        logits[0, 0, 2] = 100; // At the first place the second label, 2, is sure; at the second place nothing is.
        Assert.Equal(Math.Log(4) / 2, CausalLanguageModel.Loss(logits, tensor(new long[,] { { 0, 2, 1 } })).item<float>(), 5);
        Assert.Equal(0, CausalLanguageModel.Loss(logits, tensor(new long[,] { { 0, 2, -100 } })).item<float>(), 5);
        Assert.Contains("[N, T]", Assert.Throws<ArgumentException>(() => CausalLanguageModel.Loss(logits, tensor(new long[,] { { 0, 2 } }))).Message);
    }

    [Fact]
    public void Logits_BadInput_SaysWhatIsExpected()
    {
        using var scope = NewDisposeScope();
        using var model = TinyLanguageModels.Create("gpt2");
        Assert.Contains("to 32, the model's positions", Assert.Throws<ArgumentException>(() => model.call(zeros(1, 33, ScalarType.Int64))).Message);
        Assert.Contains("expected [1, 8]", Assert.Throws<ArgumentException>(() => model.Logits(TinyLanguageModels.Ids, ones(1, 7))).Message);
        Assert.Contains(
            "expected Int64 [1, 8]",
            Assert.Throws<ArgumentException>(() => model.Logits(TinyLanguageModels.Ids, positions: zeros(2, 8, ScalarType.Int64))).Message);
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void Logits_ManyCalls_KeepTensorCountFlat(string name)
    {
        using var model = TinyLanguageModels.Create(name);
        using var ids = TinyLanguageModels.Ids;
        Run();
        var before = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
        for (var i = 0; i < 10; i++)
        {
            Run();
        }

        Assert.Equal(before, DisposeScopeManager.Statistics.ThreadTotalLiveCount);

        void Run()
        {
            using var logits = model.call(ids);
            using var loss = CausalLanguageModel.Loss(logits, ids);
            loss.backward();
            foreach (var state in model.HiddenStates(ids))
            {
                state.Dispose();
            }
        }
    }

    private static double WeightCountOf(nn.Module model) => model.parameters().Sum(static parameter => (double)parameter.numel());

    private static void Rewrite(TemporaryFolder folder, Action<Dictionary<string, Tensor>> change)
    {
        var path = folder.In(ModelFolder.TransformersWeights);
        var tensors = SafetensorsFile.LoadAll(path);
        change(tensors);
        SafetensorsFile.Write(path, tensors);
    }
}
