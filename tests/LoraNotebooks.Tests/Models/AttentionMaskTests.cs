using LoraNotebooks.Models;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Models;

public sealed class AttentionMaskTests
{
    private const int Heads = 2;

    /// <summary>Where padding sees nothing, the fused kernel's backward pass would be wrong.</summary>
    [Theory]
    [InlineData("1111", null, false)]
    [InlineData("1110", null, false)]
    [InlineData("0011", null, true)]
    [InlineData("1100", 1, true)]
    [InlineData("1111", 2, false)]
    public void Causal_UnderAttention_GivesTheOutputsAndGradientsOfTheFormula(string tokens, int? window, bool hasBlindTokens)
    {
        using var scope = NewDisposeScope();
        using var generator = new Generator(1);
        var parts = Enumerable.Range(0, 3).Select(_ => randn([1, tokens.Length, 6], generator: generator)).ToList();
        var direction = randn([1, tokens.Length, 6], generator: generator);
        var padding = tensor(tokens.Select(static token => token - '0').ToArray()).to(ScalarType.Int64).unsqueeze(0);
        var mask = AttentionMask.Causal(parts[0], padding, window);
        Assert.Equal(hasBlindTokens, mask.HasBlindTokens);

        var ours = Gradients((q, k, v) => ScaledDotProduct.Attend(q, k, v, Heads, upcast: false, mask));
        var formula = Gradients((q, k, v) =>
        {
            var heads = new[] { q, k, v }.Select(x => x.view(1, -1, Heads, 3).transpose(1, 2)).ToArray();
            var scores = (heads[0].matmul(heads[1].transpose(2, 3)) / Math.Sqrt(3)) + mask.Values;
            return scores.softmax(-1).matmul(heads[2]).transpose(1, 2).flatten(2);
        });
        Assert.All(formula.Zip(ours), static pair => Assert.InRange(Fixtures.MaxDifference(pair.First, pair.Second), 0, 1e-6));

        Tensor[] Gradients(Func<Tensor, Tensor, Tensor, Tensor> attend)
        {
            var leaves = parts.Select(static part => part.clone().requires_grad_()).ToArray();
            var y = attend(leaves[0], leaves[1], leaves[2]);
            (y * direction).sum().backward();
            return [y, .. leaves.Select(static leaf => leaf.grad!)];
        }
    }

    [Fact]
    public void Causal_PaddingAndWindow_HideWhatTheySay()
    {
        using var scope = NewDisposeScope();
        var seen = AttentionMask.Causal(zeros(2, 4, 1), tensor(new long[,] { { 1, 1, 1, 1 }, { 0, 1, 1, 1 } }), window: 2).Values.eq(0).to(ScalarType.Int64);
        Assert.Equal([1, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1], seen[0].data<long>().ToArray());
        Assert.Equal([0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1], seen[1].data<long>().ToArray());
    }
}
