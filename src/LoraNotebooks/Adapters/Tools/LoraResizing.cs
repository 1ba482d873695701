using System.Globalization;
using LoraNotebooks.Formats;
using static TorchSharp.torch;

namespace LoraNotebooks.Adapters.Tools;

/// <summary>Gives a LoRA other ranks: the best approximation of each B·A of that rank, by singular values. s = α/r of each layer stays.</summary>
/// <remarks>Source: kohya-ss/sd-scripts, networks/resize_lora.py. In place of the full product only an r×r matrix is decomposed, which is exact.</remarks>
public static class LoraResizing
{
    /// <summary>Resizes a LoRA of any kind into a file or folder of any kind.</summary>
    /// <param name="source">The LoRA.</param>
    /// <param name="destination">The file, or for PEFT the folder.</param>
    /// <param name="choice">The ranks.</param>
    /// <param name="writing">How to write; default a kohya file in the weights' own types.</param>
    /// <param name="strict">Whether what would be left out is an error. By default it is told in one line.</param>
    /// <returns>Layer by layer, what became of it.</returns>
    /// <exception cref="FileNotFoundException">There is no LoRA at the source.</exception>
    /// <exception cref="InvalidDataException">The source is damaged: all faults are listed.</exception>
    /// <exception cref="ArgumentException">
    /// The choice has faults, or the LoRA has parts that are not of the form B·A; all are listed, and nothing is written.
    /// </exception>
    public static IReadOnlyList<LayerFit> Resize(string source, string destination, RankChoice choice, LoraWriting? writing = null, bool strict = false)
    {
        ArgumentNullException.ThrowIfNull(choice);
        choice.ThrowIfInvalid();
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using var file = LoraFile.Read(source, strict);
        var fits = new List<LayerFit>();
        var states = LoraStates.WithOwnAlphas(file.States);
        RequirePlain(source, states);
        foreach (var (network, state) in states)
        {
            ThinProduct.RequireSound(source, network, state);
        }

        if (!states.Values.Any(static state => ThinProduct.Of(state).Count > 0))
        {
            throw new InvalidDataException($"'{source}' has no low-rank updates; expected a LoRA.");
        }

        var resized = states.ToDictionary(static pair => pair.Key, pair => Resize(pair.Key, pair.Value, choice, fits));
        var metadata = file.Metadata.ToDictionary(StringComparer.Ordinal);
        if (file.Kind == LoraFileKind.Kohya)
        {
            var rule = choice.Rule == RankRule.Fixed ? "" : string.Create(CultureInfo.InvariantCulture, $" by {choice.Rule} {choice.Target}");
            metadata["ss_training_comment"] =
                $"resized from rank {fits.Max(static fit => fit.OldRank)} to at most {fits.Max(static fit => fit.Rank)}{rule}; "
                + metadata.GetValueOrDefault("ss_training_comment", "");
        }

        LoraFileSet.Write(destination, resized, metadata, (writing ?? new LoraWriting()).For(file.Origin));
        return fits;
    }

    /// <summary>Whole layers and biases are carried along; factors of other methods cannot be.</summary>
    internal static void RequirePlain(string source, IReadOnlyDictionary<string, LoraState> states)
    {
        var strange = states.SelectMany(static pair => ThinProduct.Others(pair.Value)
            .Where(static name => LoraNames.OwnerOf(name) is { Dialect: var dialect, Factor: var factor }
                && (dialect != AdapterMethod.Lora.Dialect ? dialect.Algorithm is not null : factor.Has(FactorFacts.IsCore)))
            .Select(name => $"{pair.Key}: {name}")).ToList();
        if (strange.Count > 0)
        {
            throw new ArgumentException(
                $"'{source}' has updates that are not of the form B·A, which is all that can be decomposed without the base model; "
                + $"merge it into the base and extract from there:\n{Listing.Lines(strange)}");
        }
    }

    private static LoraState Resize(string network, LoraState state, RankChoice choice, List<LayerFit> fits)
    {
        var tensors = new Dictionary<string, Tensor>(state.Tensors, StringComparer.Ordinal);
        var alphas = new Dictionary<string, double>(StringComparer.Ordinal);
        foreach (var product in ThinProduct.Of(state))
        {
            var (U, S, Vh) = ThinProduct.Svd(product.B(state), product.A(state));
            var (scale, a, b) = (product.Scale(state), product.StoredA(state), product.StoredB(state));
            var (rank, error) = Decomposed(S, choice, a.dim() == 4);
            (tensors[product.Module + product.UpPart], tensors[product.Module + product.DownPart]) =
                Factors(U, S, Vh, rank, [.. a.shape[1..]], a.dim() == 4, a.dtype);
            alphas[product.Module] = scale * rank;
            fits.Add(new LayerFit(network, product.Module, (int)a.size(0), rank, scale * S.norm().item<double>(), error));
        }

        return LoraStates.WithNewRanks(state, tensors, alphas);
    }

    /// <summary>The chosen rank and the share of the norm that is lost with the rest.</summary>
    internal static (int Rank, double Error) Decomposed(Tensor S, RankChoice choice, bool isConvolution)
    {
        using var scope = NewDisposeScope();
        S = S.to(ScalarType.Float64);
        var rank = choice.Of(S, isConvolution);
        var (lost, whole) = (S.narrow(0, rank, S.size(0) - rank).norm().item<double>(), S.norm().item<double>());
        return (rank, whole == 0 ? 0 : lost / whole);
    }

    /// <summary>B = U·diag(S) and A = Vᵀ, in the shapes of a layer.</summary>
    internal static (Tensor B, Tensor A) Factors(Tensor U, Tensor S, Tensor Vh, int rank, long[] inputs, bool isConvolution, ScalarType dtype)
    {
        var B = (U.narrow(1, 0, rank) * S.narrow(0, 0, rank)).to(dtype);
        var A = Vh.narrow(0, 0, rank).reshape([rank, .. inputs]).to(dtype);
        return (isConvolution ? B.reshape(-1, rank, 1, 1) : B, A.contiguous());
    }
}
