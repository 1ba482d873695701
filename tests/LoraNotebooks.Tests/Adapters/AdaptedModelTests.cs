using LoraNotebooks.Adapters;
using LoraNotebooks.Formats;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Adapters;

public sealed class AdaptedModelTests : IDisposable
{
    private static readonly LoraConfig AllKinds = new() { Rank = 2, Alpha = 4, TargetModules = ["token", "to_q", "to_out", "conv"] };

    private readonly DisposeScope _scope = NewDisposeScope();
    private readonly TinyNetwork _network = new();
    private readonly Generator _generator = new(7);

    public void Dispose()
    {
        _generator.Dispose();
        _network.Dispose();
        _scope.Dispose();
    }

    [Fact]
    public void Add_NewAdapter_ChangesNothing()
    {
        var before = _network.Run();
        using var adapted = new AdaptedModel(_network);

        adapted.Add("a", AllKinds, _generator);

        Assert.Equal(0, Fixtures.MaxDifference(before, _network.Run()));
    }

    [Fact]
    public void Backward_ThroughAnAdaptedModel_ReachesOnlyTheAdapter()
    {
        var before = _network.parameters().Select(p => p.detach().clone()).ToList();
        using var adapted = new AdaptedModel(_network);
        adapted.Add("a", AllKinds, _generator);
        using var optimizer = optim.SGD(adapted.TrainableParameters("a"), 0.1);

        for (var step = 0; step < 2; step++)
        {
            optimizer.zero_grad();
            _network.Run().square().sum().backward();
            optimizer.step();
        }

        Assert.Equal(8, adapted.TrainableParameters("a").Count);
        Assert.All(adapted.NamedParameters("a"), p => Assert.True(p.Parameter.grad!.abs().sum().item<float>() > 0, p.Name));
        Assert.All(_network.parameters().Zip(before), pair =>
        {
            Assert.Null(pair.First.grad);
            Assert.Equal(0, Fixtures.MaxDifference(pair.Second, pair.First));
        });
    }

    [Fact]
    public void Output_SwitchedOffOrAtWeightZero_IsTheBaseBitForBit()
    {
        var before = _network.Run();
        using var adapted = new AdaptedModel(_network);
        AddTrained(adapted, "a");
        var on = _network.Run();

        adapted.Enabled = false;
        var off = _network.Run();
        adapted.Enabled = true;
        adapted.SetWeight("a", 0);

        Assert.True(Fixtures.MaxDifference(before, on) > 0.01);
        Assert.Equal(0, Fixtures.MaxDifference(before, off));
        Assert.Equal(0, Fixtures.MaxDifference(before, _network.Run()));
    }

    [Theory]
    [InlineData(1, 1, 1, 1, 1)]
    [InlineData(3, 2, 1, 1, 1)]
    [InlineData(3, 1, 2, 2, 1)]
    [InlineData(3, 1, 1, 1, 2)]
    public void Merge_OfAnyConvolution_EqualsTheHook(int kernel, int stride, int padding, int dilation, int groups)
    {
        using var model = new TinyNetwork(nn.Conv2d(4, 6, kernel, stride: stride, padding: padding, dilation: dilation, groups: groups));
        using var adapted = new AdaptedModel(model);
        AddTrained(adapted, "a", AllKinds with { TargetModules = ["conv"] });
        var before = model.Run();

        adapted.Merge();

        Assert.InRange(Fixtures.MaxDifference(before, model.Run()), 0, 1e-5);
    }

    [Fact]
    public void MergeAndUnmerge_OfSeveralAdapters_KeepTheOutputAndGiveTheWeightsBackBitForBit()
    {
        var weights = _network.parameters().Select(p => p.detach().clone()).ToList();
        using var adapted = new AdaptedModel(_network);
        AddTrained(adapted, "a");
        AddTrained(adapted, "b", AllKinds with { Bias = BiasTraining.All, UseLoraBias = false });
        adapted.SetWeight("b", -0.4);
        var before = _network.Run();

        adapted.Merge("a");
        var half = _network.Run();
        adapted.Merge("b");
        var merged = _network.Run();
        adapted.Unmerge("b");

        Assert.Equal(["a"], adapted.MergedNames);
        Assert.InRange(Fixtures.MaxDifference(before, half), 0, 1e-4);
        Assert.InRange(Fixtures.MaxDifference(before, merged), 0, 1e-4);
        Assert.InRange(Fixtures.MaxDifference(before, _network.Run()), 0, 1e-4);
        adapted.Unmerge();
        Assert.All(_network.parameters().Zip(weights), pair => Assert.Equal(0, Fixtures.MaxDifference(pair.Second, pair.First)));
        Assert.Equal(0, Fixtures.MaxDifference(before, _network.Run()));
    }

    [Fact]
    public void Merge_Twice_IsRefusedAndSoIsEveryChangeOfAMergedAdapter()
    {
        using var adapted = new AdaptedModel(_network);
        AddTrained(adapted, "a");
        adapted.Merge();

        Assert.Contains("'a' is merged and cannot be merged again", Assert.Throws<InvalidOperationException>(() => adapted.Merge()).Message);
        Assert.Throws<InvalidOperationException>(() => adapted.SetWeight("a", 2));
        Assert.Throws<InvalidOperationException>(() => adapted.Remove("a"));
        Assert.Throws<InvalidOperationException>(() => adapted.Enabled = false);
    }

    [Fact]
    public void Merge_OfNotANumber_IsRefusedByLayerAndChangesNothing()
    {
        var weights = _network.parameters().Select(p => p.detach().clone()).ToList();
        using var adapted = new AdaptedModel(_network);
        AddTrained(adapted, "a");
        using (no_grad())
        {
            adapted.NamedParameters("a").Single(p => p.Name == "to_out.lora_B.weight").Parameter.fill_(float.NaN);
        }

        var error = Assert.Throws<InvalidOperationException>(() => adapted.Merge());

        Assert.Contains("'to_out' would get weights that are not finite", error.Message);
        Assert.Empty(adapted.MergedNames);
        Assert.All(_network.parameters().Zip(weights), pair => Assert.Equal(0, Fixtures.MaxDifference(pair.Second, pair.First)));
    }

    [Fact]
    public void Adapters_OnABfloat16Base_StayFloat32AndUnmergeExactly()
    {
        _network.to(ScalarType.BFloat16);
        var weights = _network.parameters().Select(p => p.detach().clone()).ToList();
        using var adapted = new AdaptedModel(_network);
        AddTrained(adapted, "a");

        var output = _network.call(TinyNetwork.Ids, TinyNetwork.Image.to(ScalarType.BFloat16));
        output.square().sum().backward();
        adapted.Merge();
        adapted.Unmerge();

        Assert.Equal(ScalarType.BFloat16, output.dtype);
        Assert.All(adapted.NamedParameters("a"), p => Assert.Equal(ScalarType.Float32, p.Parameter.grad!.dtype));
        Assert.All(_network.parameters().Zip(weights), pair => Assert.Equal(0, Fixtures.MaxDifference(pair.Second, pair.First)));
    }

    [Fact]
    public void Adapters_SeveralAtOnce_AddUpAndLeaveOneByOne()
    {
        var config = new LoraConfig { Rank = 2, TargetModules = ["conv"] };
        using var layer = nn.Conv2d(4, 6, 3);
        using var model = nn.Sequential(("conv", layer));
        var plain = model.call(TinyNetwork.Image);
        using var adapted = new AdaptedModel(model);
        AddTrained(adapted, "a", config);
        var a = model.call(TinyNetwork.Image) - plain;
        adapted.SetWeight("a", 0);
        AddTrained(adapted, "b", config);
        var b = model.call(TinyNetwork.Image) - plain;

        adapted.SetWeight("a", 0.5);
        adapted.SetWeight("b", 2);
        var both = model.call(TinyNetwork.Image);
        adapted.Remove("a");

        Assert.InRange(Fixtures.MaxDifference(plain + (0.5 * a) + (2 * b), both), 0, 1e-5);
        Assert.InRange(Fixtures.MaxDifference(plain + (2 * b), model.call(TinyNetwork.Image)), 0, 1e-5);
        Assert.Equal(["b"], adapted.Names);
    }

    [Fact]
    public void Dropout_InTraining_IsDecidedByTheSeedAndEndsWithEval()
    {
        var config = AllKinds with { Dropout = 0.5 };
        List<Tensor> Outputs(ulong seed)
        {
            using var own = new Generator(seed);
            using var adapted = new AdaptedModel(_network);
            adapted.Add("a", config, own);
            Fill(adapted, "a");
            var outputs = new List<Tensor> { _network.Run(), _network.Run() };
            adapted.Eval();
            outputs.AddRange([_network.Run(), _network.Run()]);
            return outputs;
        }

        var (first, again, other) = (Outputs(1), Outputs(1), Outputs(2));

        Assert.True(Fixtures.MaxDifference(first[0], first[1]) > 1e-4);
        Assert.Equal(0, Fixtures.MaxDifference(first[2], first[3]));
        Assert.All(first.Zip(again), pair => Assert.Equal(0, Fixtures.MaxDifference(pair.First, pair.Second)));
        Assert.True(Fixtures.MaxDifference(first[0], other[0]) > 1e-4);
    }

    [Fact]
    public void Initialization_DrawsAFromTheGeneratorWithinItsBound()
    {
        var config = new LoraConfig { Rank = 64, TargetModules = ["conv"] };
        float[] Draw(LoraConfig settings)
        {
            using var own = new Generator(5);
            using var adapted = new AdaptedModel(_network);
            adapted.Add("a", settings, own);
            return adapted.NamedParameters("a").First(p => p.Name.EndsWith("lora_A.weight", StringComparison.Ordinal)).Parameter.data<float>().ToArray();
        }

        var uniform = Draw(config);
        var gaussian = Draw(config with { Initialization = LoraInitialization.Gaussian });

        // n = 4·3·3 inputs: the bound is 1/6, the deviation bound/√3; the other way it is 1/r.
        Assert.Equal(uniform, Draw(config));
        Assert.InRange(uniform.Max(Math.Abs), 0.16, 1 / 6.0);
        Assert.InRange(Deviation(uniform), 0.0962 * 0.95, 0.0962 * 1.05);
        Assert.InRange(Deviation(gaussian), 0.95 / 64, 1.05 / 64);
        static double Deviation(float[] values) => Math.Sqrt(values.Average(v => v * v));
    }

    [Fact]
    public void Probe_OfALayerThatIsRunByForward_NamesIt()
    {
        using var model = new TinyNetwork(callsToOut: false);
        using var adapted = new AdaptedModel(model);
        adapted.Add("a", AllKinds, _generator);

        var error = Assert.Throws<InvalidOperationException>(() => adapted.Probe(() => model.Run()));

        Assert.Contains("did not come through 1 of 4 adapted layers", error.Message);
        Assert.Contains("- to_out\n", error.Message);
    }

    [Fact]
    public void Report_CountsLayerByLayer()
    {
        using var adapted = new AdaptedModel(_network);
        adapted.Add("a", AllKinds with { RankPattern = new Dictionary<string, int> { ["to_q"] = 3 } }, _generator);

        var report = adapted.Report("a");

        var row = report.Rows.Single(r => r.Target == "to_q");
        Assert.Equal(("Linear", 3, 4.0, 3 * (6 + 8)), (row.Kind, row.Rank!.Value, row.Alpha!.Value, row.Parameters));
        Assert.Equal([8L, 6L], row.Shape);
        Assert.Equal(100.0 * 42 / 48, row.Percentage, 10);
        Assert.Equal((2 * 15) + 42 + (2 * 12) + ((2 * 36) + (6 * 2)), report.Parameters);
        Assert.Equal(100.0 * report.Parameters / _network.parameters().Sum(p => p.numel()), report.Percentage, 10);
        Assert.Contains("to_q  Linear [8, 6]  r 3 α 4  42 (87.50 %)", report.ToString());
    }

    [Fact]
    public void State_WithStrangeWeights_IsRefusedWithEveryFaultAndChangesNothing()
    {
        using var adapted = new AdaptedModel(_network);
        AddTrained(adapted, "a");
        using var good = adapted.ToState("a");
        var tensors = good.Tensors.ToDictionary();
        tensors.Remove("to_q.lora_B.weight");
        tensors["to_q.lora_C.weight"] = zeros(2);
        tensors["conv.lora_A.weight"] = zeros(2, 4, 1, 1);
        tensors["to_out.lora_A.weight"] = zeros_like(tensors["to_out.lora_A.weight"]);
        var before = _network.Run();
        using var bad = new LoraState(tensors, config: good.Config);

        var error = Assert.Throws<InvalidDataException>(() => adapted.LoadState("a", bad));

        Assert.Contains("missing: to_q.lora_B.weight [8, 2]", error.Message);
        Assert.Contains("unexpected: to_q.lora_C.weight [2]", error.Message);
        Assert.Contains("wrong shape: conv.lora_A.weight is [2, 4, 1, 1], expected [2, 4, 3, 3]", error.Message);
        Assert.Equal(0, Fixtures.MaxDifference(before, _network.Run()));
        Assert.Throws<InvalidDataException>(() => adapted.Add("b", bad));
        Assert.Equal(["a"], adapted.Names);
    }

    [Fact]
    public void State_OfAnAdapter_BringsItBack()
    {
        using var adapted = new AdaptedModel(_network);
        AddTrained(adapted, "a", AllKinds with { UseRsLora = true, Dropout = 0.5, TargetModules = ["to_q", "conv"] });
        adapted.Eval();
        var before = _network.Run();
        using var state = adapted.ToState("a");
        adapted.Remove("a");

        adapted.Add("again", state);

        Assert.Equal(0, Fixtures.MaxDifference(before, _network.Run()));
        Assert.True(adapted.GetConfig("again").UseRsLora);
    }

    [Fact]
    public void Dispose_GivesTheModelBack()
    {
        _network.get_parameter("to_q.weight")!.requires_grad = false;
        var before = _network.Run();
        using (var adapted = new AdaptedModel(_network))
        {
            AddTrained(adapted, "a");
            adapted.Merge();
            Assert.DoesNotContain(_network.parameters(), p => p.requires_grad);
        }

        Assert.Equal(0, Fixtures.MaxDifference(before, _network.Run()));
        Assert.Equal(["to_q.weight"], _network.named_parameters().Where(p => !p.parameter.requires_grad).Select(p => p.name));
    }

    [Fact]
    public void Training_OverManySteps_KeepsTheNumberOfLiveTensors()
    {
        using var adapted = new AdaptedModel(_network);
        adapted.Add(
            "a",
            AllKinds with { Dropout = 0.1, Bias = BiasTraining.All, ModulesToSave = ["to_out"], TargetModules = ["token", "to_q", "conv"] },
            _generator);
        using var optimizer = optim.AdamW(adapted.TrainableParameters("a"), 0.01);
        var counts = new List<long>();
        for (var step = 0; step < 200; step++)
        {
            using (NewDisposeScope())
            {
                optimizer.zero_grad();
                _network.Run().square().sum().backward();
                optimizer.step();
            }

            counts.Add(DisposeScopeManager.Statistics.ThreadTotalLiveCount);
        }

        Assert.Single(counts.Skip(2).Distinct());
    }

    private static void Fill(AdaptedModel adapted, string name)
    {
        using var own = new Generator(11);
        using var noGrad = no_grad();
        foreach (var (_, parameter) in adapted.NamedParameters(name))
        {
            parameter.normal_(0, 0.5, own);
        }
    }

    private void AddTrained(AdaptedModel adapted, string name, LoraConfig? config = null)
    {
        adapted.Add(name, config ?? AllKinds, _generator);
        Fill(adapted, name);
    }
}
