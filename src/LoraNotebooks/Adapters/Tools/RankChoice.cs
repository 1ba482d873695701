using static TorchSharp.torch;

namespace LoraNotebooks.Adapters.Tools;

/// <summary>How a new rank is found for each layer.</summary>
public enum RankRule
{
    /// <summary>The same for all.</summary>
    Fixed,

    /// <summary>As many singular values as are larger than the largest divided by the target (kohya's sv_ratio).</summary>
    Ratio,

    /// <summary>The fewest singular values whose Frobenius norm is the target's share of the whole (kohya's sv_fro).</summary>
    Frobenius,

    /// <summary>The fewest singular values whose sum is the target's share of the whole (kohya's sv_cumulative).</summary>
    Cumulative,
}

/// <summary>Which rank a layer gets when its update is decomposed anew.</summary>
/// <remarks>Source: kohya-ss/sd-scripts, networks/resize_lora.py.</remarks>
public sealed record RankChoice
{
    private const double Nothing = 1e-6;

    /// <summary>The rank, or with a rule the most that it may choose. Required.</summary>
    public required int Rank { get; init; }

    /// <summary>The same for convolutions; default <see cref="Rank"/>.</summary>
    public int? ConvolutionRank { get; init; }

    /// <summary>How the rank is found; default <see cref="RankRule.Fixed"/>.</summary>
    public RankRule Rule { get; init; } = RankRule.Fixed;

    /// <summary>The rule's target: a ratio of at least 1 for <see cref="RankRule.Ratio"/>, else a share between 0 and 1.</summary>
    public double Target { get; init; } = 1;

    /// <summary>Throws if there are faults.</summary>
    /// <exception cref="ArgumentException">There are; the message lists them all.</exception>
    public void ThrowIfInvalid()
    {
        var faults = new Faults();
        faults.Expect(Rank >= 1, nameof(Rank), Rank, "at least 1");
        faults.Expect(ConvolutionRank is null or >= 1, nameof(ConvolutionRank), ConvolutionRank, "at least 1");
        faults.Require(
            Rule switch { RankRule.Fixed => true, RankRule.Ratio => double.IsFinite(Target) && Target >= 1, _ => Target is > 0 and <= 1 },
            $"Target: got {Target} for {Rule}, expected {(Rule == RankRule.Ratio ? "a ratio of at least 1" : "a share above 0 and at most 1")}");
        Faults.ThrowIfAny(faults, "The choice of ranks");
    }

    /// <summary>The rank for falling singular values.</summary>
    internal int Of(Tensor S, bool isConvolution)
    {
        using var scope = NewDisposeScope();
        var values = S.to(ScalarType.Float64).cpu().data<double>().ToArray();
        var most = Math.Min(values.Length, isConvolution ? ConvolutionRank ?? Rank : Rank);
        if (values[0] <= Nothing)
        {
            return 1;
        }

        return Math.Clamp(Rule switch
        {
            RankRule.Ratio => values.Count(value => value > values[0] / Target),
            RankRule.Frobenius => FirstReaching([.. values.Select(static value => value * value)], Target * Target),
            RankRule.Cumulative => FirstReaching(values, Target),
            _ => most,
        }, 1, most);
    }

    private static int FirstReaching(double[] values, double share)
    {
        var (wanted, sum) = (share * values.Sum(), 0.0);
        for (var i = 0; i < values.Length; i++)
        {
            sum += values[i];
            if (sum >= wanted)
            {
                return i + 1;
            }
        }

        return values.Length;
    }
}

/// <summary>What became of one layer's update when it was decomposed.</summary>
/// <param name="Network">The network, e.g. "unet".</param>
/// <param name="Module">The layer's path.</param>
/// <param name="OldRank">r before, or the smaller size of the difference that was decomposed.</param>
/// <param name="Rank">r now.</param>
/// <param name="Norm">‖ΔW‖ before, Frobenius, the scale in it.</param>
/// <param name="RelativeError">‖ΔW − new ΔW‖/‖ΔW‖.</param>
public sealed record LayerFit(string Network, string Module, int OldRank, int Rank, double Norm, double RelativeError);
