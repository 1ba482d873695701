using LoraNotebooks.Adapters.Tools;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Adapters.Tools;

/// <summary>Ranks chosen from singular values, at each rule's own bound.</summary>
public sealed class RankChoiceTests
{
    /// <summary>Rule, target, the most that may be chosen, falling values, the rank.</summary>
    [Theory]
    [InlineData(RankRule.Fixed, 1, 2, new[] { 4.0, 2, 1 }, 2)]
    [InlineData(RankRule.Fixed, 1, 9, new[] { 4.0, 2, 1 }, 3)]
    [InlineData(RankRule.Ratio, 2, 9, new[] { 4.0, 2, 1 }, 1)] // more than 4/2
    [InlineData(RankRule.Ratio, 4, 9, new[] { 4.0, 2, 1 }, 2)] // more than 4/4
    [InlineData(RankRule.Ratio, 5, 9, new[] { 4.0, 2, 1 }, 3)]
    [InlineData(RankRule.Ratio, 5, 2, new[] { 4.0, 2, 1 }, 2)]
    [InlineData(RankRule.Ratio, 1, 9, new[] { 4.0, 2, 1 }, 1)] // none is more than the first
    [InlineData(RankRule.Cumulative, 0.5, 9, new[] { 4.0, 2, 2 }, 1)] // 4 of 8
    [InlineData(RankRule.Cumulative, 0.75, 9, new[] { 4.0, 2, 2 }, 2)] // 6 of 8
    [InlineData(RankRule.Cumulative, 0.76, 9, new[] { 4.0, 2, 2 }, 3)]
    [InlineData(RankRule.Cumulative, 1, 2, new[] { 4.0, 2, 2 }, 2)]
    [InlineData(RankRule.Frobenius, 0.5, 9, new[] { 1.0, 1, 1, 1 }, 1)] // a quarter of the squares
    [InlineData(RankRule.Frobenius, 0.51, 9, new[] { 1.0, 1, 1, 1 }, 2)]
    [InlineData(RankRule.Frobenius, 0.9, 9, new[] { 4.0, 2, 1 }, 2)] // 0.81 of 21 is 17.01, 16 of it the first
    [InlineData(RankRule.Fixed, 1, 3, new[] { 1e-6, 1e-7, 0 }, 1)] // nothing
    [InlineData(RankRule.Fixed, 1, 3, new[] { 1.1e-6, 1e-7, 0 }, 3)]
    public void Rank_OfValues_IsTheOneOfTheRule(RankRule rule, double target, int most, double[] values, int expected)
    {
        using var S = tensor(values);

        Assert.Equal(expected, new RankChoice { Rank = most, Rule = rule, Target = target }.Of(S, isConvolution: false));
    }

    [Theory]
    [InlineData(false, 3, 2)]
    [InlineData(true, 3, 3)]
    [InlineData(true, null, 2)]
    public void Rank_OfAConvolution_IsItsOwnIfThereIsOne(bool isConvolution, int? convolutionRank, int expected)
    {
        using var S = ones(4);

        Assert.Equal(expected, new RankChoice { Rank = 2, ConvolutionRank = convolutionRank }.Of(S, isConvolution));
    }

    [Theory]
    [InlineData(1, null, RankRule.Fixed, -5, null)]
    [InlineData(0, null, RankRule.Fixed, 1, "Rank: got 0, expected at least 1")]
    [InlineData(1, 1, RankRule.Fixed, 1, null)]
    [InlineData(1, 0, RankRule.Fixed, 1, "ConvolutionRank: got 0, expected at least 1")]
    [InlineData(1, null, RankRule.Ratio, 1, null)]
    [InlineData(1, null, RankRule.Ratio, 0.99, "Target: got 0.99 for Ratio, expected a ratio of at least 1")]
    [InlineData(1, null, RankRule.Ratio, double.PositiveInfinity, "Target: got Infinity for Ratio, expected a ratio of at least 1")]
    [InlineData(1, null, RankRule.Frobenius, 1, null)]
    [InlineData(1, null, RankRule.Frobenius, 1.01, "Target: got 1.01 for Frobenius, expected a share above 0 and at most 1")]
    [InlineData(1, null, RankRule.Cumulative, 0.01, null)]
    [InlineData(1, null, RankRule.Cumulative, 0, "Target: got 0 for Cumulative, expected a share above 0 and at most 1")]
    [InlineData(1, null, RankRule.Cumulative, double.NaN, "Target: got NaN for Cumulative, expected a share above 0 and at most 1")]
    public void Choice_AtItsBoundsAndBeyond_HasThatFault(int rank, int? convolutionRank, RankRule rule, double target, string? fault)
    {
        var error = Record.Exception(new RankChoice { Rank = rank, ConvolutionRank = convolutionRank, Rule = rule, Target = target }.ThrowIfInvalid);

        Assert.Equal(fault is null ? null : $"The choice of ranks has 1 unsupported or wrong value:\n- {fault}", error?.Message);
    }

    [Fact]
    public void Choice_OfNothing_IsFixedForAll()
    {
        var choice = new RankChoice { Rank = 1 };

        Assert.Equal((RankRule.Fixed, 1.0, null), (choice.Rule, choice.Target, choice.ConvolutionRank));
        Assert.Equal(
            "The choice of ranks has 3 unsupported or wrong values:\n- Rank: got 0, expected at least 1\n- ConvolutionRank: got -1, expected at least 1\n"
                + "- Target: got 2 for Frobenius, expected a share above 0 and at most 1",
            Assert.Throws<ArgumentException>(new RankChoice { Rank = 0, ConvolutionRank = -1, Rule = RankRule.Frobenius, Target = 2 }.ThrowIfInvalid).Message);
    }

    /// <summary>What is lost is the norm of the values left out, in parts of the whole; of nothing nothing is lost.</summary>
    [Theory]
    [InlineData(new[] { 4.0, 3 }, 1, 0.6)]
    [InlineData(new[] { 4.0, 3 }, 2, 0)]
    [InlineData(new[] { 0.0, 0 }, 1, 0)]
    public void Decomposed_ToARank_TellsTheShareLost(double[] values, int rank, double error)
    {
        using var S = tensor(values);

        var (chosen, lost) = LoraResizing.Decomposed(S, new RankChoice { Rank = rank }, isConvolution: false);

        Assert.Equal(rank, chosen);
        Assert.Equal(error, lost, 12);
    }
}
