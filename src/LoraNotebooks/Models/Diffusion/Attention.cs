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
    private readonly Module<Tensor, Tensor> toQuery;
    private readonly Module<Tensor, Tensor> toKey;
    private readonly Module<Tensor, Tensor> toValue;
    private readonly ModuleList<Module<Tensor, Tensor>> toOut;

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
        register_module("to_q", toQuery = Linear(queryDimension, inner, hasBias: false));
        register_module("to_k", toKey = Linear(contextDimension, inner, hasBias: false));
        register_module("to_v", toValue = Linear(contextDimension, inner, hasBias: false));
        register_module("to_out", toOut = ModuleList<Module<Tensor, Tensor>>(Linear(inner, queryDimension), Dropout(dropout)));
    }

    /// <summary>W_o·softmax(QKᵀ/√d)·V + b_o with Q = W_q·x, K = W_k·c, V = W_v·c.</summary>
    /// <param name="x">Tokens, [N, T, queryDimension].</param>
    /// <param name="context">c, context tokens, [N, S, contextDimension].</param>
    /// <returns>[N, T, queryDimension].</returns>
    public override Tensor forward(Tensor x, Tensor context)
    {
        using var scope = NewDisposeScope();
        var attended = ScaledDotProduct.Attend(toQuery.call(x), toKey.call(context), toValue.call(context), heads, upcast);
        var y = toOut[0].call(attended);
        return (((Dropout)toOut[1]).p > 0 ? toOut[1].call(y) : y).MoveToOuterDisposeScope();
    }
}

/// <summary>Scaled dot-product attention over heads that lie side by side in the last dimension.</summary>
internal static class ScaledDotProduct
{
    /// <summary>From this many queries on, the fused kernel (which never stores all scores) is the faster one on a CPU; below, two matrix products are.</summary>
    private const long LongSequence = 1024;

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
        if (length >= LongSequence)
        {
            attended = functional.scaled_dot_product_attention(q, k, v);
        }
        else
        {
            var weights = Scores(q.reshape(batch * heads, -1, dimension), k.reshape(batch * heads, -1, dimension)).softmax(-1);
            attended = weights.bmm(v.reshape(batch * heads, -1, dimension)).view(batch, heads, length, dimension);
        }

        return attended.transpose(1, 2).reshape(batch, length, inner).to(type).MoveToOuterDisposeScope();
    }

    /// <summary>[N, T, heads·d] seen as [N, heads, T, d].</summary>
    private static Tensor SplitHeads(Tensor tokens, long batch, int heads, long dimension) =>
        tokens.view(batch, -1, heads, dimension).transpose(1, 2);

    /// <summary>QKᵀ/√d in one pass: with β = 0 the first argument of baddbmm is never read.</summary>
    private static Tensor Scores(Tensor q, Tensor k) =>
        baddbmm(empty(1, q.dtype, q.device), q, k.transpose(1, 2), beta: 0, alpha: (float)(1 / Math.Sqrt(q.shape[2])));
}
