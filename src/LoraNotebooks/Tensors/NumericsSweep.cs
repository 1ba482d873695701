using LoraNotebooks.Tensors.Convolutions;
using static TorchSharp.torch;

namespace LoraNotebooks.Tensors;

/// <summary>How an operation of the sweep came out.</summary>
/// <param name="Kind">The kind of operation, such as <c>convolution</c>.</param>
/// <param name="Case">Its sizes, layout and type.</param>
/// <param name="Fault">Which of output and gradients is off, and by how much of the largest value; <see langword="null"/> if all are right.</param>
/// <param name="IsGoneAround">Whether the toolkit computes it right nevertheless.</param>
public sealed record NumericsOutcome(string Kind, string Case, string? Fault, bool IsGoneAround);

/// <summary>
/// Computes about a thousand small operations of the kinds that models are made of, forward and backward, in float32 and bfloat16, and compares them
/// with float64. It looks at libtorch as it is, not at what the toolkit makes of it.
/// </summary>
public static class NumericsSweep
{
    private const long Seed = 11;

    private static readonly ScalarType[] Types = [ScalarType.Float32, ScalarType.BFloat16];

    private static readonly Operation[] Operations = [.. Convolutions(), .. Products(), .. Norms(), .. Attentions()];

    /// <summary>The number of operations.</summary>
    public static int Count => Operations.Length;

    /// <summary>Kind and sizes of an operation, to be said before it runs: a kernel that writes beyond its memory may end the process.</summary>
    /// <param name="number">From 0 to <see cref="Count"/>.</param>
    public static string Name(int number) => $"{Operations[number].Kind}, {Operations[number].Case}";

    /// <summary>Runs an operation.</summary>
    /// <param name="number">From 0 to <see cref="Count"/>.</param>
    public static NumericsOutcome Run(int number)
    {
        var (kind, text, check) = Operations[number];
        var (fault, isGoneAround) = check();
        return new NumericsOutcome(kind, text, fault, isGoneAround);
    }

    private static IEnumerable<Operation> Convolutions()
    {
        (long In, long Out)[] channels =
        [
            (3, 16), (4, 32), (16, 3), (32, 4), (4, 4), (8, 8), (12, 20), (16, 24),
            (24, 16), (24, 24), (32, 40), (40, 8), (40, 40), (56, 64), (64, 64), (128, 128),
        ];
        return
            from type in Types
            from channelsLast in (bool[])[false, true]
            from kernel in (long[])[1, 3]
            from stride in (long[])[1, 2]
            from images in (long[])[1, 2]
            from side in (long[])[8, 32]
            where side == 8 || (stride == 1 && type == ScalarType.Float32)
            from pair in channels
            where type == ScalarType.Float32 || pair.In != pair.Out || pair.In >= 24
            let of = ConvolutionCase.Square(channelsLast, images, pair.In, pair.Out, side, kernel, stride, type)
            where !ConvolutionEngine.WritesBeyondItsMemory(of)
            select new Operation("convolution", of.ToString(), () => Check(of));

        static (string?, bool) Check(ConvolutionCase of) =>
            ConvolutionCheck.Fault(of, ConvolutionWays.Native) is { } fault
                ? (fault, ConvolutionCheck.Fault(of, CheckedConvolution.Engine.Apply) is null)
                : default;
    }

    private static IEnumerable<Operation> Products()
    {
        long[] sizes = [3, 8, 24, 64, 320];
        foreach (var type in Types)
        {
            foreach (var (rows, inputs, outputs) in from r in (long[])[1, 7, 64] from i in sizes from o in sizes select (r, i, o))
            {
                yield return Same(
                    "linear",
                    $"{rows}×{inputs} → {outputs}",
                    type,
                    [[rows, inputs], [outputs, inputs], [outputs]],
                    static x => nn.functional.linear(x[0], x[1], x[2]));
            }

            foreach (var (batch, rows, inner, columns) in
                from b in (long[])[2, 16]
                from r in (long[])[5, 64]
                from i in (long[])[8, 40]
                from c in (long[])[7, 77]
                select (b, r, i, c))
            {
                yield return Same(
                    "batched product",
                    $"{batch}×{rows}×{inner} · {batch}×{inner}×{columns}",
                    type,
                    [[batch, rows, inner], [batch, inner, columns]],
                    static x => x[0].bmm(x[1]));
                yield return Same(
                    "batched product",
                    $"{batch}×{rows}×{inner} · ({batch}×{columns}×{inner})ᵀ",
                    type,
                    [[batch, rows, inner], [batch, columns, inner]],
                    static x => x[0].bmm(x[1].transpose(1, 2)));
            }
        }
    }

    private static IEnumerable<Operation> Norms()
    {
        foreach (var type in Types)
        {
            foreach (var (rows, size) in from r in (long[])[1, 33] from s in (long[])[7, 24, 40, 320, 768] select (r, s))
            {
                yield return Same(
                    "layer norm",
                    $"{rows}×{size}",
                    type,
                    [[rows, size], [size], [size]],
                    x => nn.functional.layer_norm(x[0], [size], x[1], x[2]));
                yield return Same("softmax", $"{rows}×{size}", type, [[rows, size]], static x => x[0].softmax(-1));
            }

            foreach (var (images, channels, side) in from n in (long[])[1, 3] from c in (long[])[8, 32, 96] from s in (long[])[4, 9] select (n, c, s))
            {
                yield return Same(
                    "group norm",
                    $"{images}×{channels}×{side}×{side}, groups 4",
                    type,
                    [[images, channels, side, side], [channels], [channels]],
                    static x => nn.functional.group_norm(x[0], 4, x[1], x[2], 1e-5));
            }

            foreach (var count in (long[])[5, 1024, 4099])
            {
                yield return Same("SiLU", $"{count}", type, [[count]], static x => nn.functional.silu(x[0]));
                yield return Same("GELU", $"{count}", type, [[count]], static x => nn.functional.gelu(x[0]));
            }
        }
    }

    private static IEnumerable<Operation> Attentions() =>
        from type in Types
        from heads in (long[])[1, 8]
        from tokens in (long[])[9, 64, 256]
        from context in (long[])[7, 77]
        from size in (long[])[8, 40, 64]
        select Compared(
            "attention",
            $"{heads} heads, {tokens} tokens, {context} of context, {size} numbers",
            type,
            [[1, heads, tokens, size], [1, heads, context, size], [1, heads, context, size]],
            static x => nn.functional.scaled_dot_product_attention(x[0], x[1], x[2]),
            static x => x[0].matmul(x[1].transpose(2, 3)).Over(Math.Sqrt(x[0].size(3))).softmax(-1).matmul(x[2]));

    private static Operation Same(string kind, string text, ScalarType type, long[][] shapes, Func<Tensor[], Tensor> operation) =>
        Compared(kind, text, type, shapes, operation, operation);

    /// <summary>An operation in a type beside its formula in float64, on the same numbers.</summary>
    private static Operation Compared(
        string kind,
        string text,
        ScalarType type,
        long[][] shapes,
        Func<Tensor[], Tensor> operation,
        Func<Tensor[], Tensor> formula) => new(kind, $"{type} {text}", () =>
    {
        using var scope = NewDisposeScope();
        using var gradient = enable_grad();
        using var generator = new Generator(Seed);
        var drawn = shapes.Select(shape => randn(shape, generator: generator).to(type)).ToArray();
        var actual = Compute(operation, type);
        var expected = Compute(formula, ScalarType.Float64);
        string[] faults =
        [
            .. actual.Zip(expected).Index()
                .Select(part => (Name: part.Index == 0 ? "output" : $"gradient {part.Index}", Error: Agreement.Error(part.Item.First, part.Item.Second)))
                .Where(part => part.Error > Agreement.Limit(type)).Select(static part => FormattableString.Invariant($"{part.Name} off by {part.Error:0.0%}")),
        ];
        return (faults.Length > 0 ? string.Join(", ", faults) : null, false);

        Tensor[] Compute(Func<Tensor[], Tensor> of, ScalarType computedIn)
        {
            var x = drawn.Select(tensor => tensor.to(computedIn).detach().clone().requires_grad_(true)).ToArray();
            var y = of(x);
            using var again = new Generator(Seed + 1);
            y.backward([randn(y.shape, generator: again).to(type).to(computedIn)]);
            return [y.detach(), .. x.Select(static tensor => tensor.grad!)];
        }
    });

    private sealed record Operation(string Kind, string Case, Func<(string? Fault, bool IsGoneAround)> Check);
}
