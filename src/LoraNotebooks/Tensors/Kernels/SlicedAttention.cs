using static TorchSharp.torch;

namespace LoraNotebooks.Tensors.Kernels;

/// <summary>
/// Attention written out, softmax(QKᵀ)·V, some rows of the scores at a time, so that they never lie in memory all at once. The backward pass computes
/// each slice anew: two products more, and no scores to keep between the passes.
/// </summary>
/// <remarks>
/// Source: Rabe and Staats 2021 (arXiv:2112.05682), section 3, "Self-attention does not need O(n²) memory"; a slice is a row's whole softmax here.
/// </remarks>
internal sealed class SlicedAttention : autograd.SingleTensorFunction<SlicedAttention>
{
    /// <summary>
    /// The scores of a slice, in bytes. Measured at 4,096 tokens in bfloat16 on two cores with a cache of some ten MB, forward and backward: 1 MB takes
    /// 1.8 times, 4 MB 1.1, 16 MB and more 1.2 times as long.
    /// </summary>
    private const long SliceSize = 8L << 20;

    /// <inheritdoc/>
    public override string Name => nameof(SlicedAttention);

    /// <summary>softmax(QKᵀ)·V for each head, differentiable in all three.</summary>
    /// <param name="query">Q, [heads, T, d].</param>
    /// <param name="key">K, [heads, S, d], scaled already.</param>
    /// <param name="value">V, [heads, S, d].</param>
    /// <returns>[heads, T, d].</returns>
    public static Tensor Attend(Tensor query, Tensor key, Tensor value) =>
        is_grad_enabled() && (query.requires_grad || key.requires_grad || value.requires_grad) ? apply(query, key, value) : Compute(query, key, value);

    /// <inheritdoc/>
    public override Tensor forward(autograd.AutogradContext ctx, params object[] vars)
    {
        ArgumentNullException.ThrowIfNull(ctx);
        var (query, key, value) = ((Tensor)vars[0], (Tensor)vars[1], (Tensor)vars[2]);
        ctx.save_for_backward([query, key, value]);
        return Compute(query, key, value);
    }

    /// <inheritdoc/>
    public override List<Tensor> backward(autograd.AutogradContext ctx, Tensor grad_output)
    {
        ArgumentNullException.ThrowIfNull(ctx);
        if (ctx.get_saved_variables() is not [var query, var key, var value])
        {
            throw new InvalidOperationException("Attention's inputs were not kept for the backward pass.");
        }

        // Every slice has rows of its own of dQ, and a part in all rows of dK and dV.
        var (dQuery, dKey, dValue) = (empty_like(query), zeros_like(key), zeros_like(value));
        foreach (var slice in Slices(query, key))
        {
            using var scope = NewDisposeScope();
            Tensor[] inputs = [.. new[] { slice.Rows(query), slice.Heads(key), slice.Heads(value) }.Select(static x => x.detach().requires_grad_())];
            IList<Tensor> gradients;
            using (enable_grad())
            {
                gradients = autograd.grad([Whole(inputs[0], inputs[1], inputs[2])], inputs, [slice.Rows(grad_output)]);
            }

            using var noGradient = no_grad();
            slice.Rows(dQuery).copy_(gradients[0]);
            slice.Heads(dKey).Plus_(gradients[1]);
            slice.Heads(dValue).Plus_(gradients[2]);
        }

        return [dQuery, dKey, dValue];
    }

    private static Tensor Compute(Tensor query, Tensor key, Tensor value)
    {
        using var noGradient = no_grad();
        var attended = empty_like(query);
        foreach (var slice in Slices(query, key))
        {
            using var scope = NewDisposeScope();
            slice.Rows(attended).copy_(Whole(slice.Rows(query), slice.Heads(key), slice.Heads(value)));
        }

        return attended;
    }

    private static Tensor Whole(Tensor query, Tensor key, Tensor value) => query.bmm(key.transpose(1, 2)).softmax(-1).bmm(value);

    /// <summary>As many heads as fit into a slice, or of one head as many rows, all slices of about one size.</summary>
    private static IEnumerable<Slice> Slices(Tensor query, Tensor key)
    {
        var (heads, rows) = (query.size(0), query.size(1));
        var most = Math.Max(1, SliceSize / (key.size(1) * query.element_size()));
        var headsAtOnce = Math.Max(1, most / rows);
        var parts = Math.Max(1, (rows + most - 1) / most);
        var rowsAtOnce = (rows + parts - 1) / parts;
        for (var head = 0L; head < heads; head += headsAtOnce)
        {
            for (var row = 0L; row < rows; row += rowsAtOnce)
            {
                yield return new(head, Math.Min(headsAtOnce, heads - head), row, Math.Min(rowsAtOnce, rows - row));
            }
        }
    }

    private readonly record struct Slice(long Head, long HeadCount, long Row, long RowCount)
    {
        public Tensor Heads(Tensor x) => x.narrow(0, Head, HeadCount);

        public Tensor Rows(Tensor x) => x.narrow(0, Head, HeadCount).narrow(1, Row, RowCount);
    }
}
