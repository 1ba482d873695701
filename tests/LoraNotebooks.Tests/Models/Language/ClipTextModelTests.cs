using LoraNotebooks.Models.Language;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Models.Language;

public sealed class ClipTextModelTests(ParityTable table) : IClassFixture<ParityTable>, IDisposable
{
    private static readonly ClipTextConfig Tiny = new()
    {
        VocabSize = 20,
        HiddenSize = 8,
        IntermediateSize = 16,
        NumHiddenLayers = 2,
        NumAttentionHeads = 2,
        MaxPositionEmbeddings = 6,
        EosTokenId = 19,
    };

    private readonly string _folder = Directory.CreateTempSubdirectory("clip-text-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    /// <summary>The models with one encoder; SDXL's two have tests of their own.</summary>
    public static TheoryData<string> Models => [.. Fixtures.Models.Where(static name => !Fixtures.IsXL(name))];

    [Theory]
    [MemberData(nameof(Models))]
    [Trait("Category", "Parity")]
    public void Forward_Case_EqualsUpstream(string name)
    {
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        using var model = ClipTextModel.FromFolder(Path.Combine(Fixtures.Case(name), "text_encoder"));
        var inputs = Fixtures.Tensors(name, "inputs.safetensors");
        var expected = Fixtures.Tensors(name, "expected.safetensors");
        var limit = Fixtures.Json(name, "case.json").GetProperty("tolerance").GetProperty("text_encoder").GetDouble();
        foreach (var part in inputs.Keys.Where(key => key.EndsWith(".input_ids", StringComparison.Ordinal)).Select(key => key.Split('.')[0]))
        {
            var ids = inputs[$"{part}.input_ids"];
            var last = model.call(ids);
            Check($"{part}.last_hidden_state", last);
            Check($"{part}.pooler_output", model.PooledOutput(ids, last));
            Check($"{part}.penultimate_raw", model.HiddenStates(ids, clipSkip: 2, finalLayerNorm: false));
            Check($"{part}.clip_skip2_with_final_layer_norm", model.HiddenStates(ids, clipSkip: 2));
            Check($"{part}.hidden_states_1", model.HiddenStates(ids, model.Config.NumHiddenLayers, finalLayerNorm: false));
        }

        void Check(string key, Tensor actual) =>
            table.Check(name, key[(key.IndexOf('.', StringComparison.Ordinal) + 1)..], Fixtures.MaxDifference(expected[key], actual), limit, key);
    }

    [Fact]
    public void Forward_LaterToken_DoesNotChangeEarlierStates()
    {
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        using var model = Create(seed: 1);
        var first = model.call(tensor(new long[,] { { 1, 2, 3, 4 } }));
        var second = model.call(tensor(new long[,] { { 1, 2, 3, 9 } }));
        Assert.Equal(0, Fixtures.MaxDifference(first[.., ..3], second[.., ..3]));
        Assert.True(Fixtures.MaxDifference(first[.., 3..], second[.., 3..]) > 1e-3);
    }

    [Fact]
    public void PooledOutput_ConfiguredEndToken_TakesItsFirstOccurrence()
    {
        using var scope = NewDisposeScope();
        using var model = Create(seed: 1);
        var states = arange(4).reshape(1, 4, 1).to(ScalarType.Float32);
        Assert.Equal(1, model.PooledOutput(tensor(new long[,] { { 3, 19, 19, 19 } }), states).item<float>());
    }

    [Fact]
    public void Initialize_SameSeed_GivesSameWeights()
    {
        using var scope = NewDisposeScope();
        using var a = Create(seed: 5);
        using var b = Create(seed: 5);
        using var c = Create(seed: 6);
        Assert.Equal(0, Fixtures.MaxDifference(a.parameters().First(), b.parameters().First()));
        Assert.NotEqual(0, Fixtures.MaxDifference(a.parameters().First(), c.parameters().First()));
        Assert.All(a.parameters(), parameter => Assert.True(parameter.abs().max().item<float>() <= 1.5f));
    }

    [Fact]
    public void Save_Model_ReadsBackToTheSameOutput()
    {
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        using var model = Create(seed: 2);
        model.Save(_folder);
        using var read = ClipTextModel.FromFolder(_folder);
        var ids = tensor(new long[,] { { 1, 2, 3 } });
        Assert.Equal(0, Fixtures.MaxDifference(model.call(ids), read.call(ids)));
        Assert.Equal(Tiny with { Extra = read.Config.Extra }, read.Config);
    }

    [Fact]
    public void Forward_ManyCalls_KeepsTensorCountFlat()
    {
        using var model = Create(seed: 1);
        using var ids = tensor(new long[,] { { 1, 2, 3 } });
        model.call(ids).Dispose();
        var before = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
        for (var i = 0; i < 20; i++)
        {
            model.call(ids).Dispose();
        }

        Assert.Equal(before, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
    }

    [Fact]
    public void Forward_BadInput_SaysWhatIsExpected()
    {
        using var scope = NewDisposeScope();
        using var model = Create(seed: 1);
        Assert.Contains("at most 6", Assert.Throws<ArgumentException>(() => model.call(zeros(1, 7, ScalarType.Int64))).Message);
        Assert.Contains(
            "1 (the last layer) to 2",
            Assert.Throws<ArgumentException>(() => model.HiddenStates(zeros(1, 3, ScalarType.Int64), clipSkip: 3)).Message);
    }

    [Fact]
    public void Constructor_SeveralFaults_ListsAll()
    {
        var message = Assert.Throws<ArgumentException>(() => new ClipTextModel(Tiny with { HiddenAct = "relu", NumAttentionHeads = 3, VocabSize = 0 })).Message;
        Assert.All(new[] { "hidden_act", "num_attention_heads", "vocab_size" }, key => Assert.Contains(key, message));
    }

    private static ClipTextModel Create(ulong seed)
    {
        var model = new ClipTextModel(Tiny);
        using var generator = new Generator(seed);
        model.Initialize(generator);
        return model;
    }
}
