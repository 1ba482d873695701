using System.Text.Json.Nodes;

namespace LoraNotebooks.Adapters;

/// <summary>Which biases of the base model train along with an adapter.</summary>
public enum BiasTraining
{
    /// <summary>None: PEFT's "none".</summary>
    None,

    /// <summary>Every bias of the base model, adapted layer or not: PEFT's "all".</summary>
    All,

    /// <summary>The biases of the adapted layers: PEFT's "lora_only".</summary>
    LoraOnly,
}

/// <summary>How A is drawn; B always starts at zero, so that a new adapter changes nothing.</summary>
public enum LoraInitialization
{
    /// <summary>A ~ U(−1/√n, 1/√n), n inputs per output: He initialisation with a = √5, as a fresh linear layer has it.</summary>
    KaimingUniform,

    /// <summary>A ~ N(0, 1/r²), as diffusers' training scripts have it.</summary>
    Gaussian,
}

/// <summary>
/// The settings of one LoRA adapter: the frozen weight W of each target layer gets a low-rank companion, W + s·B·A,
/// with A of shape r×in, B of shape out×r and s = α/r.
/// </summary>
/// <remarks>
/// Source: Hu et al. 2021 (arXiv:2106.09685), section 4.1; field by field huggingface/peft, tuners/lora/config.py.
/// Records compare their collections by reference.
/// </remarks>
public sealed partial record LoraConfig
{
    /// <summary>
    /// What the update is made of, with the options that only this method has: <c>AdapterMethod.Lokr with { DecomposeFactor = 4 }</c>.
    /// Default <see cref="AdapterMethod.Lora"/>.
    /// </summary>
    public AdapterMethod Method { get; init; } = AdapterMethod.Lora;

    /// <summary>
    /// Whether direction and length of each row train apart (DoRA, Liu et al. 2024, arXiv:2402.09353): W′ = m ⊙ (W + ΔW)/‖W + ΔW‖; default no.
    /// </summary>
    public bool UseDora { get; init; }

    /// <summary>Whether a convolution's kernel gets a core tensor of its own, which saves numbers; default no.</summary>
    public bool UseEffectiveConv2d { get; init; }

    /// <summary>r, the rank of the update; default 8.</summary>
    public int Rank { get; init; } = 8;

    /// <summary>α; the update is scaled by s = α/r (or α/√r, <see cref="UseRsLora"/>). Default 8.</summary>
    public double Alpha { get; init; } = 8;

    /// <summary>The layers that get an adapter: linear layers, 2D convolutions and embeddings. Required.</summary>
    public ModuleSelection TargetModules { get; init; } = [];

    /// <summary>Layers that get none although <see cref="TargetModules"/> means them; default none.</summary>
    public ModuleSelection? ExcludeModules { get; init; }

    /// <summary>The probability with which an input of A is zeroed in training; default 0. Embeddings have none.</summary>
    public double Dropout { get; init; }

    /// <summary>Which biases of the base train along; default none.</summary>
    public BiasTraining Bias { get; init; } = BiasTraining.None;

    /// <summary>Whether B has a bias of its own, y = Wx + s·(B·A·x + b); default no.</summary>
    public bool UseLoraBias { get; init; }

    /// <summary>
    /// Ranks of their own: regular expression → r. A key means every module whose path ends in a match of it at a dot, <c>(.*\.)?(key)$</c>;
    /// the first that matches counts. Default empty.
    /// </summary>
    public IReadOnlyDictionary<string, int> RankPattern { get; init; } = new OrderedDictionary<string, int>();

    /// <summary>Alphas of their own: regular expression → α, as in <see cref="RankPattern"/>. Default empty.</summary>
    public IReadOnlyDictionary<string, double> AlphaPattern { get; init; } = new OrderedDictionary<string, double>();

    /// <summary>Whether s = α/√r (rank-stabilized LoRA, Kalajdzievski 2023, arXiv:2312.03732) in place of α/r; default no.</summary>
    public bool UseRsLora { get; init; }

    /// <summary>
    /// Whether the adapted layers keep W transposed, [in, out], as GPT-2's do. Only noted for PEFT, here each layer tells by itself: what is added to a model
    /// gets it right. Default no.
    /// </summary>
    public bool FanInFanOut { get; init; }

    /// <summary>How A is drawn; default <see cref="LoraInitialization.KaimingUniform"/>.</summary>
    public LoraInitialization Initialization { get; init; } = LoraInitialization.KaimingUniform;

    /// <summary>Only layers of these blocks, e.g. 0 and 1 for "….layers.0.…" and "….layers.1.…"; default all. Does not go with a regular expression.</summary>
    public IReadOnlyList<int> LayersToTransform { get; init; } = [];

    /// <summary>The name before a block's number, e.g. "layers"; default any. A regular expression.</summary>
    public IReadOnlyList<string> LayersPattern { get; init; } = [];

    /// <summary>Layers that train whole instead of by a low-rank update, e.g. a new head; matched by name. Default none.</summary>
    public IReadOnlyList<string> ModulesToSave { get; init; } = [];

    /// <summary>Fields of an adapter_config.json that mean nothing here; they are kept and written back.</summary>
    public IReadOnlyDictionary<string, JsonNode?> Carried { get; init; } = new Dictionary<string, JsonNode?>();

    /// <summary>r of a module.</summary>
    /// <param name="path">The module's path.</param>
    public int RankOf(string path) => FirstMatch(RankPattern, path, Rank);

    /// <summary>α of a module.</summary>
    /// <param name="path">The module's path.</param>
    public double AlphaOf(string path) => FirstMatch(AlphaPattern, path, Alpha);

    /// <summary>s, the scale of a module's update: α/r, or α/√r for rank-stabilized LoRA.</summary>
    /// <param name="path">The module's path.</param>
    public double ScaleOf(string path) => AlphaOf(path) / (UseRsLora ? Math.Sqrt(RankOf(path)) : RankOf(path));

    /// <summary>Every fault of these settings: what was got, what is expected. Empty if there is none.</summary>
    public IReadOnlyList<string> Validate()
    {
        var faults = new Faults();
        faults.Require(
            AdapterMethod.All.Any(method => method.Name == Method.Name),
            $"Method: got {Method}, which is not registered, expected one of {string.Join(", ", AdapterMethod.All)}; AdapterMethod.Register makes it known");
        foreach (var (setting, name, value, isGiven) in Particular())
        {
            var honouring = AdapterMethod.All.Where(method => method.Honours.HasFlag(setting));
            faults.Expect(!isGiven || Method.Honours.HasFlag(setting), name, $"{value} with {Method}", $"it only with {string.Join(", ", honouring)}");
        }

        faults.AddRange(Method.Faults());
        faults.Expect(Rank >= 1, nameof(Rank), Rank, "at least 1; 4 to 32 is usual");
        faults.Expect(double.IsFinite(Alpha) && Alpha > 0, nameof(Alpha), Alpha, "a positive number; the rank or half of it is usual");
        faults.Expect(Dropout is >= 0 and < 1, nameof(Dropout), Dropout, "0 (none) or more and less than 1");
        faults.Require(TargetModules.Any(), "TargetModules: got none, expected names of layers, a regular expression or ModuleSelection.AllLinear");
        foreach (var (key, selection) in new[] { (nameof(TargetModules), TargetModules), (nameof(ExcludeModules), ExcludeModules) })
        {
            faults.Require(selection is null || !selection.Any(string.IsNullOrWhiteSpace), $"{key}: got an empty name, expected names of layers");
            faults.Require(selection?.Fault is null, $"{key}: got '{selection}', expected a regular expression: {selection?.Fault}");
        }

        foreach (var (key, rank) in RankPattern)
        {
            faults.Expect(rank >= 1, $"RankPattern['{key}']", rank, "at least 1");
            RequirePattern(nameof(RankPattern), key);
        }

        foreach (var (key, alpha) in AlphaPattern)
        {
            faults.Positive($"AlphaPattern['{key}']", alpha);
            RequirePattern(nameof(AlphaPattern), key);
        }

        faults.Require(
            LayersToTransform.All(static index => index >= 0),
            $"LayersToTransform: got {string.Join(", ", LayersToTransform)}, expected numbers of blocks from 0 on");
        faults.Require(
            LayersToTransform.Count == 0 || !(TargetModules.IsRegex || TargetModules.IsAllLinear),
            "LayersToTransform: got it together with a regular expression or all-linear, expected names in TargetModules; "
            + "put the blocks into the expression");
        faults.Require(LayersPattern.Count == 0 || LayersToTransform.Count > 0, "LayersPattern: got it without LayersToTransform, expected both or none");
        foreach (var pattern in LayersPattern)
        {
            RequirePattern(nameof(LayersPattern), pattern);
        }

        faults.Require(!ModulesToSave.Any(string.IsNullOrWhiteSpace), "ModulesToSave: got an empty name, expected names of layers");
        return faults;

        void RequirePattern(string key, string pattern)
        {
            var fault = ModuleSelection.Compile(pattern).Fault;
            faults.Require(fault is null, $"{key}: got '{pattern}', expected a regular expression: {fault}");
        }
    }

    /// <summary>The settings that not every method honours, and whether they are given.</summary>
    private IEnumerable<(HonouredSettings Setting, string Name, object Value, bool IsGiven)> Particular() =>
    [
        (HonouredSettings.LoraBias, nameof(UseLoraBias), UseLoraBias, UseLoraBias),
        (HonouredSettings.RsLora, nameof(UseRsLora), UseRsLora, UseRsLora),
        (HonouredSettings.Dropout, nameof(Dropout), Dropout, Dropout != 0),
        (HonouredSettings.Initialization, nameof(Initialization), Initialization, Initialization != LoraInitialization.KaimingUniform),
        (HonouredSettings.Dora, nameof(UseDora), UseDora, UseDora),
        (HonouredSettings.EffectiveConv2d, nameof(UseEffectiveConv2d), UseEffectiveConv2d, UseEffectiveConv2d),
    ];

    /// <summary>Throws if there are faults.</summary>
    /// <exception cref="ArgumentException">There are; the message lists them all.</exception>
    public void ThrowIfInvalid() => Faults.ThrowIfAny(Validate(), "The LoRA configuration", Listing.Most);

    /// <summary>Whether a key of <see cref="RankPattern"/> means a module.</summary>
    internal static bool PatternMatches(string key, string path) => ModuleSelection.IsMatch(ModuleSelection.Compile($@"^(.*\.)?({key})$").Expression!, path);

    private static T FirstMatch<T>(IReadOnlyDictionary<string, T> patterns, string path, T otherwise)
    {
        foreach (var (key, value) in patterns)
        {
            if (PatternMatches(key, path))
            {
                return value;
            }
        }

        return otherwise;
    }
}
