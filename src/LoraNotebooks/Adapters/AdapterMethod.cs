using System.Runtime.CompilerServices;
using System.Text.Json.Nodes;
using LoraNotebooks.Adapters.Methods;
using LoraNotebooks.Adapters.Tools;
using LoraNotebooks.Formats;
using static TorchSharp.torch;

namespace LoraNotebooks.Adapters;

/// <summary>Settings that not every method honours; each method says which it does, and the others are refused by name.</summary>
[Flags]
public enum HonouredSettings
{
    /// <summary>None of them.</summary>
    None = 0,

    /// <summary><see cref="LoraConfig.Dropout"/>.</summary>
    Dropout = 1,

    /// <summary><see cref="LoraConfig.UseLoraBias"/>.</summary>
    LoraBias = 2,

    /// <summary><see cref="LoraConfig.UseRsLora"/>.</summary>
    RsLora = 4,

    /// <summary><see cref="LoraConfig.Initialization"/>.</summary>
    Initialization = 8,

    /// <summary><see cref="LoraConfig.UseDora"/>.</summary>
    Dora = 16,

    /// <summary><see cref="LoraConfig.UseEffectiveConv2d"/>.</summary>
    EffectiveConv2d = 32,

    /// <summary>A bound of ‖ΔW‖ in training (scale_weight_norms).</summary>
    NormBound = 64,

    /// <summary>A learning rate of its own for B (LoRA+).</summary>
    LoraPlus = 128,
}

/// <summary>What a method is given to make the update of one layer.</summary>
/// <param name="Layer">The frozen layer.</param>
/// <param name="Layout">How the update is laid out.</param>
/// <param name="Config">The settings that are not a matter of layout: initialisation, dropout, bias.</param>
/// <param name="Generator">Draws what does not begin at zero.</param>
/// <param name="Shared">Tensors that all layers of the adapter share.</param>
public sealed record AdapterSite(WeightLayer Layer, LayerLayout Layout, LoraConfig Config, Generator Generator, SharedTensors Shared);

/// <summary>
/// What ΔW is made of. A method is one file: a record that derives from this one, with the layer that computes its update, and one line
/// below that registers it. Its options are its properties: <c>Method = AdapterMethod.Lokr with { DecomposeFactor = 4 }</c>. One that is
/// written in a notebook is registered by <see cref="Register"/>.
/// </summary>
public abstract record AdapterMethod
{
    private static readonly Lock Gate = new();
    private static volatile IReadOnlyList<AdapterMethod> s_all = [];

    /// <summary>ΔW = s·B·A, two thin matrices (LoRA; for convolutions also called LoCon).</summary>
    public static LoraMethod Lora { get; } = Register(new LoraMethod());

    /// <summary>ΔW = s·(A₁·B₁) ⊙ (A₂·B₂), two low-rank matrices multiplied number by number (LoHa).</summary>
    public static LohaMethod Loha { get; } = Register(new LohaMethod());

    /// <summary>ΔW = s·W₁ ⊗ W₂, a Kronecker product of small matrices (LoKr).</summary>
    public static LokrMethod Lokr { get; } = Register(new LokrMethod());

    /// <summary>All methods, with their default options.</summary>
    public static IReadOnlyList<AdapterMethod> All => s_all;

    /// <summary>Its name: "Loha".</summary>
    public abstract string Name { get; }

    /// <summary>The names by which files know it.</summary>
    public abstract LoraDialect Dialect { get; }

    /// <summary>The settings that it honours.</summary>
    public abstract HonouredSettings Honours { get; }

    /// <summary>Whether a forward makes ΔW whole, which a training step keeps; otherwise it keeps r numbers per vector.</summary>
    public abstract bool FormsUpdate { get; }

    /// <summary>Makes the update of a layer, which begins as no change.</summary>
    public abstract LowRankLayer Create(AdapterSite site);

    /// <summary>‖ΔW‖ (Frobenius) without its scale; NaN where tensors are missing or do not fit each other.</summary>
    public abstract double Norm(UpdateNorm update);

    /// <summary>Why a layer cannot be adapted, after its path; <see langword="null"/> if it can. By default all but those that keep W transposed.</summary>
    public virtual string? WhyNot(WeightLayer layer)
    {
        ArgumentNullException.ThrowIfNull(layer);
        return layer is TransposedLinearLayer ? $"keeps its weight transposed, for which PEFT has no {Name}, expected {Lora} or other modules" : null;
    }

    /// <summary>The layout that settings mean; by default as it is for all methods.</summary>
    public virtual LayerLayout LayoutOf(LayerLayout common, LoraConfig config, WeightLayer layer) => common;

    /// <summary>The layout that the weights of a file mean; by default as it is for all methods.</summary>
    public virtual LayerLayout LayoutOf(LayerLayout common, LoraState state, WeightLayer layer) => common;

    /// <summary>Whether a weight is one of B, which LoRA+ trains faster; by default none is.</summary>
    /// <param name="name">Its name.</param>
    public virtual bool IsB(string name) => false;

    /// <summary>Why PEFT cannot be told what weights without settings mean; <see langword="null"/> (default) if it can.</summary>
    public virtual string? WhyNotPeft => null;

    /// <summary>The name of α in an adapter_config.json; default "alpha".</summary>
    public virtual string AlphaKey => "alpha";

    /// <summary>Faults of its options: what was got, what is expected. By default there are none.</summary>
    public virtual IEnumerable<string> Faults() => [];

    /// <summary>The method with the options of an adapter_config.json; by default it has none.</summary>
    public virtual AdapterMethod With(PeftFields fields) => this;

    /// <summary>The fields of an adapter_config.json that this method has beside those of all.</summary>
    public virtual IEnumerable<(string Key, JsonNode? Value)> Fields(LoraConfig config)
    {
        ArgumentNullException.ThrowIfNull(config);
        return Honours.HasFlag(HonouredSettings.EffectiveConv2d) ? [("use_effective_conv2d", config.UseEffectiveConv2d)] : [];
    }

    /// <summary>What PEFT expects to find beside, for an adapter that is not of a file.</summary>
    public virtual IEnumerable<(string Key, JsonNode? Value)> FieldsBeside(LoraConfig config) =>
        [("init_weights", true), ("module_dropout", PythonJson.Float(0)), ("rank_dropout", PythonJson.Float(0))];

    /// <summary>The name.</summary>
    public sealed override string ToString() => Name;

    /// <summary>
    /// Makes a method known to files, tools and settings. Registered a second time, e.g. by a cell that runs again, it takes the place of the first.
    /// </summary>
    /// <returns>The method.</returns>
    /// <exception cref="ArgumentException">Another method has its name or names of its tensors.</exception>
    public static T Register<T>(T method)
        where T : AdapterMethod
    {
        ArgumentNullException.ThrowIfNull(method);
        lock (Gate)
        {
            AdapterMethod[] others = [.. s_all.Where(other => other.Name != method.Name)];
            if (others.FirstOrDefault(other => other.Dialect.PeftType == method.Dialect.PeftType) is { } taken)
            {
                throw new ArgumentException($"{method.Name}: {taken.Name} already is PEFT's {method.Dialect.PeftType}, expected a type of its own.");
            }

            LoraNames.Add(method.Dialect);
            s_all = [.. others, method];
        }

        return method;
    }

    /// <summary>Takes a method away; files of its kind are no longer understood.</summary>
    /// <param name="method">The method.</param>
    public static void Unregister(AdapterMethod method)
    {
        ArgumentNullException.ThrowIfNull(method);
        lock (Gate)
        {
            LoraNames.Remove(method.Dialect);
            s_all = [.. s_all.Where(other => other.Name != method.Name)];
        }
    }

    /// <summary>The method of a name, in any case.</summary>
    /// <exception cref="ArgumentException">There is none; all are named.</exception>
    public static AdapterMethod Named(string name) => s_all.FirstOrDefault(method => string.Equals(method.Name, name, StringComparison.OrdinalIgnoreCase))
        ?? throw new ArgumentException($"Got method '{name}', expected one of {string.Join(", ", s_all)}.");

    /// <summary>What the weights of one module are made of, by their names: the first method but LoRA of which it has a tensor that tells the rank.</summary>
    internal static AdapterMethod Of(LoraState state, string module) =>
        s_all.Where(static method => method != Lora).FirstOrDefault(method => method.Dialect.Factors
            .Any(factor => factor.Has(FactorFacts.TellsRank | FactorFacts.NotesRank) && state.Tensors.ContainsKey($"{module}.{factor.Name}"))) ?? Lora;

    /// <summary>A companion for a layer, weight-decomposed if the layout says so.</summary>
    internal AdapterLayer CreateLayer(AdapterSite site)
    {
        var update = Create(site);
        return site.Layout.Magnitude is { } magnitude ? new DoraLayer(site.Layer, update, magnitude) : update;
    }

    /// <summary>Files are read before anybody names a method, so all are registered as soon as the library is loaded.</summary>
#pragma warning disable CA2255 // No tensor is touched, and nothing else could know of a method before the first file is read.
    [ModuleInitializer]
#pragma warning restore CA2255
    internal static void RegisterAll()
    {
        RuntimeHelpers.RunClassConstructor(typeof(AdapterMethod).TypeHandle);
        LoraNames.Add(DoraLayer.Dialect);
    }
}
