using LoraNotebooks.Adapters;
using LoraNotebooks.Formats;
using LoraNotebooks.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Adapters;

/// <summary>Adapters to and from the form that files are read into.</summary>
public sealed class AdapterStateTests : IDisposable
{
    private static readonly LoraConfig Config = new() { Rank = 2, Alpha = 4, TargetModules = ["line", "conv"] };

    private readonly DisposeScope _scope = NewDisposeScope();
    private readonly Generator _generator = new(7);
    private readonly nn.Module _model;

    public AdapterStateTests() => _model = nn.Sequential(("line", nn.Linear(3, 4)), ("conv", nn.Conv2d(3, 4, 3, bias: false)));

    public void Dispose()
    {
        _model.Dispose();
        _generator.Dispose();
        _scope.Dispose();
    }

    /// <summary>A state is a copy with every α in it; of rank-stabilized LoRA the one that gives the same scale over the rank.</summary>
    [Fact]
    public void State_OfAnAdapter_IsACopyWithItsAlphas()
    {
        using var adapted = new AdaptedModel(_model);
        adapted.Add(
            "a",
            Config with { Rank = 4, Alpha = 3, UseRsLora = true, AlphaPattern = new Dictionary<string, double> { ["conv"] = 6 }, Dropout = 0.5 },
            _generator);
        adapted.Randomize("a", _generator);
        using var state = adapted.ToState("a");
        var copy = state.Tensors["line.lora_A.weight"].clone();
        adapted.Randomize("a", _generator);

        Assert.Equal(
            [("conv", 12.0), ("line", 6.0)],
            state.Alphas.OrderBy(static pair => pair.Key, StringComparer.Ordinal).Select(static pair => (pair.Key, pair.Value)));
        Assert.Equal(0, Fixtures.MaxDifference(copy, state.Tensors["line.lora_A.weight"]));
        Assert.Equal("0.5", state.Config!["lora_dropout"]!.ToJsonString());
        Assert.All(state.Tensors.Values, static tensor => Assert.False(tensor.requires_grad));

        adapted.LoadState("a", state);

        Assert.All(adapted.NamedParameters("a"), p => Assert.Equal(0, Fixtures.MaxDifference(state.Tensors[p.Name], p.Parameter)));
        Assert.True(adapted.GetLayers("a")[0].Training);
        Assert.Equal(
            "There is an adapter 'a' already. Remove it first or take another name.",
            Assert.Throws<ArgumentException>(() => adapted.Add("a", state)).Message);
        adapted.Add("b", state);
        Assert.False(adapted.GetLayers("b")[0].Training);
        Assert.All(
            adapted.NamedParameters("b"),
            p => Assert.True(Fixtures.MaxDifference(state.Tensors[p.Name], p.Parameter) == 0 && p.Parameter.requires_grad));
    }

    /// <summary>α is written as it was given, not as s·r, which rounds: 1/49·49 is less than 1.</summary>
    [Fact]
    public void State_OfAnyRank_HasTheAlphaThatWasGiven()
    {
        using var adapted = new AdaptedModel(_model);
        adapted.Add("a", new LoraConfig { Rank = 49, Alpha = 1, TargetModules = ["line"] }, _generator);

        Assert.Equal(1, adapted.ToState("a").Alphas["line"]);
    }

    /// <summary>What a file says of how the base keeps its weights is kept, whatever the model has; a new adapter says it of the model.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Settings_OfAFile_KeepHowWeightsLie(bool told)
    {
        using var turned = nn.Sequential(("line", told ? nn.Linear(3, 4) : new TransposedLinear(3, 4)));
        using var adapted = new AdaptedModel(turned);
        var config = new LoraConfig { Rank = 2, TargetModules = ["line"] };
        adapted.Add("new", config with { FanInFanOut = told }, _generator);
        using var state = adapted.ToState("new");
        adapted.Add("file", new LoraState(state.Tensors, config: (config with { FanInFanOut = told }).ToPeftJson()));

        Assert.Equal((!told, told), (adapted.GetConfig("new").FanInFanOut, adapted.GetConfig("file").FanInFanOut));
    }

    [Fact]
    public void Add_OfAStateForAnotherModel_SaysWhatDoesNotFitAndAddsNothing()
    {
        using var adapted = Trained("a");
        using var good = adapted.ToState("a");
        var json = new LoraConfig { TargetModules = ["other"] }.ToPeftJson();
        var large = (Config with { Rank = 5 }).ToPeftJson();

        Assert.StartsWith(
            "The settings of adapter 'b' do not fit this model. The adapter does not fit the model:\n- TargetModules: 'other' means no layer",
            Assert.Throws<InvalidDataException>(() => adapted.Add("b", new LoraState(good.Tensors, config: json))).Message);
        Assert.Equal(
            "The adapter's configuration gives line rank 5, its weights have at most 2: expected a configuration and weights that belong together.",
            Assert.Throws<InvalidDataException>(() => adapted.Add("b", new LoraState(good.Tensors, config: large))).Message);
        Assert.Equal(
            "'conv.lora_A.weight' needs 54 numbers at rank 2, [2, 3, 3, 3], and its file has only 6: expected weights that belong together; "
                + "was it trained for another model?",
            Assert.Throws<InvalidDataException>(() => adapted.Add(
                "b",
                new LoraState(new Dictionary<string, Tensor>
                {
                    ["conv.lora_A.weight"] = ones(2, 2),
                    ["conv.lora_B.weight"] = ones(2, 1),
                    ["conv2.lora_A.weight"] = ones(2, 2),
                    ["conv2.lora_B.weight"] = ones(2, 1),
                }))).Message);
        Assert.Equal(
            "The adapter's configuration gives line rank 2, its weights have at most 0: expected a configuration and weights that belong together.",
            Assert.Throws<InvalidDataException>(() =>
                adapted.Add("b", new LoraState(new Dictionary<string, Tensor> { ["line.lora_A.weight"] = tensor(1f) }, config: good.Config))).Message);
        Assert.Equal(["a"], adapted.Names);
    }

    /// <summary>A layer that a file lacks is missing from it, not too large for it; nothing is left of those that were made.</summary>
    [Fact]
    public void Add_OfAFileWithoutOneLayer_NamesWhatIsMissing()
    {
        using var two = nn.Sequential(("first", nn.Linear(3, 4)), ("second", nn.Linear(5, 4)));
        using var adapted = new AdaptedModel(two);
        var state = new LoraState(
            new Dictionary<string, Tensor> { ["first.lora_A.weight"] = ones(2, 3), ["first.lora_B.weight"] = ones(4, 2) },
            config: new LoraConfig { Rank = 2, TargetModules = ["first", "second"] }.ToPeftJson());
        var live = DisposeScopeManager.Statistics.ThreadTotalLiveCount;

        Assert.EndsWith(
            "(2 faults); was it trained for another model?\n- missing: second.lora_A.weight [2, 5]\n- missing: second.lora_B.weight [4, 2]",
            Assert.Throws<InvalidDataException>(() => adapted.Add("a", state)).Message);
        Assert.Equal(live, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
    }

    /// <summary>A name in a file that has no settings is a whole path: a layer whose path only ends in it gets nothing.</summary>
    [Fact]
    public void Add_OfAFileWithoutSettings_AdaptsOnlyTheLayersItHas()
    {
        using var nested = nn.Sequential(("line", nn.Linear(3, 4)), ("inner", nn.Sequential(("line", nn.Linear(3, 4)))));
        using var adapted = new AdaptedModel(nested);

        adapted.Add("a", new LoraState(new Dictionary<string, Tensor> { ["line.lora_A.weight"] = ones(2, 3), ["line.lora_B.weight"] = ones(4, 2) }));

        Assert.Equal("line", Assert.Single(adapted.GetLayers("a")).Path);
    }

    /// <summary>A table of a rank beyond the file's numbers is refused before it is allocated, whichever of its factors is the larger.</summary>
    [Theory]
    [InlineData(9, 2, "lora_embedding_A", "18 numbers at rank 2, [2, 9]")]
    [InlineData(2, 9, "lora_embedding_B", "18 numbers at rank 2, [9, 2]")]
    public void Add_OfATableBeyondTheFile_IsRefused(int vocabulary, int size, string factor, string needed)
    {
        using var one = nn.Sequential(("token", nn.Embedding(vocabulary, size)));
        using var adapted = new AdaptedModel(one);
        var tensors = new Dictionary<string, Tensor> { ["token.lora_embedding_A"] = ones(2, 2), ["token.lora_embedding_B"] = ones(2, 2) };

        Assert.Equal(
            $"'token.{factor}' needs {needed}, and its file has only 8: expected weights that belong together; was it trained for another model?",
            Assert.Throws<InvalidDataException>(() => adapted.Add("a", new LoraState(tensors))).Message);
    }

    /// <summary>A factor may have all numbers of its file, but no more.</summary>
    [Fact]
    public void Add_OfAFileWithOneFactor_NamesTheOther()
    {
        using var one = nn.Sequential(("line", nn.Linear(3, 1)));
        using var adapted = new AdaptedModel(one);

        Assert.EndsWith(
            "- missing: line.lora_B.weight [1, 2]",
            Assert.Throws<InvalidDataException>(() =>
                adapted.Add("a", new LoraState(new Dictionary<string, Tensor> { ["line.lora_A.weight"] = ones(2, 3) }))).Message);
    }

    /// <summary>A table that a file brings along takes the base's place, at the adapter's weight, and does not train.</summary>
    [Fact]
    public void Add_OfAFileWithATable_ActsByItsDifferenceAndTrainsOnlyTheFactors()
    {
        using var embedding = nn.Embedding(5, 2);
        using var one = nn.Sequential(("token", (nn.Module<Tensor, Tensor>)embedding));
        using var adapted = new AdaptedModel(one);
        var (table, A, B) = (randn([5, 2], generator: _generator), randn([1, 5], generator: _generator), randn([2, 1], generator: _generator));
        Dictionary<string, Tensor> tensors = new() { ["token.lora_embedding_A"] = A, ["token.lora_embedding_B"] = B, ["token.base_layer.weight"] = table };
        adapted.Add("a", new LoraState(tensors, config: new LoraConfig { Rank = 1, Alpha = 3, TargetModules = ["token"] }.ToPeftJson()));
        adapted.SetWeight("a", 0.5);
        var (W, T, up, down) = (Nd.Of(embedding.weight!), Nd.Of(table), Nd.Of(B), Nd.Of(A));

        var expected = W.Map(i => W[i] + (0.5 * (T[i] - W[i] + (3 * up[i[1], 0] * down[0, i[0]])))).ToTensor();

        Assert.InRange(Fixtures.RelativeDifference(expected, one.call(arange(5))), 0, 1e-5);
        Assert.Equal(["token.lora_embedding_A", "token.lora_embedding_B", "token.base_layer.weight"], adapted.NamedParameters("a").Select(static p => p.Name));
        Assert.Equal(2, adapted.TrainableParameters("a").Count);
        Assert.Equal(7, Assert.Single(adapted.Report("a").Rows).Parameters);
        adapted.Merge();
        Assert.InRange(Fixtures.RelativeDifference(expected, embedding.weight!), 0, 1e-5);
    }

    [Fact]
    public void LoadState_OfWhatDoesNotFit_ListsTenFaultsInOrder()
    {
        using var adapted = Trained("a");
        var tensors = Enumerable.Range(10, 9).ToDictionary(static i => $"x{i}", static _ => ones(1));
        tensors["conv.lora_B.weight"] = ones(4, 2);

        Assert.Equal(
            "The weights of adapter 'a' do not fit (13 faults); was it trained for another model?\n- missing: conv.lora_A.weight [2, 3, 3, 3]\n"
            + "- missing: line.lora_A.weight [2, 3]\n- missing: line.lora_B.weight [4, 2]\n"
            + string.Join('\n', Enumerable.Range(10, 7).Select(static i => $"- unexpected: x{i} [1]")) + "\n- and 3 more",
            Assert.Throws<InvalidDataException>(() => adapted.LoadState("a", new LoraState(tensors))).Message);
    }

    private AdaptedModel Trained(params string[] names) => TrainedAdapters.On(_model, Config, _generator, names);
}
