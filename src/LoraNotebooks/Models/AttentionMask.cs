using LoraNotebooks.Tensors;
using static TorchSharp.torch;

namespace LoraNotebooks.Models;

/// <summary>What is added to attention's scores so that a token does not see every other one.</summary>
/// <param name="Values">0 where a token may look, else the lowest number; of a shape that fits [N, heads, T, S].</param>
/// <param name="HasBlindTokens">
/// Whether some token may look nowhere. Its scores are all the lowest number, and so is the logarithm of their sum, of which a fused kernel's backward pass
/// makes weights of 1 in place of 1/S; such a mask needs the plain way.
/// </param>
internal readonly record struct AttentionMask(Tensor Values, bool HasBlindTokens)
{
    /// <summary>Lets a token see itself and what is before it, but no padding.</summary>
    /// <param name="hidden">The states that attend, [N, T, D]; they give length, type and device.</param>
    /// <param name="attentionMask">[N, T], 0 for padding; default none.</param>
    /// <param name="window">How many tokens, itself included, a token sees at most; default all.</param>
    /// <returns>A mask of shape [1 or N, 1, T, T].</returns>
    /// <remarks>
    /// The lowest number and not −∞: padding before the first token sees nothing, and must not make NaN of that. It looks everywhere alike instead,
    /// as upstream's does, and by upstream's loss the last of it predicts the first token.
    /// </remarks>
    public static AttentionMask Causal(Tensor hidden, Tensor? attentionMask, int? window = null)
    {
        using var scope = NewDisposeScope();
        var length = hidden.size(1);
        var seen = ones([length, length], hidden.dtype, hidden.device).tril();
        if (window is { } size)
        {
            seen = seen.triu(1L - size);
        }

        seen = seen.view(1, 1, length, length);
        if (attentionMask is not null)
        {
            seen = seen * attentionMask.IsNot(0).to(hidden.dtype).view(-1, 1, 1, length);
        }

        var isBlind = attentionMask is not null && seen.amax([-1]).Is(0).any().item<bool>();
        return new(((1 - (Term)seen) * Lowest(hidden.dtype)).Tensor.MoveToOuterDisposeScope(), isBlind);
    }

    /// <summary>Near the lowest finite number of a type.</summary>
    private static double Lowest(ScalarType type) => type == ScalarType.Float16 ? -65504 : -3e38;
}
