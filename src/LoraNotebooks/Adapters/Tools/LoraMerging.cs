using LoraNotebooks.Formats;
using LoraNotebooks.Tensors;
using static TorchSharp.torch;

namespace LoraNotebooks.Adapters.Tools;

/// <summary>Makes one LoRA of several: ΔW = Σ wᵢ·sᵢ·Bᵢ·Aᵢ, exactly by laying the factors side by side, or at a smaller rank by singular values.</summary>
public static class LoraMerging
{
    /// <summary>Facts that are true of a merged LoRA if they are true of each part.</summary>
    private static readonly string[] Shared =
    [
        "ss_base_model_version", "ss_v2", "ss_sd_model_name", "ss_sd_model_hash", "ss_new_sd_model_hash", "ss_clip_skip",
        "modelspec.sai_model_spec", "modelspec.architecture", "modelspec.implementation", "modelspec.prediction_type", "modelspec.resolution",
    ];

    /// <summary>Merges LoRAs of any kind into one.</summary>
    /// <param name="sources">The LoRAs and their weights w.</param>
    /// <param name="destination">The file, or for PEFT the folder.</param>
    /// <param name="choice">The ranks of the result; default <see langword="null"/>, the sum of the parts' ranks, which is exact.</param>
    /// <param name="writing">How to write; default a kohya file. Its type, if not given, is float32.</param>
    /// <param name="strict">Whether what would be left out of a source is an error. By default it is told in one line.</param>
    /// <returns>Layer by layer, what became of it.</returns>
    /// <exception cref="FileNotFoundException">There is no LoRA at a source.</exception>
    /// <exception cref="InvalidDataException">A source is damaged: all faults are listed.</exception>
    /// <exception cref="ArgumentException">
    /// There are no sources, a weight is not finite, layers have other shapes, or a LoRA has parts that are not of the form B·A; all are listed, and
    /// nothing is written.
    /// </exception>
    public static IReadOnlyList<LayerFit> Merge(
        IReadOnlyList<(string Path, double Weight)> sources,
        string destination,
        RankChoice? choice = null,
        LoraWriting? writing = null,
        bool strict = false)
    {
        ArgumentNullException.ThrowIfNull(sources);
        choice?.ThrowIfInvalid();
        if (sources.Count == 0 || sources.Any(static source => !double.IsFinite(source.Weight)))
        {
            throw new ArgumentException(
                $"Got {string.Join(", ", sources.Select(static source => $"'{source.Path}' at {source.Weight}").DefaultIfEmpty("no LoRA"))}, "
                + "expected at least one, each at a finite weight.");
        }

        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var files = new List<LoraFile>();
        try
        {
            foreach (var (path, _) in sources)
            {
                files.Add(LoraFile.Read(path, strict));
                RequireOnlyProducts(path, files[^1].States);
            }

            RequireOneArchitecture(sources, files);

            var states = files.Select(static file => LoraStates.WithOwnAlphas(file.States)).ToList();
            foreach (var (network, state, path) in states.Index()
                .SelectMany(file => file.Item.Select(pair => (pair.Key, pair.Value, sources[file.Index].Path))))
            {
                ThinProduct.RequireSound(path, network, state);
            }

            var fits = new List<LayerFit>();
            var merged = states.SelectMany(static state => state.Keys).Distinct().ToDictionary(
                static network => network,
                network => Merge(
                    network,
                    [.. states.Index()
                        .Where(state => state.Item.ContainsKey(network))
                        .Select(state => (state.Item[network], sources[state.Index].Weight))],
                    choice,
                    fits));
            var metadata = Shared
                .Where(key => files.All(file => file.Metadata.TryGetValue(key, out var value) && value == files[0].Metadata[key]))
                .ToDictionary(static key => key, key => files[0].Metadata[key], StringComparer.Ordinal);
            metadata["modelspec.merged_from"] = string.Join(
                ", ", sources.Select(static source => System.IO.Path.GetFileName(System.IO.Path.TrimEndingDirectorySeparator(source.Path))));
            metadata["modelspec.title"] = System.IO.Path.GetFileNameWithoutExtension(System.IO.Path.TrimEndingDirectorySeparator(destination));
            writing = (writing ?? new LoraWriting()).For(files[0].Origin);
            LoraFileSet.Write(destination, merged, metadata, writing with { DType = writing.DType ?? ScalarType.Float32 });
            return fits;
        }
        finally
        {
            files.ForEach(static file => file.Dispose());
        }
    }

    private static LoraState Merge(string network, IReadOnlyList<(LoraState State, double Weight)> parts, RankChoice? choice, List<LayerFit> fits)
    {
        var tensors = new Dictionary<string, Tensor>(StringComparer.Ordinal);
        var alphas = new Dictionary<string, double>(StringComparer.Ordinal);
        var products = parts.SelectMany(static part => ThinProduct.Of(part.State).Select(product => (Product: product, part.State, part.Weight)));
        foreach (var group in products.GroupBy(static part => part.Product).OrderBy(static group => group.Key.Module, StringComparer.Ordinal))
        {
            var layer = group.ToList();
            var shapes = layer
                .Select(part => (In: string.Join("×", group.Key.StoredA(part.State).shape[1..]), Out: group.Key.StoredB(part.State).size(0)))
                .Distinct()
                .ToList();
            if (shapes.Count > 1)
            {
                throw new ArgumentException(
                    $"'{network}: {group.Key.Module}' has other sizes in each LoRA "
                    + $"({string.Join(" and ", shapes.Select(static shape => $"{shape.In} to {shape.Out}"))}); they are for different base models.");
            }

            var B = cat([.. layer.Select(part => group.Key.B(part.State).Times(part.Weight * group.Key.Scale(part.State)))], 1);
            var A = cat([.. layer.Select(part => group.Key.A(part.State))], 0);
            var stored = group.Key.StoredA(layer[0].State);
            var isConvolution = stored.dim() == 4;
            var (rank, error) = ((int)A.size(0), 0.0);
            var norm = Math.Sqrt(Math.Max(0, (B.t().matmul(B) * A.matmul(A.t())).sum().item<double>()));
            var old = rank;
            if (choice is not null)
            {
                var (U, S, Vh) = ThinProduct.Svd(B, A);
                (rank, error) = LoraResizing.Decomposed(S, choice, isConvolution);
                (B, A) = LoraResizing.Factors(U, S, Vh, rank, [.. stored.shape[1..]], isConvolution, ScalarType.Float64);
            }

            tensors[group.Key.Module + group.Key.DownPart] = A.reshape([rank, .. stored.shape[1..]]);
            tensors[group.Key.Module + group.Key.UpPart] = isConvolution ? B.reshape(-1, rank, 1, 1) : B;
            alphas[group.Key.Module] = rank;
            fits.Add(new LayerFit(network, group.Key.Module, old, rank, norm, error));
        }

        return new LoraState(tensors, alphas);
    }

    private static void RequireOneArchitecture(IReadOnlyList<(string Path, double Weight)> sources, List<LoraFile> files)
    {
        if (files.Exists(file => files.Exists(other => !LoraOrigin.Agree(file.Origin.Architecture, other.Origin.Architecture))))
        {
            throw new ArgumentException(
                "The LoRAs are for different base models, expected one for all:\n"
                + Listing.Lines([.. files.Select((file, i) => $"'{sources[i].Path}' is for {file.Origin.Text}")]));
        }
    }

    private static void RequireOnlyProducts(string source, IReadOnlyDictionary<string, LoraState> states)
    {
        var strange = states.SelectMany(static pair => ThinProduct.Others(pair.Value).Select(name => $"{pair.Key}: {name}")).ToList();
        if (strange.Count > 0)
        {
            throw new ArgumentException(
                $"'{source}' has weights that are not of the form B·A, so their sum has no such form either; "
                + $"merge it into the base model instead:\n{Listing.Lines(strange)}");
        }
    }
}
