using LoraNotebooks.Formats;
using LoraNotebooks.Tensors;
using static TorchSharp.torch;

namespace LoraNotebooks.Adapters.Tools;

/// <summary>
/// ‖ΔW‖ (Frobenius) of one layer from its factors. ΔW is never whole in memory, but block by block of its rows: factors of a damaged file
/// can have a product of any size. NaN where factors are missing, do not fit each other or have the product of no layer.
/// </summary>
/// <param name="state">The weights.</param>
/// <param name="module">The layer's path.</param>
/// <remarks>All shapes are checked first, because torch ends the process at some that do not fit.</remarks>
public sealed class UpdateNorm(LoraState state, string module)
{
    private const long MostNumbers = 1L << 28; // twice as large as the largest layers of language models
    private const long BlockNumbers = 1 << 20;

    /// <summary>‖ΔW‖ without its scale.</summary>
    public double Value()
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        return AdapterMethod.Of(state, module).Norm(this);
    }

    /// <summary>‖B·A‖² = Σ (BᵀB)⊙(AAᵀ), an r×r matter, unless r is larger than B·A itself.</summary>
    internal double OfThinProduct()
    {
        if (ThinProduct.Of(state).FirstOrDefault(thin => thin.Module == module) is not { } product || !product.Fits(state))
        {
            return double.NaN;
        }

        var (A, B) = (product.A(state), product.B(state));
        return A.size(0) > Math.Min(A.size(1), B.size(0))
            ? OfRows([(B, A)])
            : Math.Sqrt(Math.Max(0, (B.t().matmul(B) * A.matmul(A.t())).sum().item<double>()));
    }

    /// <summary>The norm of a factor that is whole, or else of the product in its place.</summary>
    internal double OfWholeOr(string name, (Tensor Rows, Tensor Columns)? product) => Find(name) is { } whole ? whole.norm().item<double>() : OfRows([product]);

    /// <summary>The norm of several products of matrices, multiplied number by number.</summary>
    internal static double OfRows(IReadOnlyList<(Tensor Rows, Tensor Columns)?> products)
    {
        if (products.Any(static product => product is null))
        {
            return double.NaN;
        }

        var shapes = products.Select(static product => (Out: product!.Value.Rows.size(0), In: product.Value.Columns.size(1))).Distinct().ToList();
        if (shapes is not [var (rows, columns)] || rows < 1 || columns < 1 || rows > MostNumbers / columns)
        {
            return double.NaN;
        }

        var sum = 0.0;
        var step = Math.Max(1, BlockNumbers / columns);
        for (var row = 0L; row < rows; row += step)
        {
            using var scope = NewDisposeScope();
            var block = products
                .Select(product => product!.Value.Rows.narrow(0, row, Math.Min(step, rows - row)).matmul(product.Value.Columns))
                .Aggregate(static (all, one) => all * one);
            sum += block.Squared().sum().item<double>();
        }

        return Math.Sqrt(sum);
    }

    /// <summary>A·B, around a core if there is one.</summary>
    internal (Tensor Rows, Tensor Columns)? Product(string? core, string a, string b)
    {
        var (A, B) = (Find(a), Find(b));
        return core is not null && Find(core) is { } C ? Tucker(C, A, B)
            : A is not null && B is not null && A.dim() == 2 && B.dim() == 2 && A.size(1) == B.size(0) && A.numel() > 0 && B.numel() > 0 ? (A, B)
            : null;
    }

    /// <summary>Tucker's product [p, q·kh·kw] as Pᵀ times the core with Q in it, NaN where they do not fit.</summary>
    internal static (Tensor Rows, Tensor Columns)? Tucker(Tensor C, Tensor? P, Tensor? Q) =>
        P is not null && Q is not null && C.dim() == 4 && P.dim() == 2 && Q.dim() == 2 && C.size(0) == P.size(0) && C.size(1) == Q.size(0)
        && C.numel() > 0 && P.numel() > 0 && Q.numel() > 0 && C.size(0) * C.size(2) * C.size(3) * (double)Q.size(1) <= BlockNumbers * 8
            ? (P.t(), einsum("ijkl,jq->iqkl", C, Q).flatten(1))
            : null;

    /// <summary>A tensor of the layer in float64; <see langword="null"/> if there is none.</summary>
    /// <param name="name">Its name below the layer's path.</param>
    public Tensor? Find(string name) => state.Tensors.TryGetValue($"{module}.{name}", out var tensor) ? tensor.to(ScalarType.Float64) : null;

    /// <summary>The same as a matrix, a kernel being part of its row.</summary>
    /// <param name="name">Its name below the layer's path.</param>
    public Tensor? Matrix(string name) => Find(name) is { } tensor && tensor.dim() > 1 && tensor.numel() > 0 ? tensor.flatten(1) : null;
}
