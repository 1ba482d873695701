using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace LoraNotebooks.Models.Diffusion;

/// <summary>Multi-head attention of tokens over a context: self-attention where the context is the tokens themselves.</summary>
/// <remarks>Source: Vaswani et al. 2017, section 3.2; diffusers, models/attention_processor.py, <c>Attention</c>.</remarks>
public sealed class Attention : Module<Tensor, Tensor, Tensor>
{
    private readonly bool _upcast;
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
        Heads = heads;
        _upcast = upcast;
        to_q = Layers.Linear(queryDimension, inner, hasBias: false);
        to_k = Layers.Linear(contextDimension, inner, hasBias: false);
        to_v = Layers.Linear(contextDimension, inner, hasBias: false);
        to_out = ModuleList<Module<Tensor, Tensor>>(Layers.Linear(inner, queryDimension), Dropout(dropout));
        RegisterComponents();
    }

    /// <summary>The number of heads.</summary>
    public int Heads { get; }

    /// <summary>W_o·softmax(QKᵀ/√d)·V + b_o with Q = W_q·x, K = W_k·c, V = W_v·c.</summary>
    /// <param name="x">Tokens, [N, T, queryDimension].</param>
    /// <param name="context">c, context tokens, [N, S, contextDimension].</param>
    /// <returns>[N, T, queryDimension].</returns>
    public override Tensor forward(Tensor x, Tensor context)
    {
        using var scope = NewDisposeScope();
        var attended = ScaledDotProduct.Attend(to_q.call(x), to_k.call(context), to_v.call(context), Heads, _upcast);
        var y = to_out[0].call(attended);
        return (((Dropout)to_out[1]).p > 0 ? to_out[1].call(y) : y).MoveToOuterDisposeScope();
    }
}
