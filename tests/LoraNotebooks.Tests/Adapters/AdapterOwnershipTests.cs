using System.Runtime.CompilerServices;
using LoraNotebooks.Adapters;
using LoraNotebooks.Formats;
using LoraNotebooks.Tensors.Convolutions;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Adapters;

/// <summary>What adapters share with each other and with their model, and what is released when.</summary>
public sealed class AdapterOwnershipTests : IDisposable
{
    private static readonly LoraConfig Config = new() { Rank = 2, TargetModules = ["line"] };

    private readonly DisposeScope _scope = NewDisposeScope();
    private readonly Generator _generator = new(7);
    private readonly nn.Module<Tensor, Tensor> _line = nn.Linear(3, 4);
    private readonly nn.Module _model;

    public AdapterOwnershipTests() => _model = nn.Sequential(("line", _line), ("other", nn.Linear(4, 4)));

    public void Dispose()
    {
        _model.Dispose();
        _generator.Dispose();
        _scope.Dispose();
    }

    public static TheoryData<string> Kinds => ["whole", "bias", "dora", "carried"];

    /// <summary>An adapter that starts from the base's own weights does so whether the others are merged or not, and whichever came first.</summary>
    [Theory]
    [MemberData(nameof(Kinds))]
    public void Output_BesideAnAdapterThatIsMergedLater_StaysTheSame(string kind)
    {
        using var adapted = new AdaptedModel(_model);
        if (kind == "carried")
        {
            adapted.Add("first", new LoraState(
                new Dictionary<string, Tensor>
                {
                    ["line.lora_A.weight"] = Draw(2, 3),
                    ["line.lora_B.weight"] = Draw(4, 2),
                    ["line.base_layer.weight"] = Draw(4, 3),
                },
                config: Config.ToPeftJson()));
        }
        else
        {
            adapted.Add(
                "first",
                kind switch
                {
                    "whole" => Config with { TargetModules = ["other"], ModulesToSave = ["line"] },
                    "bias" => Config with { TargetModules = ["other"], Bias = BiasTraining.All },
                    _ => Config with { UseDora = true },
                },
                _generator);
            adapted.Randomize("first", _generator);
        }

        adapted.Add("second", Config with { Bias = BiasTraining.All }, _generator);
        adapted.Randomize("second", _generator);
        var x = Draw(5, 3);
        var (W, b, before) = (Weight.detach().clone(), _line.get_parameter("bias")!.detach().clone(), _line.call(x));

        adapted.Merge("second");
        Assert.InRange(Fixtures.RelativeDifference(before, _line.call(x)), 0, 1e-5);
        adapted.Merge("first");
        Assert.InRange(Fixtures.RelativeDifference(before, _line.call(x)), 0, 1e-5);
        adapted.Unmerge("second");
        Assert.InRange(Fixtures.RelativeDifference(before, _line.call(x)), 0, 1e-5);
        adapted.Unmerge();
        Assert.Equal((0.0, 0.0), (Fixtures.MaxDifference(W, Weight), Fixtures.MaxDifference(b, _line.get_parameter("bias")!)));
        Assert.Equal(0, Fixtures.MaxDifference(before, _line.call(x)));
    }

    /// <summary>A layer that only trains its bias is the same one that another adapter changes whole.</summary>
    [Fact]
    public void Add_BesideATrainedBias_MayChangeTheWeight()
    {
        using var adapted = new AdaptedModel(_model);
        adapted.Add("bias", Config with { TargetModules = ["other"], Bias = BiasTraining.All }, _generator);

        adapted.Add("weight", Config, _generator);

        Assert.Equal("line", Assert.Single(adapted.GetLayers("weight")).Path);
    }

    /// <summary>The model that is given back holds nothing of what was hung on it.</summary>
    [Fact]
    public void Dispose_OfAnAdaptedModel_LeavesNothingOfItInTheModel()
    {
        var gone = AdaptAndGiveBack();

        GC.Collect();
        GC.WaitForPendingFinalizers();
        GC.Collect();

        Assert.False(gone.TryGetTarget(out _));
    }

    /// <summary>Weights that are moved belong to the adapter, not to the scope in which that happens.</summary>
    [Fact]
    public void To_InAScope_KeepsTheWeightsBeyondIt()
    {
        using var adapted = new AdaptedModel(_model);
        adapted.Add("a", Config, _generator);
        using (NewDisposeScope())
        {
            adapted.To(META);
        }

        Assert.All(adapted.NamedParameters("a"), static p => Assert.False(p.Parameter.IsInvalid));
    }

    [Fact]
    public void Remove_OfADecomposedAdapter_ReleasesItsWeights()
    {
        using var adapted = new AdaptedModel(_model);
        adapted.Add("a", Config with { UseDora = true }, _generator);
        var parameters = adapted.NamedParameters("a").ToList();

        adapted.Remove("a");

        Assert.Equal(3, parameters.Count);
        Assert.All(parameters, static p => Assert.True(p.Parameter.IsInvalid));
    }

    /// <summary>What a merge keeps of the base is released when it is taken out, and with the layer.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Originals_OfAMergedLayer_AreReleased(bool unmerge)
    {
        using var layer = WeightLayer.From("line", _line, null)!;
        layer.Merge(ones(4, 3), ones(4));
        var (W, b) = (layer.OriginalWeight, layer.OriginalBias!);
        Assert.False(ReferenceEquals(W, layer.Weight) || ReferenceEquals(b, layer.Bias) || W.IsInvalid || b.IsInvalid);

        if (unmerge)
        {
            layer.Unmerge();
        }
        else
        {
            layer.Dispose();
        }

        Assert.Equal((true, true), (W.IsInvalid, b.IsInvalid));
    }

    /// <summary>Each handle that TorchSharp makes anew for an embedding's weight would have to be freed by someone.</summary>
    [Fact]
    public void Weight_OfAnEmbedding_IsOneHandle()
    {
        using var embedding = nn.Embedding(3, 2);
        using var layer = WeightLayer.From("token", embedding, null)!;

        Assert.Same(layer.Weight, layer.Weight);
    }

    /// <summary>Convolutions of another's model that a processor computes wrong are told in one line, with the remedy.</summary>
    [Fact]
    public void NewModel_OnAProcessorThatComputesItsLayersWrong_NamesThemWithTheRemedy()
    {
        List<string> told = [];
        using var wrong = CheckedConvolution.Use(new ConvolutionEngine(
            static (x, weight, bias, geometry) => ConvolutionWays.Native(x, weight, bias, geometry).mul_(2), new ConvolutionVerdicts(null), null, told.Add));
        using var model = nn.Sequential(("conv", nn.Conv2d(3, 4, 3)), ("line", nn.Linear(2, 2)));

        using (new AdaptedModel(model))
        {
            Assert.Equal(
                "libtorch computes 1 convolution of this model wrong on this processor: conv. Adapters are right beside them, the model's own part is not: "
                    + "start the process with ONEDNN_MAX_CPU_ISA=SSE41, or set that variable in the first cell, before any tensor is made.",
                told[^1]);
        }
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private WeakReference<AdaptedModel> AdaptAndGiveBack()
    {
        using var adapted = new AdaptedModel(_model);
        adapted.Add("a", Config, _generator);
        return new WeakReference<AdaptedModel>(adapted);
    }

    private Tensor Weight => _line.get_parameter("weight")!;

    private Tensor Draw(params long[] shape) => randn(shape, generator: _generator);
}
