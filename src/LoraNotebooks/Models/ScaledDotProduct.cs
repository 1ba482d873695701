using LoraNotebooks.Tensors;
using LoraNotebooks.Tensors.Kernels;
using TorchSharp;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace LoraNotebooks.Models;

/// <summary>Scaled dot-product attention over heads that lie side by side in the last dimension.</summary>
internal static class ScaledDotProduct
{
    // Measured on CPUs at Stable Diffusion's shapes, forward and backward: in float32 the fused kernel, which never stores all scores, takes
    // 0.3 to 0.95 times as long, the least for the longest sequences. Its gradients are noisier, though, and an optimizer that divides by their
    // size makes that visible: upstream's training runs end 6e-5 off in place of 4e-7. So short sequences, where it hardly matters, are written out.
    // In 16 bits its backward pass is slow, so there it is for scores that would fill the memory, and where the processor multiplies 16 bits fast, the
    // same is done in slices (KernelChoices.Attention16).
    private const long FusedScores32 = 256 * 256;
    private const long FusedScores16 = 1024 * 1024;

    /// <summary>softmax(QKᵀ/√d)·V, head by head.</summary>
    /// <param name="query">Q, [N, T, heads·d].</param>
    /// <param name="key">K, [N, S, heads·d].</param>
    /// <param name="value">V, [N, S, heads·d].</param>
    /// <param name="heads">The number of heads.</param>
    /// <param name="upcast">Whether to compute in float32.</param>
    /// <param name="mask">M, added to the scores, QKᵀ/√d + M; default nothing.</param>
    /// <returns>[N, T, heads·d] in the query's type.</returns>
    public static Tensor Attend(Tensor query, Tensor key, Tensor value, int heads, bool upcast, AttentionMask? mask = null)
    {
        using var scope = NewDisposeScope();
        var type = query.dtype;
        if (upcast && type != ScalarType.Float32)
        {
            (query, key, value) = (query.to(float32), key.to(float32), value.to(float32));
        }

        var M = mask?.Values.to(query.dtype);
        var shape = query.shape;
        var (batch, length, inner) = (shape[0], shape[1], shape[2]);
        var dimension = inner / heads;
        var q = SplitHeads(query, batch, heads, dimension);
        var k = SplitHeads(key, batch, heads, dimension);
        var v = SplitHeads(value, batch, heads, dimension);

        Tensor attended;
        if (IsFused(query.device_type, query.dtype, length * key.shape[1]) && mask is not { HasBlindTokens: true })
        {
            attended = M is null && IsSliced(query)
                ? SlicedAttention.Attend(Flat(q), ScaledKeys(), Flat(v)).view(batch, heads, length, dimension)
                : functional.scaled_dot_product_attention(q, k, v, M);
        }
        else
        {
            var scores = Flat(q).bmm(ScaledKeys().transpose(1, 2));
            scores = M is null ? scores : scores.view(batch, heads, length, -1).Plus(M).flatten(0, 1);
            attended = scores.softmax(-1).bmm(Flat(v)).view(batch, heads, length, dimension);
        }

        return attended.transpose(1, 2).reshape(batch, length, inner).to(type).MoveToOuterDisposeScope();

        // Text has fewer tokens than an image has, so scaling the keys is the cheapest way to scale the scores.
        Tensor ScaledKeys() => Flat(k.Times(1 / Math.Sqrt(dimension)));
    }

    private static bool IsSliced(Tensor query) =>
        query.device_type == DeviceType.CPU && query.dtype is ScalarType.BFloat16 && KernelChoices.Attention16.TakesOther;

    /// <summary>Whether a way is taken that never stores all scores.</summary>
    /// <param name="device">Where.</param>
    /// <param name="type">The type of queries, keys and values.</param>
    /// <param name="scores">T·S, the scores of one head.</param>
    public static bool IsFused(DeviceType device, ScalarType type, long scores) =>
        device != DeviceType.CPU || scores >= (type == ScalarType.Float32 ? FusedScores32 : FusedScores16);

    /// <summary>[N, T, heads·d] seen as [N, heads, T, d].</summary>
    private static Tensor SplitHeads(Tensor tokens, long batch, int heads, long dimension) =>
        tokens.view(batch, -1, heads, dimension).transpose(1, 2);

    /// <summary>[N, heads, T, d] as [N·heads, T, d].</summary>
    private static Tensor Flat(Tensor heads) => heads.flatten(0, 1);
}
