using LoraNotebooks.Adapters;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Adapters;

/// <summary>Layers and biases that train whole, against plain loops.</summary>
public sealed class WholeLayerTests : IDisposable
{
    private static readonly LoraConfig Config = new() { Rank = 1, Alpha = 1 };

    private readonly DisposeScope _scope = NewDisposeScope();
    private readonly Generator _generator = new(7);

    public void Dispose()
    {
        _generator.Dispose();
        _scope.Dispose();
    }

    /// <summary>y = f(x; W + w·(W′ − W)) + b + w·(b′ − b), for a whole layer of each kind.</summary>
    [Theory]
    [InlineData("linear")]
    [InlineData("convolution")]
    [InlineData("embedding")]
    public void WholeLayer_OfEachKind_ActsByItsDifference(string kind)
    {
        nn.Module<Tensor, Tensor> layer = kind switch { "linear" => nn.Linear(3, 4), "convolution" => nn.Conv2d(3, 4, 2), _ => nn.Embedding(5, 4) };
        var x = kind switch
        {
            "linear" => randn([2, 3], generator: _generator),
            "convolution" => randn([1, 3, 4, 4], generator: _generator),
            _ => tensor(new long[] { 0, 4, 1 }),
        };
        using var own = nn.Sequential(("layer", layer), ("line", nn.Linear(1, 1)));
        using var adapted = new AdaptedModel(own);
        adapted.Add("a", Config with { TargetModules = ["line"], ModulesToSave = ["layer"] }, _generator);
        using (no_grad())
        {
            adapted.NamedParameters("a").ToList().ForEach(p => p.Parameter.copy_(randn(p.Parameter.shape, generator: _generator)));
        }

        adapted.SetWeight("a", 0.3);
        var trained = adapted.NamedParameters("a")
            .Where(static p => p.Name.StartsWith("layer.", StringComparison.Ordinal))
            .ToDictionary(static p => p.Name["layer.".Length..], static p => Nd.Of(p.Parameter));
        Assert.Equal(kind == "embedding" ? ["weight"] : ["weight", "bias"], trained.Keys);

        var W = Nd.Of(layer.get_parameter("weight")!);
        var b = layer.get_parameter("bias") is { } bias ? Nd.Of(bias) : null;
        var y = PlainAdapter.Apply(Nd.Of(x), W.Map(i => W[i] + (0.3 * (trained["weight"][i] - W[i]))), kind);
        var expected = y.Map(i => y[i] + (b is null
            ? 0
            : b[kind == "convolution" ? i[1] : i[^1]] is var at
                ? at + (0.3 * (trained["bias"][kind == "convolution" ? i[1] : i[^1]] - at))
                : 0)).ToTensor();

        Assert.InRange(Fixtures.RelativeDifference(expected, layer.call(x)), 0, 1e-5);
        adapted.Merge();
        Assert.InRange(Fixtures.RelativeDifference(expected, layer.call(x)), 0, 1e-5);
    }

    /// <summary>y + w·(b′ − b) along the channels, which lie second in images and last elsewhere.</summary>
    [Theory]
    [InlineData("linear", BiasTraining.LoraOnly)]
    [InlineData("convolution", BiasTraining.LoraOnly)]
    [InlineData("norm", BiasTraining.All)]
    [InlineData("plain convolution", BiasTraining.All)]
    [InlineData("sequence norm", BiasTraining.All)]
    public void TrainedBias_OfEachKindOfLayer_ActsAlongTheChannels(string kind, BiasTraining training)
    {
        nn.Module<Tensor, Tensor> layer = kind switch
        {
            "linear" => nn.Linear(4, 4),
            "convolution" => nn.Conv2d(4, 4, 1),
            "plain convolution" => nn.Conv2d(4, 4, 3, padding: 1, padding_mode: PaddingModes.Reflect),
            "norm" => nn.GroupNorm(2, 4),
            _ => nn.LayerNorm(4),
        };
        var x = kind is "linear" or "sequence norm" ? randn([2, 3, 4], generator: _generator) : randn([2, 4, 4, 4], generator: _generator);
        var channel = kind is "linear" or "sequence norm" ? 2 : 1;
        using var own = nn.Sequential(("layer", layer), ("line", nn.Linear(1, 1)));
        using (no_grad())
        {
            // A new norm of TorchSharp's is not initialised.
            own.named_parameters().ToList().ForEach(static p => p.parameter.fill_(0.5));
        }

        var before = Nd.Of(layer.call(x));
        using var adapted = new AdaptedModel(own);
        adapted.Add("a", Config with { TargetModules = training == BiasTraining.LoraOnly ? ["layer"] : ["line"], Bias = training }, _generator);
        var name = training == BiasTraining.LoraOnly ? "layer.base_layer.bias" : "layer.bias";
        using (no_grad())
        {
            adapted.NamedParameters("a").Single(p => p.Name == name).Parameter.copy_(tensor(new[] { 1.5f, 2.5f, 3.5f, 4.5f }));
        }

        adapted.SetWeight("a", 0.5);
        var expected = before.Map(i => before[i] + (0.5 * (i[channel] + 1))).ToTensor();

        Assert.InRange(Fixtures.RelativeDifference(expected, layer.call(x)), 0, 1e-5);
        adapted.Merge();
        Assert.InRange(Fixtures.RelativeDifference(expected, layer.call(x)), 0, 1e-5);
        adapted.Unmerge();
        Assert.All(layer.get_parameter("bias")!.data<float>().ToArray(), static value => Assert.Equal(0.5f, value));
    }
}
