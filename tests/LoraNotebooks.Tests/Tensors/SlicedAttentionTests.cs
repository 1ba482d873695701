using LoraNotebooks.Models;
using LoraNotebooks.Tensors.Kernels;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Tensors;

/// <summary>Attention in slices against softmax(QKᵀ)·V in float64, whole.</summary>
public sealed class SlicedAttentionTests : IDisposable
{
    private readonly DisposeScope _scope = NewDisposeScope();

    public void Dispose() => _scope.Dispose();

    // 8 MB of scores at a time: all heads at once, several heads, one head, and a head in three parts of which the last is shorter.
    [Theory]
    [InlineData(3, 5, 7)]
    [InlineData(5, 1000, 1000)]
    [InlineData(3, 1100, 1000)]
    [InlineData(2, 2101, 2000)]
    public void Attend_AnyNumberOfSlices_IsAttentionWithItsGradients(long heads, long tokens, long context)
    {
        var (inputs, dy) = Inputs(heads, tokens, context);
        var expected = WithGradients(Whole, [.. inputs.Select(static x => x.to(float64))], dy.to(float64));

        var ours = WithGradients(SlicedAttention.Attend, inputs, dy);

        Assert.All(ours.Zip(expected), static pair => Assert.InRange(Difference(pair.First, pair.Second), 0, 2e-6));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    public void Attend_OnlyOneOfThreeIsTrained_HasItsGradient(int trained)
    {
        var (inputs, dy) = Inputs(2, 5, 7);
        inputs[trained].requires_grad_();
        var x = inputs[trained].detach().to(float64).requires_grad_();
        Tensor[] doubles = [.. inputs.Select(static input => input.detach().to(float64))];
        doubles[trained] = x;

        var gradient = autograd.grad([SlicedAttention.Attend(inputs[0], inputs[1], inputs[2])], [inputs[trained]], [dy])[0];

        var expected = autograd.grad([Whole(doubles[0], doubles[1], doubles[2])], [x], [dy.to(float64)])[0];
        Assert.InRange(Difference(gradient, expected), 0, 2e-6);
    }

    [Fact]
    public void Attend_WithoutGradients_IsTheSameToTheBit()
    {
        var (inputs, _) = Inputs(2, 2101, 2000);
        using var noGradient = no_grad();
        var plain = SlicedAttention.Attend(inputs[0], inputs[1], inputs[2]);
        using var gradient = enable_grad();

        var recorded = SlicedAttention.Attend(inputs[0].requires_grad_(), inputs[1], inputs[2]);

        Assert.True(recorded.requires_grad);
        Assert.False(plain.requires_grad);
        Assert.True(plain.Equals(recorded));
    }

    // Whatever this machine would choose: what is chosen is computed.
    [Theory]
    [InlineData("sliced")]
    [InlineData("fused")]
    public void LongAttention_In16Bits_IsComputedTheChosenWay(string way)
    {
        const int heads = 2, tokens = 1024, dimension = 4;
        using var taken = KernelChoices.Attention16.Take(way);
        using var generator = new Generator(1);
        Tensor[] x = [.. Enumerable.Range(0, 3).Select(_ => randn([1, tokens, heads * dimension], generator: generator).to(bfloat16))];

        var attended = ScaledDotProduct.Attend(x[0], x[1], x[2], heads, upcast: false);

        Tensor[] split = [.. x.Select(static tokens => tokens.view(1, 1024, heads, dimension).transpose(1, 2))];
        var expected = way == "sliced"
            ? SlicedAttention.Attend(split[0].flatten(0, 1), split[1].flatten(0, 1) * 0.5, split[2].flatten(0, 1)).unsqueeze(0)
            : nn.functional.scaled_dot_product_attention(split[0], split[1], split[2]);
        Assert.True(expected.transpose(1, 2).reshape(1, tokens, -1).Equals(attended));
    }

    private static (Tensor[] Inputs, Tensor Gradient) Inputs(long heads, long tokens, long context)
    {
        using var generator = new Generator(1);
        return (
            [.. new[] { tokens, context, context }.Select(length => randn([heads, length, 4], generator: generator))],
            randn([heads, tokens, 4], generator: generator));
    }

    private static Tensor Whole(Tensor query, Tensor key, Tensor value) => query.bmm(key.transpose(1, 2)).softmax(-1).bmm(value);

    private static Tensor[] WithGradients(Func<Tensor, Tensor, Tensor, Tensor> attend, Tensor[] inputs, Tensor dy)
    {
        Tensor[] x = [.. inputs.Select(static input => input.detach().requires_grad_())];
        var y = attend(x[0], x[1], x[2]);
        return [y, .. autograd.grad([y], x, [dy])];
    }

    private static double Difference(Tensor ours, Tensor expected)
    {
        Assert.Equal(expected.shape, ours.shape);
        return ((ours.detach().to(float64) - expected.detach()).abs().max() / expected.detach().abs().max()).item<double>();
    }
}
