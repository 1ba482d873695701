using LoraNotebooks.Formats;
using LoraNotebooks.Tensors;
using static TorchSharp.torch;

namespace LoraNotebooks.Adapters.Tools;

/// <summary>The plain low-rank updates of a state, module by module, as matrices: B·A with B [out, r] and A [r, in·kh·kw].</summary>
/// <param name="Module">The module's path.</param>
/// <param name="DownPart">How A's name ends.</param>
/// <param name="UpPart">How B's name ends.</param>
internal sealed record ThinProduct(string Module, string DownPart, string UpPart)
{
    private static readonly (string Down, string Up)[] Pairs = [(LoraState.DownPart, LoraState.UpPart), (".lora_embedding_A", ".lora_embedding_B")];

    /// <summary>All of a state, in the order of their names.</summary>
    public static IReadOnlyList<ThinProduct> Of(LoraState state) =>
    [
        .. from pair in Pairs
           from name in state.Tensors.Keys
           where name.EndsWith(pair.Down, StringComparison.Ordinal)
           let module = name[..^pair.Down.Length]
           where state.Tensors.ContainsKey(module + pair.Up)
               && !AdapterMethod.Lora.Dialect.Factors.Any(factor => factor.Has(FactorFacts.IsCore) && state.Tensors.ContainsKey($"{module}.{factor.Name}"))
           orderby module
           select new ThinProduct(module, pair.Down, pair.Up),
    ];

    /// <summary>The names of a state's weights that belong to no plain low-rank update.</summary>
    public static IReadOnlyList<string> Others(LoraState state)
    {
        var own = Of(state)
            .SelectMany(static product => new[] { product.Module + product.DownPart, product.Module + product.UpPart })
            .ToHashSet(StringComparer.Ordinal);
        return [.. state.Tensors.Keys.Where(name => !own.Contains(name)).Order(StringComparer.Ordinal)];
    }

    /// <summary>Throws unless every product of a state can be formed.</summary>
    /// <param name="source">The file, for the message.</param>
    /// <param name="network">The network.</param>
    /// <param name="state">The state.</param>
    /// <exception cref="InvalidDataException">Factors do not fit each other or have numbers that are not finite: all are listed.</exception>
    public static void RequireSound(string source, string network, LoraState state)
    {
        var faults = Of(state)
            .Select(product => product.FaultIn(state) is { } fault ? $"{network}: {product.Module}: {fault}" : null)
            .OfType<string>()
            .ToList();
        Faults.ThrowIfAny(faults, found => new InvalidDataException(
            $"'{source}' has {Listing.Count(found.Count, "damaged layer")}; download or save it again:\n{Listing.Lines(found)}"));
    }

    /// <summary>Whether A and B are factors of one matrix.</summary>
    public bool Fits(LoraState state) =>
        StoredA(state) is var a && StoredB(state) is var b && a.dim() is 2 or 4 && b.dim() is 2 or 4
        && a.numel() > 0 && b.numel() > 0 && b.numel() == b.size(0) * a.size(0);

    private string? FaultIn(LoraState state)
    {
        using var scope = NewDisposeScope();
        var (a, b) = (StoredA(state), StoredB(state));
        return !Fits(state) ? $"A is {Shapes.Text(a.shape)} and B {Shapes.Text(b.shape)}, expected [r, in…] and [out, r…]"
            : !double.IsFinite(Scale(state)) || !Finite.Is(a) || !Finite.Is(b) ? "some numbers are not finite, expected finite ones"
            : null;
    }

    /// <summary>A as it is stored.</summary>
    public Tensor StoredA(LoraState state) => state.Tensors[Module + DownPart];

    /// <summary>B as it is stored.</summary>
    public Tensor StoredB(LoraState state) => state.Tensors[Module + UpPart];

    /// <summary>A as float64 [r, in·kh·kw].</summary>
    public Tensor A(LoraState state) => StoredA(state).to(ScalarType.Float64).flatten(1);

    /// <summary>B as float64 [out, r].</summary>
    public Tensor B(LoraState state) => StoredB(state).to(ScalarType.Float64).flatten(1);

    /// <summary>s as the state tells it: α/r.</summary>
    public double Scale(LoraState state)
    {
        var rank = StoredA(state).size(0);
        return state.Alphas.GetValueOrDefault(Module, rank) / rank;
    }

    /// <summary>
    /// The singular value decomposition B·A = U·diag(S)·Vᵀ without forming the product: with B = Q_B·R_B and Aᵀ = Q_A·R_A only the small
    /// R_B·R_Aᵀ needs to be decomposed.
    /// </summary>
    public static (Tensor U, Tensor S, Tensor Vh) Svd(Tensor B, Tensor A)
    {
        using var scope = NewDisposeScope();
        var (QB, RB) = linalg.qr(B);
        var (QA, RA) = linalg.qr(A.t());
        var (U, S, Vh) = linalg.svd(RB.matmul(RA.t()), fullMatrices: false);
        return (QB.matmul(U).MoveToOuterDisposeScope(), S.MoveToOuterDisposeScope(), Vh.matmul(QA.t()).MoveToOuterDisposeScope());
    }
}
