using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace LoraNotebooks.Models.Diffusion;

/// <summary>Multi-head attention of tokens over a context: self-attention where the context is the tokens themselves.</summary>
/// <remarks>Source: Vaswani et al. 2017, section 3.2; diffusers, models/attention_processor.py, <c>Attention</c>.</remarks>
public sealed class Attention : Module<Tensor, Tensor, Tensor>
{
    private readonly int heads;
    private readonly bool upcast;
    private readonly Module<Tensor, Tensor> to_q;
    private readonly Module<Tensor, Tensor> to_k;
    private readonly Module<Tensor, Tensor> to_v;
    private readonly ModuleList<Module<Tensor, Tensor>> to_out;

    /// <summary>Creates the projections; query, key and value have no bias.</summary>
    /// <param name="queryDimension">The size of a token.</param>
    /// <param name="contextDimension">The size of a context token.</param>
    /// <param name="heads">The number of heads.</param>
    /// <param name="headDimension">d, the size of one head.</param>
    /// <param name="upcast">Whether scores and softmax are computed in float32 whatever the weights' type.</param>
    /// <param name="dropout">The dropout rate after the output projection, default 0.</param>
    public Attention(int queryDimension, int contextDimension, int heads, int headDimension, bool upcast, double dropout = 0)
        : base(nameof(Attention))
    {
        var inner = heads * headDimension;
        this.heads = heads;
        this.upcast = upcast;
        to_q = Layers.Linear(queryDimension, inner, hasBias: false);
        to_k = Layers.Linear(contextDimension, inner, hasBias: false);
        to_v = Layers.Linear(contextDimension, inner, hasBias: false);
        to_out = ModuleList<Module<Tensor, Tensor>>(Layers.Linear(inner, queryDimension), Dropout(dropout));
        RegisterComponents();
    }

    /// <summary>W_o·softmax(QKᵀ/√d)·V + b_o with Q = W_q·x, K = W_k·c, V = W_v·c.</summary>
    /// <param name="x">Tokens, [N, T, queryDimension].</param>
    /// <param name="context">c, context tokens, [N, S, contextDimension].</param>
    /// <returns>[N, T, queryDimension].</returns>
    public override Tensor forward(Tensor x, Tensor context)
    {
        using var scope = NewDisposeScope();
        var attended = ScaledDotProduct.Attend(to_q.call(x), to_k.call(context), to_v.call(context), heads, upcast);
        var y = to_out[0].call(attended);
        return (((Dropout)to_out[1]).p > 0 ? to_out[1].call(y) : y).MoveToOuterDisposeScope();
    }
}

/// <summary>Scaled dot-product attention over heads that lie side by side in the last dimension.</summary>
internal static class ScaledDotProduct
{
    // Measured on CPUs at Stable Diffusion's shapes, forward and backward: in float32 the fused kernel, which never stores all scores, takes
    // 0.3 to 0.95 times as long, the least for the longest sequences. In 16 bits its backward pass is slow, so there it is for scores that
    // would fill the memory.
    private const long FusedScores16 = 1024 * 1024;

    /// <summary>softmax(QKᵀ/√d)·V, head by head.</summary>
    /// <param name="query">Q, [N, T, heads·d].</param>
    /// <param name="key">K, [N, S, heads·d].</param>
    /// <param name="value">V, [N, S, heads·d].</param>
    /// <param name="heads">The number of heads.</param>
    /// <param name="upcast">Whether to compute in float32.</param>
    /// <returns>[N, T, heads·d] in the query's type.</returns>
    public static Tensor Attend(Tensor query, Tensor key, Tensor value, int heads, bool upcast)
    {
        using var scope = NewDisposeScope();
        var type = query.dtype;
        if (upcast && type != ScalarType.Float32)
        {
            (query, key, value) = (query.to(float32), key.to(float32), value.to(float32));
        }

        var shape = query.shape;
        var (batch, length, inner) = (shape[0], shape[1], shape[2]);
        var dimension = inner / heads;
        var q = SplitHeads(query, batch, heads, dimension);
        var k = SplitHeads(key, batch, heads, dimension);
        var v = SplitHeads(value, batch, heads, dimension);

        Tensor attended;
        if (IsFused(query.device_type, query.dtype, length * key.shape[1]))
        {
            attended = functional.scaled_dot_product_attention(q, k, v);
        }
        else
        {
            // Text has fewer tokens than an image has, so scaling the keys is the cheapest way to scale the scores.
            var scores = Flat(q).bmm(Flat(k * (1 / Math.Sqrt(dimension))).transpose(1, 2));
            attended = scores.softmax(-1).bmm(Flat(v)).view(batch, heads, length, dimension);
        }

        return attended.transpose(1, 2).reshape(batch, length, inner).to(type).MoveToOuterDisposeScope();
    }

    /// <summary>Whether the kernel is used that never stores all scores.</summary>
    /// <param name="device">Where.</param>
    /// <param name="type">The type of queries, keys and values.</param>
    /// <param name="scores">T·S, the scores of one head.</param>
    public static bool IsFused(DeviceType device, ScalarType type, long scores) =>
        device != DeviceType.CPU || type == ScalarType.Float32 || scores >= FusedScores16;

    /// <summary>[N, T, heads·d] seen as [N, heads, T, d].</summary>
    private static Tensor SplitHeads(Tensor tokens, long batch, int heads, long dimension) =>
        tokens.view(batch, -1, heads, dimension).transpose(1, 2);

    /// <summary>[N, heads, T, d] as [N·heads, T, d].</summary>
    private static Tensor Flat(Tensor heads) => heads.flatten(0, 1);
}
