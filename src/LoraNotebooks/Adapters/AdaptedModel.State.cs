using LoraNotebooks.Formats;
using static TorchSharp.torch;

namespace LoraNotebooks.Adapters;

/// <content>Adapters to and from the neutral form that files are read into.</content>
public sealed partial class AdaptedModel
{
    /// <summary>A copy of an adapter's weights and settings.</summary>
    /// <exception cref="ArgumentException">There is no such adapter.</exception>
    public LoraState ToState(string name)
    {
        var adapter = Find(name);
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var tensors = NamedParameters(name)
            .ToDictionary(static p => p.Name, static p => p.Parameter.detach().clone().DetachFromDisposeScope(), StringComparer.Ordinal);

        // α as files understand it, with s = α/r: for rank-stabilized LoRA that is α·√r.
        var alphas = adapter.Layers.Select(LowRank).OfType<LowRankLayer>().ToDictionary(
            static layer => layer.Path, layer => adapter.Config.UseRsLora ? layer.Scale * layer.Rank : layer.Alpha, StringComparer.Ordinal);
        return new LoraState(tensors, alphas, adapter.Config.ToPeftJson());
    }

    /// <summary>Adds an adapter with weights from a file; its dropout is off until <see cref="Train"/>.</summary>
    /// <param name="name">A name that no other adapter has.</param>
    /// <param name="state">What was read; it stays the caller's.</param>
    /// <exception cref="ArgumentException">The name is taken.</exception>
    /// <exception cref="InvalidDataException">
    /// The settings have faults or do not fit the model, or weights are missing, unexpected or of another shape: all are listed, and nothing is added.
    /// </exception>
    public void Add(string name, LoraState state)
    {
        ArgumentNullException.ThrowIfNull(state);
        using var scope = NewDisposeScope();
        var config = state.Config is { } json ? LoraConfig.FromPeftJson(json) : LoraConfig.FromState(state);
        using var generator = new Generator();
        RequireNew(name);
        Adapter adapter;
        try
        {
            adapter = Create(name, config, state.Config is null ? target => LayerLayout.Of(state, target) : LayoutOf(config, state), generator, state);
        }
        catch (ArgumentException fault)
        {
            throw new InvalidDataException($"The settings of adapter '{name}' do not fit this model. {fault.Message}", fault);
        }

        try
        {
            Load(adapter, state);
        }
        catch
        {
            adapter.Dispose();
            throw;
        }

        foreach (var layer in adapter.Layers)
        {
            layer.Training = false;
        }

        Attach(adapter);
    }

    /// <summary>Replaces the weights of an adapter, e.g. by those of a checkpoint.</summary>
    /// <param name="name">The adapter.</param>
    /// <param name="state">What <see cref="ToState"/> gave, or a file's.</param>
    /// <exception cref="InvalidDataException">Weights are missing, unexpected or of another shape: all are listed, and nothing is changed.</exception>
    public void LoadState(string name, LoraState state)
    {
        ArgumentNullException.ThrowIfNull(state);
        var adapter = Find(name);
        RequireUnmerged("loaded", [adapter]);
        Load(adapter, state);
    }

    /// <summary>How an adapter's settings lay out a layer. Ranks beyond those of its weights are refused before anything of that size is allocated.</summary>
    private static Func<WeightLayer, LayerLayout?> LayoutOf(LoraConfig config, LoraState state)
    {
        var firstSizes = state.Tensors
            .Where(static pair => pair.Key.Contains(".lora_A", StringComparison.Ordinal) || pair.Key.Contains(".lora_embedding_A", StringComparison.Ordinal))
            .Select(static pair => pair.Value.shape.FirstOrDefault());
        var most = firstSizes.DefaultIfEmpty(state.Tensors.Values.SelectMany(static tensor => tensor.shape).DefaultIfEmpty(0).Max()).Max();
        return layer => config.RankOf(layer.Path) is var rank && rank <= most
            ? LayerLayout.Of(config, layer) with { MostNumbers = LayerLayout.NumbersIn(state, layer.Path) }
            : throw new InvalidDataException(
                $"The adapter's configuration gives {layer.Path} rank {rank}, its weights have at most {most}: "
                + "expected a configuration and weights that belong together.");
    }

    private static void Load(Adapter adapter, LoraState state)
    {
        var parameters = adapter.Layers
            .SelectMany(static layer => layer.Parameters.Select(pair => (Name: $"{layer.Path}.{pair.Key}", pair.Value)))
            .ToDictionary(static p => p.Name, static p => p.Value, StringComparer.Ordinal);
        var faults = new Faults();
        faults.AddRange(parameters.Keys.Where(name => !state.Tensors.ContainsKey(name)).Order(StringComparer.Ordinal)
            .Select(name => $"missing: {name} {Shapes.Text(parameters[name].shape)}"));
        faults.AddRange(state.Tensors.Keys.Where(name => !parameters.ContainsKey(name)).Order(StringComparer.Ordinal)
            .Select(name => $"unexpected: {name} {Shapes.Text(state.Tensors[name].shape)}"));
        faults.AddRange(parameters.Where(pair => state.Tensors.TryGetValue(pair.Key, out var tensor) && !tensor.shape.SequenceEqual(pair.Value.shape))
            .Select(pair => $"wrong shape: {pair.Key} is {Shapes.Text(state.Tensors[pair.Key].shape)}, expected {Shapes.Text(pair.Value.shape)}"));
        Faults.ThrowIfAny(faults, found => new InvalidDataException(
            $"The weights of adapter '{adapter.Name}' do not fit ({Listing.Count(found.Count, "fault")}); "
            + $"was it trained for another model?\n{Listing.Lines(found)}"));

        using var noGrad = no_grad();
        foreach (var (name, parameter) in parameters)
        {
            parameter.copy_(state.Tensors[name]);
        }
    }
}
