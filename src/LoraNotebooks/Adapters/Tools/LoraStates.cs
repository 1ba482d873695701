using LoraNotebooks.Formats;

namespace LoraNotebooks.Adapters.Tools;

/// <summary>States as work on files needs them.</summary>
internal static class LoraStates
{
    /// <summary>The same states with every α in them, so that s = α/r without looking into settings: for rank-stabilized LoRA that is α·√r.</summary>
    public static IReadOnlyDictionary<string, LoraState> WithOwnAlphas(IReadOnlyDictionary<string, LoraState> states) =>
        states.ToDictionary(static pair => pair.Key, static pair => WithOwnAlphas(pair.Value));

    /// <summary>The settings of weights that were computed anew: what is not a matter of rank stays.</summary>
    public static LoraState WithNewRanks(LoraState old, Dictionary<string, TorchSharp.torch.Tensor> tensors, Dictionary<string, double> alphas)
    {
        var plain = new LoraState(tensors, alphas);
        if (old.Config is null)
        {
            return plain;
        }

        var told = LoraConfig.FromState(plain);
        var config = LoraConfig.FromPeftJson(old.Config) with
        {
            Rank = told.Rank,
            Alpha = told.Alpha,
            RankPattern = told.RankPattern,
            AlphaPattern = told.AlphaPattern,
            UseRsLora = false,
        };
        return new LoraState(tensors, alphas, config.ToPeftJson());
    }

    private static LoraState WithOwnAlphas(LoraState state)
    {
        if (state.Config is null)
        {
            return state;
        }

        var config = LoraConfig.FromPeftJson(state.Config);
        return new LoraState(
            state.Tensors,
            state.Ranks.ToDictionary(static pair => pair.Key, pair => config.ScaleOf(pair.Key) * pair.Value, StringComparer.Ordinal),
            state.Config);
    }
}
