using LoraNotebooks.Formats;

namespace LoraNotebooks.Adapters;

/// <summary>m of a weight-decomposed layer (DoRA), as it is stored.</summary>
/// <param name="Name">Its name: PEFT's "lora_magnitude_vector" or LyCORIS' "dora_scale".</param>
/// <param name="Axis">The axis of W along which it has one number each; the norm runs over all others.</param>
/// <param name="Shape">Its shape.</param>
internal sealed record MagnitudeLayout(string Name, int Axis, long[] Shape);

/// <summary>How the update of one layer is laid out. Settings tell it for all layers alike; a file without settings tells it layer by layer, by the names and shapes of its weights.</summary>
internal sealed record LayerLayout
{
    private const string LoraMagnitude = "lora_magnitude_vector";
    private const string LycorisMagnitude = "dora_scale";

    private static readonly string[] Cores = ["lora_mid.weight", "hada_t1", "hada_t2", "lokr_t2"];
    private static readonly string[] LokrParts = ["lokr_w2", "lokr_w2_b", "lokr_w1_b"];

    /// <summary>What ΔW is made of.</summary>
    public AdapterMethod Method { get; init; }

    /// <summary>r.</summary>
    public required int Rank { get; init; }

    /// <summary>α.</summary>
    public required double Alpha { get; init; }

    /// <summary>s.</summary>
    public required double Scale { get; init; }

    /// <summary>Whether a convolution's kernel is in a core tensor of its own [r, r, kh, kw], with one factor for the outputs and one for the inputs (Tucker's decomposition).</summary>
    public bool HasCore { get; init; }

    /// <summary>LoKr: the sizes of W₁.</summary>
    public (long Out, long In) Outer { get; init; } = (1, 1);

    /// <summary>LoKr: whether W₁ is whole, in place of a product of two factors.</summary>
    public bool OuterIsWhole { get; init; } = true;

    /// <summary>LoKr: whether W₂ is whole.</summary>
    public bool InnerIsWhole { get; init; } = true;

    /// <summary>The most numbers that one factor may have. A file sets it to what it holds, so that a damaged one makes nobody allocate more.</summary>
    public long MostNumbers { get; init; } = long.MaxValue;

    /// <summary>m, or <see langword="null"/> for a plain sum W + ΔW.</summary>
    public MagnitudeLayout? Magnitude { get; init; }

    /// <summary>What settings mean for a layer.</summary>
    public static LayerLayout Of(LoraConfig config, WeightLayer layer)
    {
        var shape = layer.Weight.shape;
        var rank = config.RankOf(layer.Path);
        var hasKernel = shape.Length == 4 && (shape[2] != 1 || shape[3] != 1);
        var layout = new LayerLayout
        {
            Method = config.Method,
            Rank = rank,
            Alpha = config.AlphaOf(layer.Path),
            Scale = config.ScaleOf(layer.Path),
            HasCore = config.UseEffectiveConv2d && hasKernel,
            Magnitude = config.UseDora ? PeftMagnitude(layer) : null,
        };
        if (config.Method != AdapterMethod.Lokr)
        {
            return layout;
        }

        // A factor as thin as its rank would not save anything, so it is stored whole.
        var ((outOuter, outInner), (inOuter, inInner)) = (LokrLayer.Factorize(shape[0], config.DecomposeFactor), LokrLayer.Factorize(shape[1], config.DecomposeFactor));
        return layout with
        {
            Outer = (outOuter, inOuter),
            OuterIsWhole = !(config.DecomposeBoth && rank < Math.Max(outOuter, inOuter) / 2.0),
            InnerIsWhole = rank >= Math.Max(outInner, inInner) / 2.0,
        };
    }

    /// <summary>What the weights of a file mean for a layer; <see langword="null"/> if it has none for it.</summary>
    public static LayerLayout? Of(LoraState state, WeightLayer layer)
    {
        var path = layer.Path;
        if (!state.Ranks.TryGetValue(path, out var rank))
        {
            return null;
        }

        var alpha = state.Alphas.GetValueOrDefault(path, rank);
        var layout = new LayerLayout
        {
            Rank = rank,
            Alpha = alpha,
            Scale = alpha / rank,
            MostNumbers = NumbersIn(state, path),
            HasCore = Cores.Any(Has),
            Magnitude = Has(LoraMagnitude) ? PeftMagnitude(layer)
                : Has(LycorisMagnitude) ? KohyaMagnitude(layer, state.Tensors[$"{path}.{LycorisMagnitude}"].shape) : null,
        };

        // A core is of size r·r, so one that is not of the factors' rank would make us allocate what the file does not hold.
        if (Cores.FirstOrDefault(core => Has(core) && Size(core, 0) != rank) is { } strange)
        {
            throw new InvalidDataException($"'{path}.{strange}' has {Size(strange, 0)} for its first size, expected {rank}, the rank of the factors beside it.");
        }

        // One of the right number of sizes would pass for a core without a kernel; of others the loading tells.
        if (layer.Weight.dim() != 4 && Cores.FirstOrDefault(core => Has(core) && state.Tensors[$"{path}.{core}"].dim() == layer.Weight.dim()) is { } misplaced)
        {
            throw new InvalidDataException($"'{path}.{misplaced}' is the core of a convolution, but the layer is none: expected weights of the same layer; was it trained for another model?");
        }

        return MethodOf(state, path) switch
        {
            AdapterMethod.Loha => layout with { Method = AdapterMethod.Loha },
            AdapterMethod.Lokr => layout with
            {
                Method = AdapterMethod.Lokr,
                Outer = (Divisor(0, Size("lokr_w1", 0) ?? Size("lokr_w1_a", 0)), Divisor(1, Size("lokr_w1", 1) ?? Size("lokr_w1_b", 1))),
                OuterIsWhole = !Has("lokr_w1_a") && !Has("lokr_w1_b"),
                InnerIsWhole = !Has("lokr_w2_a") && !Has("lokr_w2_b"),

                // Without any factor there is no rank to divide by.
                Scale = Has("lokr_w1") && Has("lokr_w2") ? 1 : layout.Scale,
            },
            _ => layout,
        };

        long Divisor(int axis, long? part) => layer.Weight.size(axis) is var size && (part ?? 1) is > 0 and var outer && size % outer == 0
            ? outer
            : throw new InvalidDataException($"'{path}.lokr_w1' splits {size} {(axis == 0 ? "outputs" : "inputs")} into {part} parts, expected a number that divides them; was it trained for another model?");

        bool Has(string name) => state.Tensors.ContainsKey($"{path}.{name}");

        long? Size(string name, int axis) => state.Tensors.TryGetValue($"{path}.{name}", out var tensor) && tensor.dim() > axis ? tensor.size(axis) : null;
    }

    /// <summary>How many numbers a file holds for a layer, or where it has none, in all.</summary>
    public static long NumbersIn(LoraState state, string path)
    {
        var own = state.Tensors.Where(pair => pair.Key.StartsWith(path + ".", StringComparison.Ordinal)).Sum(static pair => pair.Value.numel());
        return own > 0 ? own : state.Tensors.Values.Sum(static tensor => tensor.numel());
    }

    /// <summary>What the weights of one module are made of, by their names.</summary>
    public static AdapterMethod MethodOf(LoraState state, string path) =>
        state.Tensors.ContainsKey($"{path}.hada_w1_b") ? AdapterMethod.Loha
        : LokrParts.Any(part => state.Tensors.ContainsKey($"{path}.{part}")) ? AdapterMethod.Lokr
        : AdapterMethod.Lora;

    private static MagnitudeLayout PeftMagnitude(WeightLayer layer)
    {
        var size = layer.Weight.size(layer.OutputAxis);
        return new(LoraMagnitude, layer.OutputAxis, layer.Weight.dim() == 4 ? [1, size, 1, 1] : [size]);
    }

    /// <summary>LyCORIS stores m with the dimensions of W, one number per output, or in older files per input.</summary>
    private static MagnitudeLayout KohyaMagnitude(WeightLayer layer, long[] stored)
    {
        var shape = layer.Weight.shape;
        var axis = stored.Length > 1 && stored[0] == 1 && stored[1] == shape[1] && shape[0] != 1 ? 1 : 0;
        return new(LycorisMagnitude, axis, [.. shape.Select((size, i) => i == axis ? size : 1)]);
    }
}
