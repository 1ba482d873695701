namespace LoraNotebooks.Tests.Adapters;

/// <summary>The formulas of every method and layer as plain loops, from an adapter's parameters.</summary>
internal static class PlainAdapter
{
    /// <summary>ΔW of a layer, s in it.</summary>
    /// <param name="parameters">The factors by their names.</param>
    /// <param name="W">The frozen weight.</param>
    /// <param name="s">s.</param>
    /// <param name="outputAxis">The axis of W that counts outputs: 0, or 1 of embeddings and transposed layers.</param>
    /// <param name="groups">A convolution's.</param>
    public static Nd Delta(IReadOnlyDictionary<string, Nd> parameters, Nd W, double s, int outputAxis = 0, long groups = 1)
    {
        var update = Update(parameters, W, s, outputAxis, groups);
        var m = parameters.GetValueOrDefault("lora_magnitude_vector") ?? parameters.GetValueOrDefault("dora_scale");
        if (m is null)
        {
            return update;
        }

        // W′ = m·V/n with n the length of V over all axes but that of m.
        var V = W.Map(i => W[i] + update[i]);
        var n = new double[W.Shape[outputAxis]];
        foreach (var i in V.Indices())
        {
            n[i[outputAxis]] += V[i] * V[i];
        }

        return V.Map(i => (m[[.. m.Shape.Select(size => size == 1 ? 0 : i[outputAxis])]] * V[i] / Math.Sqrt(n[i[outputAxis]])) - W[i]);
    }

    /// <summary>f(x; W): rows of a table, a linear layer, or a convolution.</summary>
    public static Nd Apply(Nd x, Nd W, string kind, long stride = 1, long padding = 0, long dilation = 1, long groups = 1)
    {
        switch (kind)
        {
            case "embedding":
                return new Nd([.. x.Shape, W.Shape[1]]).Map(i => W[(long)x[i[..^1]], i[^1]]);
            case "linear":
                return new Nd([.. x.Shape[..^1], W.Shape[0]]).Map(i => Sum(W.Shape[1], k => W[i[^1], k] * x[[.. i[..^1], k]]));
            case "transposed":
                return new Nd([.. x.Shape[..^1], W.Shape[1]]).Map(i => Sum(W.Shape[0], k => W[k, i[^1]] * x[[.. i[..^1], k]]));
            default:
                var (kh, kw) = (W.Shape[2], W.Shape[3]);
                long Size(long size, long kernel) => ((size + (2 * padding) - (dilation * (kernel - 1)) - 1) / stride) + 1;
                return new Nd(x.Shape[0], W.Shape[0], Size(x.Shape[2], kh), Size(x.Shape[3], kw)).Map(i =>
                {
                    var first = i[1] / (W.Shape[0] / groups) * W.Shape[1];
                    return Sum(W.Shape[1], c => Sum(kh, a => Sum(kw, b =>
                    {
                        var (row, column) = ((i[2] * stride) + (a * dilation) - padding, (i[3] * stride) + (b * dilation) - padding);
                        return row < 0 || column < 0 || row >= x.Shape[2] || column >= x.Shape[3] ? 0 : W[i[1], c, a, b] * x[i[0], first + c, row, column];
                    })));
                });
        }
    }

    private static Nd Update(IReadOnlyDictionary<string, Nd> parts, Nd W, double s, int outputAxis, long groups)
    {
        if (parts.TryGetValue("lora_embedding_A", out var table))
        {
            var up = parts["lora_embedding_B"];
            return W.Map(i => s * Sum(table.Shape[0], r => up[i[1], r] * table[r, i[0]]));
        }

        if (parts.TryGetValue("lora_mid.weight", out var core))
        {
            var (A, B) = (parts["lora_A.weight"], parts["lora_B.weight"]);
            return W.Map(i => s * Sum(core.Shape[0], p => Sum(core.Shape[1], q => B[i[0], p, 0, 0] * core[[p, q, .. i[2..]]] * A[q, i[1], 0, 0])));
        }

        if (parts.TryGetValue("lora_A.weight", out var down))
        {
            var up = parts["lora_B.weight"];
            var (outs, ranks) = (W.Shape[outputAxis] / groups, down.Shape[0] / groups);
            return W.Map(i => s * Sum(ranks, r =>
                up[[i[outputAxis], r, .. up.Shape[2..].Select(static _ => 0L)]]
                    * down[[(i[outputAxis] / outs * ranks) + r, .. i.Where((_, axis) => axis != outputAxis)]]));
        }

        if (parts.ContainsKey("hada_w1_a"))
        {
            return W.Map(i => s * Factor("1", i) * Factor("2", i));
        }

        var outer = parts.TryGetValue("lokr_w1", out var w1)
            ? w1
            : new Nd(parts["lokr_w1_a"].Shape[0], parts["lokr_w1_b"].Shape[1]).Map(i => Product(parts["lokr_w1_a"], parts["lokr_w1_b"], i[0], i[1]));
        var inner = parts.TryGetValue("lokr_w2", out var w2)
            ? w2
            : new Nd([W.Shape[0] / outer.Shape[0], W.Shape[1] / outer.Shape[1], .. W.Shape[2..]]) is var sizes
                ? sizes.Map(i => parts.TryGetValue("lokr_t2", out var t2)
                    ? Tucker(t2, parts["lokr_w2_a"], parts["lokr_w2_b"], i)
                    : Product(parts["lokr_w2_a"], parts["lokr_w2_b"], i[0], Flat(i, sizes.Shape)))
                : null!;
        return W.Map(i => s * outer[i[0] / inner.Shape[0], i[1] / inner.Shape[1]] * inner[[i[0] % inner.Shape[0], i[1] % inner.Shape[1], .. i[2..]]]);

        double Factor(string which, long[] i) => parts.TryGetValue($"hada_t{which}", out var C)
            ? Tucker(C, parts[$"hada_w{which}_a"], parts[$"hada_w{which}_b"], i)
            : Product(parts[$"hada_w{which}_a"], parts[$"hada_w{which}_b"], i[0], Flat(i, W.Shape));
    }

    private static double Product(Nd A, Nd B, long row, long column) => Sum(B.Shape[0], r => A[row, r] * B[r, column]);

    private static double Tucker(Nd C, Nd P, Nd Q, long[] i) => Sum(C.Shape[0], a => Sum(C.Shape[1], b => C[[a, b, .. i[2..]]] * P[a, i[0]] * Q[b, i[1]]));

    /// <summary>Where in a row of in·kh·kw numbers an index lies.</summary>
    private static long Flat(long[] index, long[] shape) =>
        index.Skip(1).Zip(shape.Skip(1)).Aggregate(0L, static (position, axis) => (position * axis.Second) + axis.First);

    private static double Sum(long count, Func<long, double> term)
    {
        var sum = 0.0;
        for (var i = 0L; i < count; i++)
        {
            sum += term(i);
        }

        return sum;
    }
}
