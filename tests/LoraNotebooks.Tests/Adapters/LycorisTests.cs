using LoraNotebooks.Adapters;
using LoraNotebooks.Formats;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Adapters;

/// <summary>Methods and layouts of LyCORIS that no parity case has, against their formulas written out.</summary>
public sealed class LycorisTests : IDisposable
{
    private const double Tolerance = 1e-5;

    private readonly DisposeScope _scope = NewDisposeScope();
    private readonly Generator _generator = new(11);
    private readonly TinyNetwork _model = new();
    private readonly AdaptedModel _adapted;

    public LycorisTests() => _adapted = new AdaptedModel(_model);

    public void Dispose()
    {
        _adapted.Dispose();
        _model.Dispose();
        _generator.Dispose();
        _scope.Dispose();
    }

    [Fact]
    public void Locon_WithACore_AddsDownKernelUp()
    {
        var W = Weight("conv");
        var (A, C, B) = (Draw(3, W.size(1), 1, 1), Draw(3, 3, 3, 3), Draw(W.size(0), 3, 1, 1));

        Check(
            "conv",
            W + (2.0 / 3 * einsum("ijkl,pi,jq->pqkl", C, B.flatten(1), A.flatten(1))),
            2,
            ("lora_A.weight", A),
            ("lora_mid.weight", C),
            ("lora_B.weight", B));
    }

    [Fact]
    public void Loha_WithCores_MultipliesTheirProducts()
    {
        var W = Weight("conv");
        var (t1, a1, b1) = (Draw(2, 2, 3, 3), Draw(2, W.size(0)), Draw(2, W.size(1)));
        var (t2, a2, b2) = (Draw(2, 2, 3, 3), Draw(2, W.size(0)), Draw(2, W.size(1)));
        var product = einsum("ijkl,ip,jq->pqkl", t1, a1, b1) * einsum("ijkl,ip,jq->pqkl", t2, a2, b2);

        Check("conv", W + (3.0 / 2 * product), 3, ("hada_t1", t1), ("hada_w1_a", a1), ("hada_w1_b", b1), ("hada_t2", t2), ("hada_w2_a", a2), ("hada_w2_b", b2));
    }

    [Fact]
    public void Lokr_WithBothFactorsThin_IsTheirKroneckerProduct()
    {
        var W = Weight("to_q");
        var (a1, b1, a2, b2) = (Draw(2, 2), Draw(2, 3), Draw(W.size(0) / 2, 2), Draw(2, W.size(1) / 3));

        Check("to_q", W + kron(a1.matmul(b1), a2.matmul(b2)), 2, ("lokr_w1_a", a1), ("lokr_w1_b", b1), ("lokr_w2_a", a2), ("lokr_w2_b", b2));
    }

    /// <summary>Upstream takes a product of two whole matrices at scale 1, whatever α is, also one that is no rank; it is kept as it was noted.</summary>
    [Theory]
    [InlineData(5)]
    [InlineData(2.5)]
    public void Lokr_WithBothFactorsWhole_HasScaleOne(double alpha)
    {
        var W = Weight("to_q");
        var (w1, w2) = (Draw(2, 3), Draw(W.size(0) / 2, W.size(1) / 3));

        Check("to_q", W + kron(w1, w2), alpha, ("lokr_w1", w1), ("lokr_w2", w2));

        Assert.Equal(alpha, _adapted.ToState("lycoris").Alphas["to_q"]);
    }

    /// <summary>A file that lacks one of LoKr's thin factors is told which, and nothing else of it is strange.</summary>
    [Theory]
    [InlineData("lokr_w1_a", "[1, 2]")]
    [InlineData("lokr_w1_b", "[2, 1]")]
    [InlineData("lokr_w2_a", "[4, 2]")]
    [InlineData("lokr_w2_b", "[2, 2]")]
    public void Lokr_WithoutOneFactor_IsToldWhich(string lacking, string shape)
    {
        var parts = new Dictionary<string, Tensor>
        {
            ["lokr_w1_a"] = zeros(lacking == "lokr_w1_b" ? 1 : 2, 2),
            ["lokr_w1_b"] = zeros(2, lacking == "lokr_w1_a" ? 1 : 3),
            ["lokr_w2_a"] = zeros(4, 2),
            ["lokr_w2_b"] = zeros(2, 2),
        };
        parts.Remove(lacking);
        if (lacking.StartsWith("lokr_w1", StringComparison.Ordinal))
        {
            // Nothing tells into how many parts the outputs, or the inputs, are split: one.
            (parts["lokr_w2_a"], parts["lokr_w2_b"]) = (zeros(8, 2), zeros(2, 6));
        }

        using var state = new LoraState(parts.ToDictionary(static pair => $"to_q.{pair.Key}", static pair => pair.Value));

        Assert.EndsWith(
            $"(1 fault); was it trained for another model?\n- missing: to_q.{lacking} {shape}",
            Assert.Throws<InvalidDataException>(() => _adapted.Add("bad", state)).Message);
    }

    /// <summary>A W₁ that is no matrix tells no sizes.</summary>
    [Theory]
    [InlineData("[]")]
    [InlineData("[2]")]
    public void Lokr_OfAFactorWithoutItsAxes_IsRefusedByShape(string shape)
    {
        using var state = new LoraState(new Dictionary<string, Tensor> { ["to_q.lokr_w1"] = zeros(shape == "[]" ? [] : [2]), ["to_q.lokr_w2"] = zeros(8, 6) });

        Assert.Contains($"wrong shape: to_q.lokr_w1 is {shape}, expected [", Assert.Throws<InvalidDataException>(() => _adapted.Add("bad", state)).Message);
    }

    [Theory]
    [InlineData("to_q", 0)]
    [InlineData("to_q", 1)]
    [InlineData("conv", 0)]
    [InlineData("conv", 1)]
    public void DoraScale_OnEitherAxis_SetsTheLengthOfEachSlice(string layer, int axis)
    {
        var W = Weight(layer);
        var (A, B) = (Draw([2, .. W.shape[1..]]), Draw(layer == "conv" ? [W.size(0), 2, 1, 1] : [W.size(0), 2]));
        var others = Enumerable.Range(0, (int)W.dim()).Where(i => i != axis).Select(i => (long)i).ToArray();
        var V = W + (3.0 / 2 * B.flatten(1).matmul(A.flatten(1)).view(W.shape));
        var m = Draw([.. W.shape.Select((size, i) => i == axis ? size : 1)]).abs() + 0.5;

        Check(layer, m * V / V.square().sum(others, keepdim: true).sqrt(), 3, ("lora_A.weight", A), ("lora_B.weight", B), ("dora_scale", m));
    }

    /// <summary>PEFT's length, which is flat, in a file without settings.</summary>
    [Fact]
    public void MagnitudeVector_OfAFileWithoutSettings_SetsTheLengthOfEachRow()
    {
        var W = Weight("to_q");
        var (A, B, m) = (Draw(2, W.size(1)), Draw(W.size(0), 2), Draw(W.size(0)).abs() + 0.5);
        var V = W + B.matmul(A);

        Check(
            "to_q",
            m.unsqueeze(1) * V / V.square().sum(1, keepdim: true).sqrt(),
            2,
            ("lora_A.weight", A),
            ("lora_B.weight", B),
            ("lora_magnitude_vector", m));
    }

    /// <summary>The shape of dora_scale tells its axis; of a layer with one input or one output too.</summary>
    [Theory]
    [InlineData(1, 4, 4, 1, 0)]
    [InlineData(1, 4, 1, 1, 1)]
    [InlineData(4, 1, 1, 1, 0)]
    public void DoraScale_OfALayerWithOneInputOrOutput_IsOfTheAxisOfItsShape(int inputs, int outputs, int rows, int columns, int axis)
    {
        using var model = nn.Sequential(("line", nn.Linear(inputs, outputs)));
        using var adapted = new AdaptedModel(model);
        var (A, B, m) = (Draw(1, inputs), Draw(outputs, 1), Draw(rows, columns).abs() + 0.5);
        var V = model.get_parameter("line.weight")!.detach() + B.matmul(A);

        adapted.Add("a", new LoraState(new Dictionary<string, Tensor> { ["line.lora_A.weight"] = A, ["line.lora_B.weight"] = B, ["line.dora_scale"] = m }));
        adapted.Merge();

        Assert.InRange(
            Fixtures.RelativeDifference(m * V / V.square().sum(1 - axis, keepdim: true).sqrt(), model.get_parameter("line.weight")!),
            0,
            Tolerance);
    }

    [Fact]
    public void DoraScale_WithoutItsAxes_IsRefusedByShape()
    {
        using var model = nn.Sequential(("line", nn.Linear(3, 1)));
        using var adapted = new AdaptedModel(model);
        using var state = new LoraState(new Dictionary<string, Tensor>
        {
            ["line.lora_A.weight"] = zeros(1, 3),
            ["line.lora_B.weight"] = zeros(1, 1),
            ["line.dora_scale"] = ones(1),
        });

        Assert.EndsWith(
            "\n- wrong shape: line.dora_scale is [1], expected [1, 1]",
            Assert.Throws<InvalidDataException>(() => adapted.Add("bad", state)).Message);
    }

    [Fact]
    public void DoraScale_OfALoha_IsAppliedToItsSum()
    {
        var W = Weight("to_q");
        var (a1, b1, a2, b2) = (Draw(W.size(0), 2), Draw(2, W.size(1)), Draw(W.size(0), 2), Draw(2, W.size(1)));
        var V = W + (a1.matmul(b1) * a2.matmul(b2));
        var m = Draw(W.size(0), 1).abs() + 0.5;

        Check(
            "to_q", m * V / V.square().sum(1, keepdim: true).sqrt(), 2, ("hada_w1_a", a1), ("hada_w1_b", b1), ("hada_w2_a", a2), ("hada_w2_b", b2),
            ("dora_scale", m));
    }

    [Fact]
    public void Factors_ThatAreMissingOrDoNotFit_AreAllNamed()
    {
        using var state = new LoraState(new Dictionary<string, Tensor>
        {
            ["to_q.hada_w1_a"] = zeros(8, 2),
            ["to_q.hada_w1_b"] = zeros(2, 7),
            ["to_q.hada_w2_a"] = zeros(8, 2),
            ["to_q.hada_t1"] = zeros(2, 2, 1),
        });

        var message = Assert.Throws<InvalidDataException>(() => _adapted.Add("bad", state)).Message;

        Assert.Contains("missing: to_q.hada_t2", message);
        Assert.Contains("missing: to_q.hada_w2_b", message);
        Assert.Contains("wrong shape: to_q.hada_w1_b is [2, 7]", message);
        Assert.Empty(_adapted.Names);
    }

    [Fact]
    public void Kronecker_ThatDoesNotDivideTheLayer_IsRefusedByName()
    {
        using var state = new LoraState(new Dictionary<string, Tensor> { ["to_q.lokr_w1"] = zeros(3, 2), ["to_q.lokr_w2"] = zeros(2, 3) });

        Assert.Contains("'to_q.lokr_w1' splits 8 outputs into 3 parts", Assert.Throws<InvalidDataException>(() => _adapted.Add("bad", state)).Message);
    }

    [Theory]
    [InlineData("[1, 1, 3, 3]")]
    [InlineData("[]")]
    public void Core_ThatIsNotOfTheFactorsRank_IsRefusedBeforeItsSizeIsAllocated(string shape)
    {
        using var state = new LoraState(new Dictionary<string, Tensor>
        {
            ["conv.lora_A.weight"] = zeros(1_000_000, 1),
            ["conv.lora_mid.weight"] = zeros(shape == "[]" ? [] : [1, 1, 3, 3]),
            ["conv.lora_B.weight"] = zeros(1, 1),
        });

        Assert.Contains(
            $"'conv.lora_mid.weight' is {shape}, expected a first size of 1000000, the rank of the factors beside it.",
            Assert.Throws<InvalidDataException>(() => _adapted.Add("bad", state)).Message);
    }

    [Fact]
    public void Core_OfALayerWithoutKernel_IsRefused()
    {
        using var state = new LoraState(new Dictionary<string, Tensor>
        {
            ["to_q.lora_A.weight"] = zeros(2, 6, 1, 1),
            ["to_q.lora_mid.weight"] = zeros(2, 2),
            ["to_q.lora_B.weight"] = zeros(8, 2, 1, 1),
        });

        Assert.Contains("'to_q.lora_mid.weight' is the core of a convolution", Assert.Throws<InvalidDataException>(() => _adapted.Add("bad", state)).Message);
    }

    [Fact]
    public void Rank_OfMoreNumbersThanTheFileHas_IsRefusedBeforeItIsAllocated()
    {
        using var state = new LoraState(
            new Dictionary<string, Tensor> { ["to_q.lokr_w1_a"] = zeros(2, 1), ["to_q.lokr_w2"] = zeros(4, 3) },
            new Dictionary<string, double> { ["to_q"] = 2e9 });

        Assert.Contains(
            "'to_q.lokr_w1_a' needs 4,000,000,000 numbers at rank 2000000000",
            Assert.Throws<InvalidDataException>(() => _adapted.Add("bad", state)).Message);
    }

    /// <summary>What is drawn is refused like what is zero, and what was made before it is released.</summary>
    [Fact]
    public void Rank_OfMoreDrawnNumbersThanTheFileHas_IsRefusedAndLeavesNothing()
    {
        using var state = new LoraState(new Dictionary<string, Tensor>
        {
            ["to_q.lokr_w1_a"] = zeros(2, 1),
            ["to_q.lokr_w1_b"] = zeros(1, 3),
            ["to_q.lokr_w2_b"] = zeros(100, 2),
        });
        var live = DisposeScopeManager.Statistics.ThreadTotalLiveCount;

        Assert.StartsWith(
            "'to_q.lokr_w1_b' needs 300 numbers at rank 100, [100, 3], and its file has only 205: ",
            Assert.Throws<InvalidDataException>(() => _adapted.Add("bad", state)).Message);
        Assert.Equal(live, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
    }

    [Theory]
    [InlineData("Loha", false)]
    [InlineData("Lokr", false)]
    [InlineData("Lokr", true)]
    public void NewAdapter_OfEachMethod_ChangesNothingAndTrains(string name, bool core)
    {
        var method = core ? AdapterMethod.Lokr with { DecomposeBoth = true } : AdapterMethod.Named(name);
        var before = _model.Run();
        _adapted.Add("new", new LoraConfig { Method = method, Rank = 1, TargetModules = ["to_q", "conv"], UseEffectiveConv2d = core }, _generator);

        Assert.Equal(0, Fixtures.MaxDifference(before, _model.Run()));
        _model.Run().square().sum().backward();
        Assert.All(_adapted.GetLayers("new"), layer => Assert.Contains(layer.Parameters.Values, p => p.grad is { } grad && grad.abs().sum().item<float>() > 0));
    }

    [Fact]
    public void NewDoraAdapter_ChangesNothingButRounding_AndItsLengthTrains()
    {
        var before = _model.Run();
        _adapted.Add("new", new LoraConfig { UseDora = true, Rank = 2, TargetModules = ["to_q", "conv", "token"] }, _generator);

        // An embedding's A begins at zero, so each layer begins as the base does.
        Assert.InRange(Fixtures.MaxDifference(before, _model.Run()), 0, Tolerance);
        _model.Run().square().sum().backward();
        Assert.All(
            _adapted.NamedParameters("new").Where(p => p.Name.EndsWith("magnitude_vector", StringComparison.Ordinal)),
            p => Assert.True(p.Parameter.grad!.abs().sum().item<float>() > 0, p.Name));
    }

    [Fact]
    public void Forward_ManyTimes_KeepsTheNumberOfLiveTensors()
    {
        _adapted.Add("loha", new LoraConfig { Method = AdapterMethod.Loha, Rank = 1, TargetModules = ["to_q", "conv"], UseEffectiveConv2d = true }, _generator);
        _adapted.Add("lokr", new LoraConfig { Method = AdapterMethod.Lokr, Rank = 1, TargetModules = ["to_q", "conv"] }, _generator);
        _adapted.Add("dora", new LoraConfig { UseDora = true, Rank = 1, TargetModules = ["to_q", "conv"] }, _generator);
        Step();
        Step();
        var live = DisposeScopeManager.Statistics.ThreadTotalLiveCount;

        for (var i = 0; i < 10; i++)
        {
            Step();
        }

        Assert.Equal(live, DisposeScopeManager.Statistics.ThreadTotalLiveCount);

        void Step()
        {
            using var step = NewDisposeScope();
            _model.Run().square().sum().backward();
        }
    }

    /// <summary>Loads the weights of one layer as a file without settings gives them: the hook and the merge must both give f(x; expected).</summary>
    private void Check(string layer, Tensor expected, double alpha, params (string Name, Tensor Tensor)[] parts)
    {
        using var state = new LoraState(
            parts.ToDictionary(part => $"{layer}.{part.Name}", part => part.Tensor.alias().DetachFromDisposeScope()),
            new Dictionary<string, double> { [layer] = alpha });
        using var noGrad = no_grad();
        var W = _model.get_parameter($"{layer}.weight")!;
        var original = W.clone();
        W.copy_(expected);
        var output = _model.Run();
        W.copy_(original);
        Assert.True(Fixtures.MaxDifference(output, _model.Run()) > 0.01, "the update must matter");

        _adapted.Add("lycoris", state);
        Assert.InRange(Fixtures.MaxDifference(output, _model.Run()), 0, Tolerance);
        _adapted.Merge();
        Assert.InRange(Fixtures.MaxDifference(expected, W), 0, Tolerance);
        _adapted.Unmerge();
        Assert.Equal(0, Fixtures.MaxDifference(original, W));
        using var again = _adapted.ToState("lycoris");
        Assert.Equal(state.Tensors.Keys.Order(), again.Tensors.Keys.Order());
        Assert.All(state.Tensors, pair => Assert.Equal(0, Fixtures.MaxDifference(pair.Value, again.Tensors[pair.Key])));
    }

    private Tensor Weight(string layer) => _model.get_parameter($"{layer}.weight")!.detach().clone();

    private Tensor Draw(params long[] shape) => randn(shape, generator: _generator);
}
