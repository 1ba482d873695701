using LoraNotebooks.Adapters;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Adapters;

/// <summary>Adapters come, act together, are merged and go: what each step promises of weights, outputs and messages.</summary>
public sealed class AdapterLifeTests : IDisposable
{
    private static readonly LoraConfig Config = new() { Rank = 2, Alpha = 4, TargetModules = ["line", "conv"] };

    private readonly DisposeScope _scope = NewDisposeScope();
    private readonly Generator _generator = new(7);
    private readonly nn.Module<Tensor, Tensor> _line;
    private readonly nn.Module<Tensor, Tensor> _conv;
    private readonly nn.Module _model;

    public AdapterLifeTests()
    {
        (_line, _conv) = (nn.Linear(3, 4), nn.Conv2d(3, 4, 3, bias: false));
        _model = nn.Sequential(("line", _line), ("conv", _conv), ("norm", nn.GroupNorm(1, 4)));
        using var noGrad = no_grad();
        foreach (var parameter in _model.parameters())
        {
            parameter.copy_(randn(parameter.shape, generator: _generator));
        }
    }

    public void Dispose()
    {
        _model.Dispose();
        _generator.Dispose();
        _scope.Dispose();
    }

    [Fact]
    public void NewModel_HasNoAdaptersAndIsFrozenUntilItIsGivenBack()
    {
        _conv.get_parameter("weight")!.requires_grad = false;
        var before = _model.named_parameters().ToDictionary(static p => p.name, static p => p.parameter.requires_grad);
        var adapted = new AdaptedModel(_model);

        Assert.Same(_model, adapted.BaseModel);
        Assert.Equal(["line", "conv", "norm"], adapted.ModulePaths);
        Assert.Empty(adapted.Names);
        Assert.Empty(adapted.MergedNames);
        Assert.True(adapted.Enabled);
        Assert.DoesNotContain(_model.parameters(), static p => p.requires_grad);
        Assert.Equal("There is no adapter 'a'; there are none.", Assert.Throws<ArgumentException>(() => adapted.GetWeight("a")).Message);

        adapted.Dispose();

        Assert.Equal(before, _model.named_parameters().ToDictionary(static p => p.name, static p => p.parameter.requires_grad));
        _line.get_parameter("weight")!.requires_grad = false;
        adapted.Dispose();
        Assert.False(_line.get_parameter("weight")!.requires_grad);
        Assert.Throws<ObjectDisposedException>(() => adapted.Add("a", Config, _generator));
    }

    [Fact]
    public void Add_AndRemove_KeepNamesInOrderAndReleaseTheWeights()
    {
        using var adapted = new AdaptedModel(_model);
        adapted.Add("b", Config, _generator);
        adapted.Add("a", Config with { TargetModules = ["line"] }, _generator);
        var (a, b) = (adapted.NamedParameters("a").Select(static p => p.Parameter).ToList(), adapted.NamedParameters("b").ToList());

        Assert.Equal(["a", "b"], adapted.Names);
        Assert.Equal(["line.lora_A.weight", "line.lora_B.weight", "conv.lora_A.weight", "conv.lora_B.weight"], b.Select(static p => p.Name));
        Assert.Equal((1.0, 1.0), (adapted.GetWeight("a"), adapted.GetWeight("b")));
        Assert.Equal("There is no adapter 'c'; there are 'a', 'b'.", Assert.Throws<ArgumentException>(() => adapted.Remove("c")).Message);
        Assert.Equal(
            "There is an adapter 'a' already. Remove it first or take another name.",
            Assert.Throws<ArgumentException>(() => adapted.Add("a", Config, _generator)).Message);
        Assert.Throws<ArgumentException>(() => adapted.Add(" ", Config, _generator));
        Assert.Contains("Rank: got 0", Assert.Throws<ArgumentException>(() => adapted.Add("c", Config with { Rank = 0 }, _generator)).Message);
        Assert.Equal(
            "Got weight NaN for adapter 'a', expected a finite number.",
            Assert.Throws<ArgumentException>(() => adapted.SetWeight("a", double.NaN)).Message);
        Assert.Throws<ArgumentException>(() => adapted.SetWeight("a", double.PositiveInfinity));
        Assert.Equal(1, adapted.GetWeight("a"));

        adapted.Remove("a");

        Assert.Equal(["b"], adapted.Names);
        Assert.All(a, static parameter => Assert.True(parameter.IsInvalid));
        Assert.All(b, static parameter => Assert.False(parameter.Parameter.IsInvalid));
    }

    /// <summary>What fails halfway leaves nothing behind.</summary>
    [Fact]
    public void Add_ThatFails_LeavesTheModelAsItWas()
    {
        using var grouped = nn.Sequential(("line", nn.Linear(4, 4)), ("conv", nn.Conv2d(4, 4, 1, groups: 4)));
        using var adapted = new AdaptedModel(grouped);
        var live = DisposeScopeManager.Statistics.ThreadTotalLiveCount;

        Assert.Equal(
            "'conv' is a convolution with 4 groups: got rank 2, expected a multiple of 4. Give it one with RankPattern or exclude it.",
            Assert.Throws<ArgumentException>(() => adapted.Add("a", Config, _generator)).Message);

        Assert.Empty(adapted.Names);
        Assert.Equal(live, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
        adapted.Add("a", Config with { RankPattern = new Dictionary<string, int> { ["conv"] = 8 } }, _generator);
        Assert.Equal([2L, 8L], adapted.GetLayers("a").Select(static layer => layer.Parameters["lora_A.weight"].size(0)));
    }

    /// <summary>y = W·x + b + Σ w·s·B·A·x, each at its present weight.</summary>
    [Fact]
    public void Output_OfSeveralAdapters_IsTheSumAtTheirWeights()
    {
        var (W, b, x) = (Nd.Of(_line.get_parameter("weight")!), Nd.Of(_line.get_parameter("bias")!), randn([5, 3], generator: _generator));
        using var adapted = Trained("a", "b", "c");
        adapted.SetWeight("a", 0.5);
        adapted.SetWeight("b", -2);
        adapted.SetWeight("c", 0);

        var deltas = Deltas(adapted, "line");
        Check(W.Map(i => W[i] + (0.5 * deltas["a"][i]) - (2 * deltas["b"][i])));
        adapted.SetWeight("c", 1);
        Check(W.Map(i => W[i] + (0.5 * deltas["a"][i]) - (2 * deltas["b"][i]) + deltas["c"][i]));
        adapted.Remove("a");
        Check(W.Map(i => W[i] - (2 * deltas["b"][i]) + deltas["c"][i]));
        adapted.Enabled = false;
        Assert.False(adapted.Enabled);
        Check(W);
        adapted.Enabled = true;
        adapted.Dispose();
        Check(W);

        void Check(Nd weight)
        {
            var plain = PlainAdapter.Apply(Nd.Of(x), weight, "linear");
            Assert.InRange(Fixtures.RelativeDifference(plain.Map(i => plain[i] + b[i[1]]).ToTensor(), _line.call(x)), 0, 1e-5);
        }
    }

    /// <summary>W + Σ w·ΔW of those that are merged, whatever order they come and go in; what is taken out leaves W bit for bit.</summary>
    [Fact]
    public void Merge_AndUnmerge_KeepTheSumOfThoseThatAreIn()
    {
        var originals = _model.parameters().Select(static p => p.detach().clone()).ToList();
        var W = Nd.Of(_conv.get_parameter("weight")!);
        using var adapted = Trained("a", "b", "c");
        adapted.SetWeight("b", -0.5);
        var deltas = Deltas(adapted, "conv");

        adapted.Merge("a", "a");
        Check(["a"], W.Map(i => W[i] + deltas["a"][i]));
        adapted.Merge("b");
        Check(["a", "b"], W.Map(i => W[i] + deltas["a"][i] - (0.5 * deltas["b"][i])));
        adapted.Unmerge("a");
        Check(["b"], W.Map(i => W[i] - (0.5 * deltas["b"][i])));
        adapted.Unmerge("c");
        Check(["b"], W.Map(i => W[i] - (0.5 * deltas["b"][i])));
        Assert.Throws<ArgumentException>(() => adapted.Unmerge("x"));
        Check(["b"], W.Map(i => W[i] - (0.5 * deltas["b"][i])));
        adapted.Unmerge();
        adapted.Merge();
        Check(["a", "b", "c"], W.Map(i => W[i] + deltas["a"][i] - (0.5 * deltas["b"][i]) + deltas["c"][i]));
        adapted.Unmerge();
        Assert.All(_model.parameters().Zip(originals), static pair => Assert.Equal(pair.Second.data<float>().ToArray(), pair.First.data<float>().ToArray()));

        void Check(string[] names, Nd weight)
        {
            Assert.Equal(names, adapted.MergedNames);
            Assert.InRange(Fixtures.RelativeDifference(weight.ToTensor(), _conv.get_parameter("weight")!), 0, 1e-6);
        }
    }

    [Fact]
    public void MergedAdapter_RefusesEveryChangeByItsName()
    {
        using var adapted = Trained("a", "b");
        using var state = adapted.ToState("a");
        adapted.Merge("a");
        var before = _line.get_parameter("weight")!.detach().clone();

        Assert.Equal("'a' is merged and cannot be given another weight. Call Unmerge first.", Refused(() => adapted.SetWeight("a", 2)));
        Assert.Equal("'a' is merged and cannot be removed. Call Unmerge first.", Refused(() => adapted.Remove("a")));
        Assert.Equal("'a' is merged and cannot be loaded. Call Unmerge first.", Refused(() => adapted.LoadState("a", state)));
        Assert.Equal("'a' is merged and cannot be merged again. Call Unmerge first.", Refused(() => adapted.Merge("b", "a")));
        Assert.Equal("'a' is merged and cannot be merged again. Call Unmerge first.", Refused(() => adapted.Merge("a", "a")));
        Assert.Equal("'a' is merged and cannot be switched on or off. Call Unmerge first.", Refused(() => adapted.Enabled = false));
        Assert.Equal(["a"], adapted.MergedNames);
        Assert.Equal(0, Fixtures.MaxDifference(before, _line.get_parameter("weight")!));
        adapted.SetWeight("b", 2);
        adapted.Merge("b");
        Assert.Equal("'a', 'b' is merged and cannot be merged again. Call Unmerge first.", Refused(() => adapted.Merge()));

        string Refused(Action action) => Assert.Throws<InvalidOperationException>(action).Message;
    }

    [Fact]
    public void Merge_WhileSwitchedOff_IsRefused()
    {
        using var adapted = Trained("a");
        adapted.Enabled = false;

        Assert.Equal(
            "The adapters are switched off. Set Enabled first; merging would make them act.",
            Assert.Throws<InvalidOperationException>(() => adapted.Merge()).Message);
        Assert.Empty(adapted.MergedNames);
    }

    /// <summary>A layer without bias cannot take one, and a type that is too small cannot take the sum: all such layers are named, nothing is merged.</summary>
    [Fact]
    public void Merge_ThatALayerCannotHold_IsRefusedAndMergesNothing()
    {
        using var adapted = new AdaptedModel(_model);
        adapted.Add("a", Config with { UseLoraBias = true }, _generator);
        using (no_grad())
        {
            adapted.NamedParameters("a").Single(static p => p.Name == "line.lora_B.bias").Parameter.fill_(float.PositiveInfinity);
        }

        var before = _model.parameters().Select(static p => p.detach().clone()).ToList();

        Assert.Equal(
            "Nothing was merged, because of 2 layers:\n"
                + "- 'line' would get weights that are not finite; the adapter's training diverged, or its weight is too large\n"
                + "- 'conv' has no bias, its adapter has one (lora_bias)",
            Assert.Throws<InvalidOperationException>(() => adapted.Merge()).Message);
        Assert.Empty(adapted.MergedNames);
        Assert.All(_model.parameters().Zip(before), static pair => Assert.Equal(0, Fixtures.MaxDifference(pair.Second, pair.First)));
    }

    [Theory]
    [InlineData(ScalarType.Float16, false)]
    [InlineData(ScalarType.BFloat16, true)]
    public void Merge_IntoASmallType_MustFitIntoIt(ScalarType type, bool fits)
    {
        using var half = nn.Sequential(("line", nn.Linear(1, 1)));
        using (no_grad())
        {
            half.get_parameter("line.weight")!.fill_(60000);
        }

        half.to(type);
        using var adapted = new AdaptedModel(half);
        adapted.Add("a", new LoraConfig { Rank = 1, Alpha = 1, TargetModules = ["line"] }, _generator);
        using (no_grad())
        {
            adapted.NamedParameters("a").ToList().ForEach(static p => p.Parameter.fill_(100));
        }

        Assert.Equal(fits, Record.Exception(() => adapted.Merge()) is null);
        Assert.Equal(fits ? 70000 : 60000, half.get_parameter("line.weight")!.to(ScalarType.Float64).item<double>(), fits ? 300.0 : 32.0);
        Assert.Equal(type, half.get_parameter("line.weight")!.dtype);
    }

    /// <summary>Whole layers and biases train from what the base had before anything was merged, and are told by PEFT's names.</summary>
    [Fact]
    public void WholeLayersAndBiases_BesideAMergedAdapter_BeginAtTheBase()
    {
        var (W, b) = (_line.get_parameter("weight")!.detach().clone(), _line.get_parameter("bias")!.detach().clone());
        using var adapted = new AdaptedModel(_model);
        adapted.Add("a", Config with { Bias = BiasTraining.All, UseLoraBias = false }, _generator);
        adapted.Randomize("a", _generator);
        Assert.Equal(
            ["line.lora_A.weight", "line.lora_B.weight", "conv.lora_A.weight", "conv.lora_B.weight", "line.base_layer.bias", "norm.bias"],
            adapted.NamedParameters("a").Select(static p => p.Name));
        adapted.Merge("a");

        adapted.Add("whole", Config with { TargetModules = ["conv"], ModulesToSave = ["line"] }, _generator);
        adapted.Add("dora", Config with { UseDora = true, TargetModules = ["line"] }, _generator);

        var whole = adapted.NamedParameters("whole").ToDictionary(static p => p.Name, static p => p.Parameter);
        Assert.Equal((0.0, 0.0), (Fixtures.MaxDifference(W, whole["line.weight"]), Fixtures.MaxDifference(b, whole["line.bias"])));
        Assert.InRange(
            Fixtures.RelativeDifference(
                W.square().sum(1).sqrt(),
                adapted.NamedParameters("dora").Single(static p => p.Name == "line.lora_magnitude_vector").Parameter),
            0,
            1e-6);
        using (no_grad())
        {
            whole["line.weight"].add_(1);
        }

        Assert.Equal(1, (adapted.GetLayers("whole").Single(static layer => layer.Path == "line").WeightDelta()! - 1).abs().max().item<float>() + 1, 5);
    }

    [Fact]
    public void Probe_OfAForward_NamesTheLayersThatItDidNotReach()
    {
        using var adapted = Trained("a", "b");
        var (vector, image) = (ones(1, 3), ones(1, 3, 3, 3));

        adapted.Probe(() =>
        {
            Assert.False(_line.call(vector).requires_grad);
            _conv.call(image);
        });

        // What was reached once need not be reached again, so the next probe begins anew.
        Assert.Equal(
            "The forward did not come through 1 of 2 adapted layers, so their adapters have no effect:\n- conv\n"
                + "Expected the model to run each of them by its call method, not by forward. Exclude them from the target modules, or change the model.",
            Assert.Throws<InvalidOperationException>(() => adapted.Probe(() => _line.call(vector))).Message);
        adapted.Enabled = false;
        adapted.Probe(() =>
        {
            _line.call(vector);
            _conv.call(image);
        });
    }

    [Fact]
    public void Report_OfEveryKindOfLayer_GivesItsNumbers()
    {
        using var adapted = new AdaptedModel(_model);
        adapted.Add(
            "a",
            Config with
            {
                TargetModules = ["conv"],
                ModulesToSave = ["line"],
                Bias = BiasTraining.All,
                AlphaPattern = new Dictionary<string, double> { ["conv"] = 2.5 },
            },
            _generator);

        // The base has 12 + 4, 108 and 4 + 4 numbers; A has 2·27, B 4·2.
        var report = adapted.Report("a");

        Assert.Equal(
            "a: 82 of 132 parameters (62.12 %) in 3 layers\n  conv  Conv2d [4, 3, 3, 3]  r 2 α 2.5  62 (57.41 %)\n"
                + "  line  Linear [4, 3]  whole  16 (133.33 %)\n  norm  GroupNorm [4]  whole  4 (100.00 %)",
            report.ToString());
        Assert.Equal((82L, 132L, 100.0 * 82 / 132), (report.Parameters, report.BaseParameters, report.Percentage));
        Assert.Equal([(2, 2.5), (null, null), (null, null)], report.Rows.Select(static row => (row.Rank, row.Alpha)));
        Assert.Equal(report.Parameters, adapted.TrainableParameters("a").Sum(static p => p.numel()));
    }

    [Fact]
    public void To_AnotherDevice_MovesTheWeightsAndKeepsWhatTrains()
    {
        using var adapted = Trained("a");
        var before = adapted.NamedParameters("a").ToList();

        adapted.To(CPU);
        adapted.To(new Device(DeviceType.CPU, 0));
        Assert.All(adapted.NamedParameters("a").Zip(before), static pair => Assert.Same(pair.Second.Parameter, pair.First.Parameter));
        adapted.To(META);

        Assert.Equal(before.Select(static p => p.Name), adapted.NamedParameters("a").Select(static p => p.Name));
        Assert.All(adapted.NamedParameters("a"), static p => Assert.Equal((DeviceType.META, true), (p.Parameter.device_type, p.Parameter.requires_grad)));
        Assert.All(before, static p => Assert.True(p.Parameter.IsInvalid));
    }

    private AdaptedModel Trained(params string[] names) => TrainedAdapters.On(_model, Config, _generator, names);

    /// <summary>s·B·A of each adapter by a plain loop.</summary>
    private static Dictionary<string, Nd> Deltas(AdaptedModel adapted, string path) =>
        adapted.Names.ToDictionary(static name => name, name => PlainAdapter.Delta(
            adapted.GetLayers(name).Single(layer => layer.Path == path).Parameters
                .ToDictionary(static pair => pair.Key, static pair => Nd.Of(pair.Value)),
            Nd.Of(adapted.BaseModel.get_parameter($"{path}.weight")!),
            s: 2));
}
