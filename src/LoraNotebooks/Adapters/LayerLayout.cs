using LoraNotebooks.Adapters.Methods;
using LoraNotebooks.Formats;

namespace LoraNotebooks.Adapters;

/// <summary>
/// How the update of one layer is laid out. Settings tell it for all layers alike; a file without settings tells it layer by layer, by the names and shapes of
/// its weights. A method that lays out more derives from it.
/// </summary>
public record LayerLayout
{
    /// <summary>What ΔW is made of.</summary>
    public required AdapterMethod Method { get; init; }

    /// <summary>r.</summary>
    public required int Rank { get; init; }

    /// <summary>α.</summary>
    public required double Alpha { get; init; }

    /// <summary>s.</summary>
    public required double Scale { get; init; }

    /// <summary>
    /// Whether a convolution's kernel is in a core tensor of its own [r, r, kh, kw], with one factor for the outputs and one for the inputs (Tucker's
    /// decomposition).
    /// </summary>
    public bool HasCore { get; init; }

    /// <summary>The most numbers that one factor may have. A file sets it to what it holds, so that a damaged one makes nobody allocate more.</summary>
    public long MostNumbers { get; init; } = long.MaxValue;

    /// <summary>m, or <see langword="null"/> for a plain sum W + ΔW.</summary>
    internal MagnitudeLayout? Magnitude { get; init; }

    /// <summary>What settings mean for a layer.</summary>
    internal static LayerLayout Of(LoraConfig config, WeightLayer layer)
    {
        var shape = layer.Weight.shape;
        var layout = new LayerLayout
        {
            Method = config.Method,
            Rank = config.RankOf(layer.Path),
            Alpha = config.AlphaOf(layer.Path),
            Scale = config.ScaleOf(layer.Path),
            HasCore = config.UseEffectiveConv2d && shape.Length == 4 && (shape[2] != 1 || shape[3] != 1),
            Magnitude = config.UseDora ? MagnitudeLayout.OfPeft(layer) : null,
        };
        return config.Method.LayoutOf(layout, config, layer);
    }

    /// <summary>What the weights of a file mean for a layer; <see langword="null"/> if it has none for it.</summary>
    internal static LayerLayout? Of(LoraState state, WeightLayer layer)
    {
        var path = layer.Path;
        if (!state.Ranks.TryGetValue(path, out var rank))
        {
            return null;
        }

        var method = AdapterMethod.Of(state, path);
        var alpha = state.Alphas.GetValueOrDefault(path, rank);
        var cores = LoraNames.Factors
            .Where(factor => factor.Has(FactorFacts.IsCore) && state.Tensors.ContainsKey($"{path}.{factor.Name}"))
            .Select(factor => (factor.Name, Tensor: state.Tensors[$"{path}.{factor.Name}"]))
            .ToList();

        // A core is of size r·r, so one that is not of the factors' rank would make us allocate what the file does not hold.
        if (cores.Find(core => SizeOf(core.Tensor) != rank) is { Name: not null } strange)
        {
            throw new InvalidDataException(
                $"'{path}.{strange.Name}' is {Shapes.Text(strange.Tensor.shape)}, expected a first size of {rank}, the rank of the factors beside it.");
        }

        // One of the right number of sizes would pass for a core without a kernel; of others the loading tells.
        if (layer.Weight.dim() != 4 && cores.Find(core => core.Tensor.dim() == layer.Weight.dim()) is { Name: not null } misplaced)
        {
            throw new InvalidDataException(
                $"'{path}.{misplaced.Name}' is the core of a convolution, but the layer is none: "
                + "expected weights of the same layer; was it trained for another model?");
        }

        var layout = new LayerLayout
        {
            Method = method,
            Rank = rank,
            Alpha = alpha,
            Scale = LoraNames.IsUnscaled(state, path) ? 1 : alpha / rank,
            MostNumbers = NumbersIn(state, path),
            HasCore = cores.Count > 0,
            Magnitude = MagnitudeLayout.Of(state, layer),
        };
        return method.LayoutOf(layout, state, layer);

        static long? SizeOf(TorchSharp.torch.Tensor tensor) => tensor.dim() > 0 ? tensor.size(0) : null;
    }

    /// <summary>How many numbers a file holds for a layer, or where it has none, in all.</summary>
    internal static long NumbersIn(LoraState state, string path)
    {
        var own = state.Tensors.Where(pair => pair.Key.StartsWith(path + ".", StringComparison.Ordinal)).Sum(static pair => pair.Value.numel());
        return own > 0 ? own : state.Tensors.Values.Sum(static tensor => tensor.numel());
    }
}
