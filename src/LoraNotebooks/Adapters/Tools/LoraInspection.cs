using System.Text.RegularExpressions;
using LoraNotebooks.Adapters.Methods;
using LoraNotebooks.Formats;
using static TorchSharp.torch;

namespace LoraNotebooks.Adapters.Tools;

/// <summary>One layer of a LoRA file.</summary>
/// <param name="Network">The network, e.g. "unet".</param>
/// <param name="Module">The layer's path.</param>
/// <param name="Block">The block in which it lies, e.g. "down_blocks.1".</param>
/// <param name="Method">What ΔW is made of.</param>
/// <param name="IsDora">Whether its length trains apart.</param>
/// <param name="Rank">r.</param>
/// <param name="Alpha">α, as s = α/r has it.</param>
/// <param name="Parameters">How many numbers it has.</param>
/// <param name="Norm">‖ΔW‖, Frobenius, the scale in it; of a weight-decomposed layer without the decomposition.</param>
public sealed record LoraLayerFacts(
    string Network,
    string Module,
    string Block,
    AdapterMethod Method,
    bool IsDora,
    int Rank,
    double Alpha,
    long Parameters,
    double Norm);

/// <summary>A block's layers taken together.</summary>
/// <param name="Network">The network.</param>
/// <param name="Block">The block.</param>
/// <param name="Layers">How many layers it has.</param>
/// <param name="Ranks">Their ranks, each once.</param>
/// <param name="Alphas">Their α, each once.</param>
/// <param name="Parameters">How many numbers they have.</param>
/// <param name="Norm">The root of their squared norms' sum.</param>
public sealed record LoraBlockFacts(
    string Network,
    string Block,
    int Layers,
    IReadOnlyList<int> Ranks,
    IReadOnlyList<double> Alphas,
    long Parameters,
    double Norm);

/// <summary>What a LoRA file or folder holds, told by itself.</summary>
public sealed partial record LoraInspection
{
    /// <summary>What was looked at.</summary>
    public required string Path { get; init; }

    /// <summary>How it is laid out.</summary>
    public required LoraFileKind Kind { get; init; }

    /// <summary>Its size in bytes, of a folder all its files.</summary>
    public required long Bytes { get; init; }

    /// <summary>Its layers, by network and name.</summary>
    public required IReadOnlyList<LoraLayerFacts> Layers { get; init; }

    /// <summary>Its layers by block.</summary>
    public IReadOnlyList<LoraBlockFacts> Blocks =>
    [
        .. Layers.GroupBy(static layer => (layer.Network, layer.Block)).Select(static group => new LoraBlockFacts(
            group.Key.Network, group.Key.Block, group.Count(),
            [.. group.Select(static layer => layer.Rank).Distinct().Order()],
            [.. group.Select(static layer => layer.Alpha).Distinct().Order()],
            group.Sum(static layer => layer.Parameters),
            Math.Sqrt(group.Sum(static layer => layer.Norm * layer.Norm)))),
    ];

    /// <summary>How many numbers there are, in layers or not.</summary>
    public required long Parameters { get; init; }

    /// <summary>The types of the weights.</summary>
    public required IReadOnlyList<string> DTypes { get; init; }

    /// <summary>The kind of model that it is for, in words, as far as names, shapes and metadata tell.</summary>
    public required string For { get; init; }

    /// <summary>The program that made it; <see langword="null"/> if nothing tells.</summary>
    public string? Tool { get; init; }

    /// <summary>Names that are not understood, with the reason.</summary>
    public required IReadOnlyList<string> Unknown { get; init; }

    /// <summary>What is known but not supported, or no part of a LoRA, with the reason; readers leave it out.</summary>
    public required IReadOnlyList<string> Unsupported { get; init; }

    /// <summary>What is broken, with the reason; readers refuse the file.</summary>
    public required IReadOnlyList<string> Damaged { get; init; }

    /// <summary>What is not told and readers assume.</summary>
    public required IReadOnlyList<string> Assumed { get; init; }

    /// <summary>Weights that are known but not low-rank: trained biases, whole layers.</summary>
    public required IReadOnlyList<string> Others { get; init; }

    /// <summary>Layers and other weights with a number that is not finite.</summary>
    public required IReadOnlyList<string> NotFinite { get; init; }

    /// <summary>Whether a strict reader refuses it.</summary>
    public bool IsStrange => Unknown.Count + Unsupported.Count + Assumed.Count + Damaged.Count + NotFinite.Count > 0;

    /// <summary>The metadata; empty for a PEFT folder.</summary>
    public required IReadOnlyDictionary<string, string> Metadata { get; init; }

    /// <summary>The settings as PEFT has them, by network; empty for a file without.</summary>
    public required IReadOnlyDictionary<string, string> Configs { get; init; }

    /// <summary>SHA-256 after the header, of a file.</summary>
    public string? ModelHash { get; init; }

    /// <summary>The older hash of 8 digits, of a file.</summary>
    public string? LegacyHash { get; init; }

    /// <summary>
    /// Whether the hash is the one that the file itself notes; <see langword="null"/> if it notes none, or one that LyCORIS computed in another way (0x…).
    /// </summary>
    public bool? HashIsAsNoted =>
        ModelHash is not null && Metadata.TryGetValue("sshs_model_hash", out var noted) && !noted.StartsWith("0x", StringComparison.Ordinal)
            ? string.Equals(noted, ModelHash, StringComparison.OrdinalIgnoreCase)
            : null;

    /// <summary>Looks at a LoRA of any kind; no base model is needed.</summary>
    /// <param name="path">A folder (PEFT, or diffusers with its one file) or a .safetensors file.</param>
    /// <exception cref="FileNotFoundException">There is no LoRA at that path.</exception>
    /// <exception cref="InvalidDataException">It is no LoRA of a known kind.</exception>
    public static LoraInspection Of(string path)
    {
        ArgumentNullException.ThrowIfNull(path);
        using var file = LoraFile.Inspect(path);
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var states = LoraStates.WithOwnAlphas(file.States);
        var single = File.Exists(path) ? path : DiffusersFile(path);
        var hashes = single is null ? ((string Model, string Legacy)?)null : KohyaHashes.OfLora(single);
        LoraLayerFacts[] layers =
            [.. states.OrderBy(static pair => pair.Key, StringComparer.Ordinal).SelectMany(static pair => LayersOf(pair.Key, pair.Value))];
        string[] notFinite = [.. file.Notes.Where(static note => note.Kind == LoraNoteKind.NotFinite).SelectMany(static note => note.Names)];
        return new LoraInspection
        {
            Path = path,
            For = file.Origin.Text,
            Tool = file.Origin.Tool,
            Kind = file.Kind,
            Bytes = File.Exists(path)
                ? new FileInfo(path).Length
                : Directory.EnumerateFiles(path, "*", SearchOption.AllDirectories).Sum(static name => new FileInfo(name).Length),
            Layers = layers,
            Parameters = states.Values.SelectMany(static state => state.Tensors.Values).Sum(static tensor => tensor.numel()),
            DTypes = [.. file.StoredTypes.Select(static type => SafetensorType.All[type] is { IsNative: true } native ? native.Memory.ToString() : type)],
            Unknown = Of(LoraNoteKind.Unknown),
            Unsupported = Of(LoraNoteKind.Unsupported),
            Assumed = Of(LoraNoteKind.Assumed),
            Damaged =
            [
                .. Of(LoraNoteKind.Damaged),
                .. layers.Where(layer => !double.IsFinite(layer.Norm))
                    .Select(static layer => $"{layer.Network}: {layer.Module}")
                    .Except(notFinite)
                    .Select(static layer => $"{layer} (its factors are not all there, or do not fit each other)")
            ],
            NotFinite = notFinite,
            Others = [.. states.OrderBy(static pair => pair.Key, StringComparer.Ordinal).SelectMany(static pair => pair.Value.Tensors.Keys
                .Where(name => !IsOfLayer(pair.Value, name))
                .Order(StringComparer.Ordinal)
                .Select(name => $"{pair.Key}: {name}"))],
            Metadata = file.Metadata,
            Configs = states.Where(static pair => pair.Value.Config is not null)
                .ToDictionary(static pair => pair.Key, static pair => pair.Value.Config!.ToJsonString()),
            ModelHash = hashes?.Model,
            LegacyHash = hashes?.Legacy,
        };

        IReadOnlyList<string> Of(LoraNoteKind kind) =>
            [.. file.Notes.Where(note => note.Kind == kind).SelectMany(static note => note.Names.Select(name => $"{name} ({note.Reason})"))];
    }

    private static string? DiffusersFile(string folder) =>
        System.IO.Path.Combine(folder, LoraFile.DiffusersName) is var file && File.Exists(file) ? file : null;

    private static IEnumerable<LoraLayerFacts> LayersOf(string network, LoraState state) =>
        state.Ranks.OrderBy(static pair => pair.Key, StringComparer.Ordinal).Select(pair => new LoraLayerFacts(
            network,
            pair.Key,
            BlockName().Match(pair.Key) is { Success: true } match ? match.Value : pair.Key.Split('.')[0],
            AdapterMethod.Of(state, pair.Key),
            MagnitudeLayout.IsIn(state, pair.Key),
            pair.Value,
            state.Alphas.GetValueOrDefault(pair.Key, pair.Value),
            state.Tensors.Where(tensor => IsBelow(tensor.Key, pair.Key)).Sum(static tensor => tensor.Value.numel()),
            NormOf(state, pair.Key)));

    private static bool IsOfLayer(LoraState state, string name)
    {
        var ending = name.LastIndexOf('.');
        return state.Ranks.ContainsKey(name[..Math.Max(0, ending)])
            || (LoraNames.OwnerOf(name)?.Factor.ModuleOf(name) is { } module && state.Ranks.ContainsKey(module));
    }

    private static bool IsBelow(string name, string module) =>
        name.Length > module.Length && name[module.Length] == '.' && name.StartsWith(module, StringComparison.Ordinal);

    /// <summary>s·‖ΔW‖; NaN where the factors do not fit each other.</summary>
    private static double NormOf(LoraState state, string module)
    {
        // A Kronecker product of two whole matrices has the scale 1 unless settings give another.
        var scale = !LoraNames.IsUnscaled(state, module) ? state.Alphas.GetValueOrDefault(module, state.Ranks[module]) / state.Ranks[module]
            : state.Config is null ? 1
            : LoraConfig.FromPeftJson(state.Config).ScaleOf(module);
        return scale * new UpdateNorm(state, module).Value();
    }

    [GeneratedRegex(@"^(?:down_blocks|up_blocks)\.\d+|^mid_block|^text_model\.encoder\.layers\.\d+|^.*?layers\.\d+")]
    private static partial Regex BlockName();
}
