using LoraNotebooks.Adapters;
using LoraNotebooks.Adapters.Methods;
using LoraNotebooks.Formats;
using LoraNotebooks.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Adapters;

/// <summary>
/// Every method beside every kind of layer against its formula as a plain loop in float64: ΔW, the output at a weight, and the merged weight.
/// </summary>
public sealed class AdapterFormulaTests : IDisposable
{
    private const double Tolerance = 1e-5;
    private const double Weight = 0.7;

    private static readonly Dictionary<string, LoraConfig> Methods = new()
    {
        ["lora"] = new() { Rank = 4, Alpha = 3 },
        ["rslora"] = new() { Rank = 4, Alpha = 3, UseRsLora = true },
        ["lora with bias"] = new() { Rank = 2, Alpha = 3, UseLoraBias = true },
        ["dora"] = new() { Rank = 2, Alpha = 3, UseDora = true },
        ["dora with bias"] = new() { Rank = 2, Alpha = 3, UseDora = true, UseLoraBias = true },
        ["loha"] = new() { Method = AdapterMethod.Loha, Rank = 2, Alpha = 3 },
        ["loha with cores"] = new() { Method = AdapterMethod.Loha, Rank = 2, Alpha = 3, UseEffectiveConv2d = true },
        ["loha, decomposed"] = new() { Method = AdapterMethod.Loha, Rank = 2, Alpha = 3, UseDora = true },
        ["lokr"] = new() { Method = AdapterMethod.Lokr, Rank = 2, Alpha = 3 },
        ["lokr, thin"] = new() { Method = AdapterMethod.Lokr, Rank = 1, Alpha = 3 },
        ["lokr, both thin"] = new() { Method = AdapterMethod.Lokr with { DecomposeBoth = true, DecomposeFactor = 4 }, Rank = 1, Alpha = 3 },
        ["lokr with a core"] = new() { Method = AdapterMethod.Lokr, Rank = 1, Alpha = 3, UseEffectiveConv2d = true },
    };

    private static readonly string[] Layers = ["linear", "transposed", "embedding", "conv1x1", "conv3x3", "strided", "same", "valid", "grouped"];

    private readonly DisposeScope _scope = NewDisposeScope();
    private readonly Generator _generator = new(17);

    public static TheoryData<string, string> Cases { get; } = Fixtures.Rows(
        from layer in Layers
        from method in Methods
        where layer != "transposed" || method.Value.Method == AdapterMethod.Lora
        where layer != "embedding" || !method.Value.UseLoraBias
        select (layer, method.Key));

    public void Dispose()
    {
        _generator.Dispose();
        _scope.Dispose();
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Adapter_OfAMethodBesideALayer_IsItsFormula(string layerName, string method)
    {
        var layer = Layer.Of(layerName);
        Randomize(layer.Module.parameters());
        using var model = nn.Sequential(("layer", layer.Module));
        using var adapted = new AdaptedModel(model);
        var config = Methods[method] with { TargetModules = ["layer"] };
        adapted.Add("a", config, _generator);
        using var noGrad = no_grad();
        Randomize(adapted.NamedParameters("a").Select(static p => p.Parameter));
        adapted.SetWeight("a", Weight);
        var parts = Assert.Single(adapted.GetLayers("a")).Parameters.ToDictionary(static pair => pair.Key, static pair => Nd.Of(pair.Value));

        // With bias s·b is added to the layer's own.
        var s = config.UseRsLora ? config.Alpha / Math.Sqrt(config.Rank) : config.Alpha / config.Rank;
        var W = Nd.Of(layer.Module.get_parameter("weight")!);
        var delta = PlainAdapter.Delta(parts, W, s, layer.OutputAxis, layer.Groups);
        var bias = layer.Module.get_parameter("bias") is { } b ? Nd.Of(b) : null;
        var biasDelta = parts.GetValueOrDefault("lora_B.bias");
        var (plain, part) = (layer.Apply(W), layer.Apply(delta));
        var expected = plain.Map(i => plain[i] + (bias?[layer.Channel(i)] ?? 0) + (Weight * (part[i] + (s * biasDelta?[layer.Channel(i)] ?? 0))));

        Assert.InRange(Fixtures.RelativeDifference(delta.ToTensor(), adapted.GetLayers("a")[0].WeightDelta()!), 0, Tolerance);
        Assert.InRange(Fixtures.RelativeDifference(expected.ToTensor(), model.call(layer.Input)), 0, Tolerance);

        adapted.Merge();
        Assert.InRange(Fixtures.RelativeDifference(W.Map(i => W[i] + (Weight * delta[i])).ToTensor(), layer.Module.get_parameter("weight")!), 0, Tolerance);
        Assert.InRange(Fixtures.RelativeDifference(expected.ToTensor(), model.call(layer.Input)), 0, Tolerance);
    }

    /// <summary>What each configuration makes: which parts, in which shapes.</summary>
    [Theory]
    [InlineData("linear", "lora", "lora_A.weight [4, 6], lora_B.weight [8, 4]")]
    [InlineData("linear", "lora with bias", "lora_A.weight [2, 6], lora_B.weight [8, 2], lora_B.bias [8]")]
    [InlineData("transposed", "dora", "lora_A.weight [2, 6], lora_B.weight [8, 2], lora_magnitude_vector [8]")]
    [InlineData("embedding", "dora", "lora_embedding_A [2, 9], lora_embedding_B [6, 2], lora_magnitude_vector [6]")]
    [InlineData("conv3x3", "dora", "lora_A.weight [2, 6, 3, 3], lora_B.weight [8, 2, 1, 1], lora_magnitude_vector [1, 8, 1, 1]")]
    [InlineData("conv3x3", "lora with bias", "lora_A.weight [2, 6, 3, 3], lora_B.weight [8, 2, 1, 1], lora_B.bias [8]")]
    [InlineData("grouped", "lora", "lora_A.weight [4, 3, 3, 3], lora_B.weight [8, 2, 1, 1]")]
    [InlineData("linear", "loha with cores", "hada_w1_a [8, 2], hada_w1_b [2, 6], hada_w2_a [8, 2], hada_w2_b [2, 6]")]
    [InlineData("conv1x1", "loha with cores", "hada_w1_a [8, 2], hada_w1_b [2, 6], hada_w2_a [8, 2], hada_w2_b [2, 6]")]
    [InlineData("conv3x3", "loha", "hada_w1_a [8, 2], hada_w1_b [2, 54], hada_w2_a [8, 2], hada_w2_b [2, 54]")]
    [InlineData(
        "conv3x3",
        "loha with cores",
        "hada_t1 [2, 2, 3, 3], hada_t2 [2, 2, 3, 3], hada_w1_a [2, 8], hada_w1_b [2, 6], hada_w2_a [2, 8], hada_w2_b [2, 6]")]
    [InlineData("linear", "lokr", "lokr_w1 [2, 2], lokr_w2 [4, 3]")]
    [InlineData("linear", "lokr, thin", "lokr_w1 [2, 2], lokr_w2_a [4, 1], lokr_w2_b [1, 3]")]
    [InlineData("linear", "lokr, both thin", "lokr_w1_a [4, 1], lokr_w1_b [1, 2], lokr_w2_a [2, 1], lokr_w2_b [1, 3]")]
    [InlineData("conv3x3", "lokr", "lokr_w1 [2, 2], lokr_w2 [4, 3, 3, 3]")]
    [InlineData("conv3x3", "lokr, thin", "lokr_w1 [2, 2], lokr_w2_a [4, 1], lokr_w2_b [1, 27]")]
    [InlineData("conv3x3", "lokr with a core", "lokr_w1 [2, 2], lokr_w2_a [1, 4], lokr_w2_b [1, 3], lokr_t2 [1, 1, 3, 3]")]
    [InlineData("conv1x1", "lokr with a core", "lokr_w1 [2, 2], lokr_w2_a [4, 1], lokr_w2_b [1, 3]")]
    public void Parameters_OfAMethodBesideALayer_HaveItsShapes(string layerName, string method, string expected)
    {
        using var model = nn.Sequential(("layer", Layer.Of(layerName).Module));
        using var adapted = new AdaptedModel(model);

        adapted.Add("a", Methods[method] with { TargetModules = ["layer"] }, _generator);

        Assert.Equal(
            expected,
            string.Join(", ", adapted.GetLayers("a")[0].Parameters.Select(static pair => $"{pair.Key} [{string.Join(", ", pair.Value.shape)}]")));
        Assert.All(adapted.NamedParameters("a"), static p => Assert.Equal((ScalarType.Float32, true), (p.Parameter.dtype, p.Parameter.requires_grad)));
    }

    /// <summary>A kernel of its own is one that is not 1×1, in either direction; a rank of a thin factor that saves nothing is not taken.</summary>
    [Theory]
    [InlineData(1, 3, "hada_t1")]
    [InlineData(3, 1, "hada_t1")]
    [InlineData(1, 1, "hada_w1_a")]
    public void Core_OfAKernelInOneDirection_IsMade(int height, int width, string first)
    {
        using var model = nn.Sequential(("layer", nn.Conv2d(6, 8, (height, width))));
        using var adapted = new AdaptedModel(model);

        adapted.Add("a", Methods["loha with cores"] with { TargetModules = ["layer"] }, _generator);

        Assert.Equal(first, adapted.GetLayers("a")[0].Parameters.Keys.First());
    }

    [Theory]
    [InlineData(12, -1, 3, 4)]
    [InlineData(16, -1, 4, 4)]
    [InlineData(7, -1, 1, 7)]
    [InlineData(1, -1, 1, 1)]
    [InlineData(12, 6, 6, 2)]
    [InlineData(12, 12, 12, 1)]
    [InlineData(12, 1, 1, 12)]
    [InlineData(12, 5, 3, 4)]
    [InlineData(100, 3, 2, 50)]
    [InlineData(100, 16, 10, 10)]
    public void Factorize_OfASize_TakesTheFactorOrTheLargestBelow(long size, int factor, long outer, long inner) =>
        Assert.Equal((outer, inner), LokrLayer.Factorize(size, factor));

    /// <summary>A matrix as thin as its rank is stored whole: from half of its longer side on.</summary>
    [Theory]
    [InlineData(1, "lokr_w1_a", "lokr_w2_a")]
    [InlineData(2, "lokr_w1", "lokr_w2_a")]
    [InlineData(3, "lokr_w1", "lokr_w2_a")]
    [InlineData(4, "lokr_w1", "lokr_w2")]
    public void Lokr_OfARank_DecomposesWhereThatSaves(int rank, params string[] expected)
    {
        using var model = nn.Sequential(("layer", nn.Linear(8, 32)));
        using var adapted = new AdaptedModel(model);

        // 32 = 4·8 and 8 = 4·2: W₁ is 4×4, W₂ 8×2.
        adapted.Add(
            "a",
            new LoraConfig { Method = AdapterMethod.Lokr with { DecomposeBoth = true, DecomposeFactor = 4 }, Rank = rank, TargetModules = ["layer"] },
            _generator);

        Assert.Subset(adapted.GetLayers("a")[0].Parameters.Keys.ToHashSet(), expected.ToHashSet());
    }

    /// <summary>U(−1/√n, 1/√n) for what is drawn, zero for one factor, so that the update begins as none.</summary>
    [Theory]
    [InlineData("conv3x3", "loha", "hada_w1_a:2 hada_w1_b:54 hada_w2_a:2 hada_w2_b:0")]
    [InlineData("conv3x3", "loha with cores", "hada_t1:18 hada_t2:18 hada_w1_a:8 hada_w1_b:6 hada_w2_a:8 hada_w2_b:0")]
    [InlineData("conv3x3", "lokr", "lokr_w1:0 lokr_w2:27")]
    [InlineData("conv3x3", "lokr, thin", "lokr_w1:0 lokr_w2_a:1 lokr_w2_b:27")]
    [InlineData("linear", "lokr, both thin", "lokr_w1_a:0 lokr_w1_b:2 lokr_w2_a:1 lokr_w2_b:3")]
    [InlineData("linear", "lora with bias", "lora_A.weight:6 lora_B.weight:0 lora_B.bias:0")]
    [InlineData("conv3x3", "lora", "lora_A.weight:54 lora_B.weight:0")]
    [InlineData("grouped", "lora", "lora_A.weight:27 lora_B.weight:0")]
    public void NewAdapter_OfAMethod_DrawsWithinTheBoundOfItsInputs(string layerName, string method, string inputs)
    {
        using var model = nn.Sequential(("layer", Layer.Of(layerName).Module));
        using var adapted = new AdaptedModel(model);
        adapted.Add("a", Methods[method] with { TargetModules = ["layer"] }, _generator);

        foreach (var entry in inputs.Split(' '))
        {
            var (name, n) = (entry.Split(':')[0], int.Parse(entry.Split(':')[1]));
            var values = adapted.GetLayers("a")[0].Parameters[name].data<float>().ToArray();
            // Of eight numbers or more, one is above a half of the bound but in one case of 256; the generator is a fixed one.
            Assert.InRange(values.Max(Math.Abs), n == 0 ? 0 : (values.Length < 8 ? 0.01 : 0.5) / Math.Sqrt(n), n == 0 ? 0 : 1.0000001 / Math.Sqrt(n));
            Assert.Equal(n == 0 ? 1 : values.Length, values.Distinct().Count());
        }

        Assert.Equal(0, adapted.GetLayers("a")[0].WeightDelta()!.abs().max().item<float>());
    }

    /// <summary>N(0, 1) for an embedding's B, N(0, 1/r²) for A where that is asked for.</summary>
    [Fact]
    public void NewAdapter_WithNormalFactors_HasTheirDeviations()
    {
        using var model = nn.Sequential(("token", nn.Embedding(3, 200)), ("line", nn.Linear(200, 2)));
        using var adapted = new AdaptedModel(model);
        adapted.Add("a", new LoraConfig { Rank = 10, TargetModules = ["token", "line"], Initialization = LoraInitialization.Gaussian }, _generator);

        var parameters = adapted.NamedParameters("a").ToDictionary(static p => p.Name, static p => p.Parameter.data<float>().ToArray());

        // Of 2,000 numbers a deviation is off by 1/√4000 = 1.6 %; three times that is allowed.
        Assert.All(parameters["token.lora_embedding_A"], static value => Assert.Equal(0, value));
        Assert.InRange(Deviation(parameters["token.lora_embedding_B"]), 0.95, 1.05);
        Assert.InRange(Deviation(parameters["line.lora_A.weight"]), 0.095, 0.105);
        static double Deviation(float[] values) => Math.Sqrt(values.Average(static value => (double)value * value));
    }

    /// <summary>m begins as the lengths of W, so that a new adapter is the base.</summary>
    [Theory]
    [InlineData("linear")]
    [InlineData("transposed")]
    [InlineData("embedding")]
    [InlineData("conv3x3")]
    public void NewAdapter_WithMagnitudes_BeginsWithTheLengthsOfTheWeight(string layerName)
    {
        var layer = Layer.Of(layerName);
        using var model = nn.Sequential(("layer", layer.Module));
        using var adapted = new AdaptedModel(model);
        adapted.Add("a", Methods["dora"] with { TargetModules = ["layer"] }, _generator);

        var W = Nd.Of(layer.Module.get_parameter("weight")!);
        var squares = new double[W.Shape[layer.OutputAxis]];
        foreach (var i in W.Indices())
        {
            squares[i[layer.OutputAxis]] += W[i] * W[i];
        }

        Assert.InRange(
            Fixtures.RelativeDifference(tensor(squares).sqrt(), adapted.GetLayers("a")[0].Parameters["lora_magnitude_vector"].flatten()),
            0,
            Tolerance);
    }

    /// <summary>A file's α counts as α/r, whatever the method; of one that tells none α is the rank.</summary>
    [Theory]
    [InlineData(3.0, 1.5)]
    [InlineData(null, 1.0)]
    public void Add_OfAFileWithoutSettings_ScalesByAlphaOverRank(double? alpha, double scale)
    {
        using var model = nn.Sequential(("layer", nn.Linear(3, 4)));
        using var adapted = new AdaptedModel(model);
        var tensors = new Dictionary<string, Tensor> { ["layer.lora_A.weight"] = ones(2, 3), ["layer.lora_B.weight"] = ones(4, 2) };

        adapted.Add("a", new LoraState(tensors, alpha is { } told ? new Dictionary<string, double> { ["layer"] = told } : null));

        Assert.Equal(2 * scale, adapted.GetLayers("a")[0].WeightDelta()!.mean().item<float>(), 6);
        Assert.Equal(alpha ?? 2, adapted.ToState("a").Alphas["layer"]);
    }

    private void Randomize(IEnumerable<Tensor> tensors)
    {
        using var noGrad = no_grad();
        foreach (var tensor in tensors)
        {
            tensor.copy_(randn(tensor.shape, generator: _generator));
        }
    }

    /// <summary>A layer of 6 inputs and 8 outputs with an input for it.</summary>
    private sealed record Layer(
        nn.Module<Tensor, Tensor> Module, Tensor Input, string Kind, int OutputAxis = 0, long Stride = 1, long Padding = 0, long Dilation = 1, long Groups = 1)
    {
        public static Layer Of(string name) => name switch
        {
            "linear" => new(nn.Linear(6, 8), Sines(2, 3, 6), "linear"),
            "transposed" => new(new TransposedLinear(6, 8), Sines(2, 3, 6), "transposed", OutputAxis: 1),
            "embedding" => new(nn.Embedding(9, 6), tensor(new long[] { 0, 8, 3, 3, 1, 7 }, [2, 3]), "embedding", OutputAxis: 1),
            "conv1x1" => new(nn.Conv2d(6, 8, 1), Sines(2, 6, 4, 3), "convolution"),
            "conv3x3" => new(nn.Conv2d(6, 8, 3, padding: 1), Sines(2, 6, 4, 3), "convolution", Padding: 1),
            "strided" => new(nn.Conv2d(6, 8, 3, stride: 2, padding: 1, dilation: 2), Sines(1, 6, 7, 6), "convolution", Stride: 2, Padding: 1, Dilation: 2),
            "valid" => new(nn.Conv2d(6, 8, 3, padding: TorchSharp.Padding.Valid), Sines(1, 6, 5, 4), "convolution"),
            "same" => new(nn.Conv2d(6, 8, 3, padding: TorchSharp.Padding.Same, dilation: 2), Sines(1, 6, 5, 4), "convolution", Padding: 2, Dilation: 2),
            _ => new(nn.Conv2d(6, 8, 3, groups: 2), Sines(1, 6, 4, 4), "convolution", Groups: 2),
        };

        public Nd Apply(Nd weight) => PlainAdapter.Apply(Nd.Of(Input), weight, Kind, Stride, Padding, Dilation, Groups);

        public long Channel(long[] index) => Kind == "convolution" ? index[1] : index[^1];

        private static Tensor Sines(params long[] shape) => linspace(-3, 4, shape.Aggregate(1L, static (all, size) => all * size)).sin().reshape(shape);
    }
}
