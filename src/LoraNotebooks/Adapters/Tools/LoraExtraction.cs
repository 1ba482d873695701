using LoraNotebooks.Formats;
using LoraNotebooks.Tensors;
using static TorchSharp.torch;

namespace LoraNotebooks.Adapters.Tools;

/// <summary>What was found when the difference of two models was written as a LoRA.</summary>
/// <param name="Layers">Layer by layer, how well its rank holds the difference.</param>
/// <param name="LeftOut">Weights that differ but that a LoRA cannot hold: biases, norms, embeddings.</param>
public sealed record LoraExtractionReport(IReadOnlyList<LayerFit> Layers, IReadOnlyList<string> LeftOut);

/// <summary>Makes a LoRA of what a training of all weights has changed: the best approximation of W′ − W of a given rank, layer by layer.</summary>
/// <remarks>Source: kohya-ss/sd-scripts, networks/extract_lora_from_models.py; unlike there, values are not clamped.</remarks>
public static class LoraExtraction
{
    private static readonly string[] Networks = ["unet", "text_encoder", "text_encoder_2"];

    /// <summary>Compares two models and writes the LoRA that leads from one to the other.</summary>
    /// <param name="baseModel">A model folder with unet/, text_encoder/ …; or the folder of one network.</param>
    /// <param name="tunedModel">The same after training.</param>
    /// <param name="destination">The file, or for PEFT the folder.</param>
    /// <param name="choice">The ranks.</param>
    /// <param name="writing">How to write; default a kohya file. Its type, if not given, is float32.</param>
    /// <exception cref="FileNotFoundException">A folder has no weights.</exception>
    /// <exception cref="InvalidDataException">The models do not have the same weights in the same shapes; all differences are listed.</exception>
    public static LoraExtractionReport Extract(string baseModel, string tunedModel, string destination, RankChoice choice, LoraWriting? writing = null)
    {
        ArgumentNullException.ThrowIfNull(choice);
        choice.ThrowIfInvalid();
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var fits = new List<LayerFit>();
        var leftOut = new List<string>();
        var states = new Dictionary<string, LoraState>(StringComparer.Ordinal);
        foreach (var (network, baseFolder, tunedFolder) in Folders(baseModel, tunedModel))
        {
            using var before = new NetworkWeights(baseFolder);
            using var after = new NetworkWeights(tunedFolder);
            if (Extract(network, before, after, choice, fits, leftOut) is { Tensors.Count: > 0 } state)
            {
                states[network] = state;
            }
        }

        if (states.Count == 0)
        {
            throw new InvalidDataException(
                $"No layer of '{tunedModel}' differs from '{baseModel}'"
                + $"{(leftOut.Count > 0 ? $"; only {string.Join(", ", leftOut.Take(3))} do, which a LoRA cannot hold" : "")}. Nothing was written.");
        }

        writing ??= new LoraWriting();
        LoraFileSet.Write(
            destination,
            states,
            new Dictionary<string, string>
            {
                ["modelspec.title"] = System.IO.Path.GetFileNameWithoutExtension(System.IO.Path.TrimEndingDirectorySeparator(destination)),
            },
            writing with { DType = writing.DType ?? ScalarType.Float32 });
        return new LoraExtractionReport(fits, leftOut);
    }

    private static LoraState Extract(string network, NetworkWeights before, NetworkWeights after, RankChoice choice, List<LayerFit> fits, List<string> leftOut)
    {
        before.RequireSameAs(after);
        var tensors = new Dictionary<string, Tensor>(StringComparer.Ordinal);
        foreach (var name in before.Names)
        {
            using var scope = NewDisposeScope();
            var delta = after.Load(name) - before.Load(name);
            if (!Finite.Is(delta))
            {
                throw new InvalidDataException($"{network}: '{name}' has numbers that are not finite in one of the models.");
            }

            if (delta.count_nonzero().item<long>() == 0)
            {
                continue;
            }

            if (!name.EndsWith(".weight", StringComparison.Ordinal) || delta.dim() is not (2 or 4) || name.Contains("embeddings.", StringComparison.Ordinal))
            {
                leftOut.Add($"{network}: {name}");
                continue;
            }

            var module = name[..^".weight".Length];
            var isConvolution = delta.dim() == 4;
            var (U, S, Vh) = linalg.svd(delta.flatten(1), fullMatrices: false);
            var (rank, error) = LoraResizing.Decomposed(S, choice, isConvolution);
            var (B, A) = LoraResizing.Factors(U, S, Vh, rank, [.. delta.shape[1..]], isConvolution, ScalarType.Float32);
            tensors[module + LoraState.DownPart] = A.MoveToOuterDisposeScope();
            tensors[module + LoraState.UpPart] = B.MoveToOuterDisposeScope();
            fits.Add(new LayerFit(network, module, (int)S.size(0), rank, S.to(ScalarType.Float64).norm().item<double>(), error));
        }

        return new LoraState(tensors);
    }

    private static List<(string Network, string Base, string Tuned)> Folders(string baseModel, string tunedModel)
    {
        var found = Networks
            .Where(network => Directory.Exists(System.IO.Path.Combine(baseModel, network)) && Directory.Exists(System.IO.Path.Combine(tunedModel, network)))
            .Select(network => (network, System.IO.Path.Combine(baseModel, network), System.IO.Path.Combine(tunedModel, network)))
            .ToList();
        if (found.Count > 0)
        {
            return found;
        }

        var single = NetworkWeights.NetworkOf(baseModel);
        return [(single, baseModel, tunedModel)];
    }
}
