using LoraNotebooks.Adapters.Methods;
using LoraNotebooks.Formats;
using LoraNotebooks.Tensors;
using LoraNotebooks.Tensors.Convolutions;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace LoraNotebooks.Adapters;

/// <summary>
/// A frozen model with named adapters beside it. Each adapter adds w·(its part) to the outputs of the layers that it targets,
/// y = W·x + Σ w·s·B·A·x; several act at once, and each weight w can change at any time, also between two steps of a generation.
/// </summary>
/// <remarks>
/// Adapters attach by forward hooks, so the model's code stays as it is and the model is used as before. Hooks run through a module's
/// <c>call</c>, not through its <c>forward</c>: <see cref="Probe"/> tells targets that a model never calls.
/// </remarks>
public sealed partial class AdaptedModel : IDisposable
{
    private readonly IReadOnlyDictionary<string, nn.Module> _modules;
    private readonly List<string> _trainableBefore;
    private readonly SortedDictionary<string, Adapter> _adapters = new(StringComparer.Ordinal);
    private readonly OrderedDictionary<string, AttachmentPoint> _points = new(StringComparer.Ordinal);
    private readonly Dictionary<string, BaseLayer> _layers = new(StringComparer.Ordinal);
    private bool _enabled = true;
    private bool _disposed;

    /// <summary>Freezes a model, so that only adapters train; disposing this gives it back as it was.</summary>
    /// <param name="baseModel">The model, which stays the caller's.</param>
    public AdaptedModel(nn.Module baseModel)
    {
        ArgumentNullException.ThrowIfNull(baseModel);
        BaseModel = baseModel;
        _modules = new OrderedDictionary<string, nn.Module>(
            baseModel.named_modules().Select(static m => KeyValuePair.Create(m.name, m.module)), StringComparer.Ordinal);
        _trainableBefore = [.. baseModel.named_parameters().Where(static p => p.parameter.requires_grad).Select(static p => p.name)];
        SetTrainable(_trainableBefore, trainable: false);
        if (MiscomputedLayers.Message(_modules) is { } warning)
        {
            CheckedConvolution.Engine.Tell(warning);
        }
    }

    /// <summary>The model underneath.</summary>
    public nn.Module BaseModel { get; }

    /// <summary>The paths of all modules of the base model.</summary>
    public IReadOnlyCollection<string> ModulePaths => [.. _modules.Keys];

    /// <summary>The adapters' names.</summary>
    public IReadOnlyCollection<string> Names => _adapters.Keys;

    /// <summary>Whether adapters act; default yes. Without, the model is the base, bit for bit.</summary>
    /// <exception cref="InvalidOperationException">Adapters are merged: unmerge them first.</exception>
    public bool Enabled
    {
        get => _enabled;
        set
        {
            RequireUnmerged("switched on or off", _adapters.Values);
            _enabled = value;
        }
    }

    /// <summary>Adds an adapter that begins as no change, B = 0, and in training mode.</summary>
    /// <param name="name">A name that no other adapter has.</param>
    /// <param name="config">Its settings.</param>
    /// <param name="generator">Draws A; also seeds the dropout.</param>
    /// <exception cref="ArgumentException">The name is taken, the settings have faults or do not fit the model; all faults are listed.</exception>
    public void Add(string name, LoraConfig config, Generator generator)
    {
        ArgumentNullException.ThrowIfNull(config);
        ArgumentNullException.ThrowIfNull(generator);
        Attach(Create(name, config, target => LayerLayout.Of(config, target), generator));
    }

    /// <summary>Takes an adapter away.</summary>
    /// <exception cref="ArgumentException">There is no such adapter.</exception>
    /// <exception cref="InvalidOperationException">It is merged: unmerge it first.</exception>
    public void Remove(string name)
    {
        var adapter = Find(name);
        RequireUnmerged("removed", [adapter]);
        _adapters.Remove(name);
        foreach (var (path, point) in _points.ToList())
        {
            point.Remove(adapter);
            if (point.IsEmpty)
            {
                point.Dispose();
                _points.Remove(path);
            }
        }

        adapter.Dispose();
    }

    /// <summary>w of an adapter, 1 at first.</summary>
    /// <exception cref="ArgumentException">There is no such adapter.</exception>
    public double GetWeight(string name) => Find(name).Weight;

    /// <summary>Changes w of an adapter: 0 is the base, 1 the adapter as trained, more or negative exaggerates or reverses it.</summary>
    /// <exception cref="ArgumentException">There is no such adapter, or the weight is not a finite number.</exception>
    /// <exception cref="InvalidOperationException">It is merged: unmerge it first.</exception>
    public void SetWeight(string name, double weight)
    {
        var adapter = Find(name);
        if (!double.IsFinite(weight))
        {
            throw new ArgumentException($"Got weight {weight} for adapter '{name}', expected a finite number.");
        }

        RequireUnmerged("given another weight", [adapter]);
        adapter.Weight = weight;
    }

    /// <summary>The settings of an adapter.</summary>
    /// <exception cref="ArgumentException">There is no such adapter.</exception>
    public LoraConfig GetConfig(string name) => Find(name).Config;

    /// <summary>An adapter's layers, in the model's order; a layer with a trained bias comes twice.</summary>
    /// <exception cref="ArgumentException">There is no such adapter.</exception>
    public IReadOnlyList<AdapterLayer> GetLayers(string name) => Find(name).Layers;

    /// <summary>What an optimizer of this adapter trains.</summary>
    /// <exception cref="ArgumentException">There is no such adapter.</exception>
    public IReadOnlyList<Parameter> TrainableParameters(string name) =>
        [.. NamedParameters(name).Select(static p => p.Parameter).Where(static p => p.requires_grad)];

    /// <summary>An adapter's weights by name, e.g. "mid_block.attentions.0.proj_in.lora_A.weight".</summary>
    /// <exception cref="ArgumentException">There is no such adapter.</exception>
    public IEnumerable<(string Name, Parameter Parameter)> NamedParameters(string name) =>
        Find(name).Layers.SelectMany(static layer => layer.Parameters.Select(pair => ($"{layer.Path}.{pair.Key}", pair.Value)));

    /// <summary>Switches the adapters' dropout on; the base model has its own switch.</summary>
    public void Train() => SetTraining(true);

    /// <summary>Switches the adapters' dropout off.</summary>
    public void Eval() => SetTraining(false);

    /// <summary>Starts the random numbers of an adapter's dropout anew, so that a forward does not depend on those before.</summary>
    /// <param name="name">The adapter.</param>
    /// <param name="seed">The seed of the first layer; the others have the next numbers.</param>
    /// <exception cref="ArgumentException">There is no such adapter.</exception>
    public void SeedDropout(string name, long seed)
    {
        foreach (var layer in Find(name).Layers)
        {
            layer.SeedDropout(seed++);
        }
    }

    /// <summary>Seeds an adapter of several networks anew, each with a factor of its own, so that no two drop the same numbers.</summary>
    /// <param name="networks">The networks, in their order, with the adapter's name in each.</param>
    /// <param name="seed">The seed.</param>
    internal static void SeedDropout(IEnumerable<(AdaptedModel Model, string Adapter)> networks, long seed)
    {
        foreach (var (index, (model, adapter)) in networks.Index())
        {
            model.SeedDropout(adapter, unchecked(seed * (31 + 6 * index)));
        }
    }

    /// <summary>Moves the adapters' weights; the base model is moved by itself. Make optimizers after this.</summary>
    /// <param name="device">The device.</param>
    public void To(Device device)
    {
        foreach (var layer in _adapters.Values.SelectMany(static adapter => adapter.Layers))
        {
            layer.To(device);
        }
    }

    /// <summary>Runs a forward and checks that it came through every adapted layer.</summary>
    /// <param name="forward">Runs the model once, on any input.</param>
    /// <exception cref="InvalidOperationException">Some layers were never called; all are named.</exception>
    public void Probe(Action forward)
    {
        ArgumentNullException.ThrowIfNull(forward);
        foreach (var point in _points.Values)
        {
            point.WasReached = false;
        }

        using (NewDisposeScope())
        using (no_grad())
        {
            forward();
        }

        var unreached = _points.Where(static pair => !pair.Value.WasReached).Select(static pair => pair.Key).ToList();
        if (unreached.Count > 0)
        {
            throw new InvalidOperationException(
                $"The forward did not come through {unreached.Count} of {_points.Count} adapted layers, "
                + $"so their adapters have no effect:\n{Listing.Lines(unreached)}\n"
                + "Expected the model to run each of them by its call method, not by forward. Exclude them from the target modules, or change the model.");
        }
    }

    /// <summary>What an adapter trains, in numbers.</summary>
    /// <exception cref="ArgumentException">There is no such adapter.</exception>
    public AdapterReport Report(string name) => new(
        name,
        [.. Find(name).Layers.Where(static layer => layer is not CarriedLayer).Select(layer =>
        {
            var point = _points[layer.Path].BaseLayer;
            var shape = layer is BiasLayer || point is not WeightLayer whole ? point.Bias!.shape : whole.Weight.shape;
            var count = layer.Parameters.Values.Sum(static p => p.numel());
            return new AdapterReportRow(
                layer.Path, _modules[layer.Path].GetName(), shape, LowRank(layer)?.Rank, LowRank(layer)?.Alpha,
                count, 100.0 * count / shape.Aggregate(1L, static (product, size) => product * size));
        })],
        BaseModel.parameters().Sum(static p => p.numel()));

    /// <summary>Takes all adapters away, unmerges, and gives the model back as it was.</summary>
    public void Dispose()
    {
        if (_disposed)
        {
            return;
        }

        _disposed = true;
        Unmerge();
        foreach (var name in _adapters.Keys.ToList())
        {
            Remove(name);
        }

        SetTrainable(_trainableBefore, trainable: true);
    }

    private ILayerRoles? Roles => BaseModel as ILayerRoles;

    private static LowRankLayer? LowRank(AdapterLayer layer) => layer is DoraLayer dora ? dora.Update : layer as LowRankLayer;

    /// <summary>Makes an adapter's layers.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="config">Its settings.</param>
    /// <param name="layout">How a layer is laid out; <see langword="null"/> where it has no part.</param>
    /// <param name="generator">Draws what does not begin at zero.</param>
    /// <param name="state">The file that it comes from; default none, and then each name in the settings must mean something.</param>
    private Adapter Create(string name, LoraConfig config, Func<WeightLayer, LayerLayout?> layout, Generator generator, LoraState? state = null)
    {
        RequireNew(name);
        config.ThrowIfInvalid();
        var finder = new TargetFinder(_modules, Roles);
        var targets = finder.Targets(config, strict: state is null)
            .Select(Shared)
            .Select(target => (Layer: target, Layout: layout(target)))
            .Where(static target => target.Layout is not null)
            .ToList();
        var saved = finder.Saved(config).Select(Shared).ToList();
        var biased = finder.Biased(config, [.. targets.Select(static target => target.Layer)]).Select(Shared).ToList();
        var carried = targets.Select(static target => target.Layer)
            .Where(layer => state?.Tensors.ContainsKey($"{layer.Path}.{CarriedLayer.Name}") == true)
            .ToList();
        var adapted = targets.Select(static target => target.Layer.Path).ToHashSet(StringComparer.Ordinal);
        var layers = new List<AdapterLayer>();
        var shared = new SharedTensors();
        try
        {
            foreach (var (target, its) in targets)
            {
                layers.Add(its!.Method.CreateLayer(new AdapterSite(target, its, config, generator, shared)));
            }

            layers.AddRange(carried.Select(static layer => new CarriedLayer(layer)));
            layers.AddRange(saved.Select(static layer => new WholeLayer(layer)));
            layers.AddRange(biased.Select(layer => new BiasLayer(layer, adapted.Contains(layer.Path))));
            return new Adapter(
                name,
                state is null ? config with { FanInFanOut = targets.Exists(static target => target.Layer is TransposedLinearLayer) } : config,
                layers,
                shared);
        }
        catch
        {
            layers.ForEach(static layer => layer.Dispose());
            shared.Dispose();
            throw;
        }
    }

    private void RequireNew(string name)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        ArgumentException.ThrowIfNullOrWhiteSpace(name);
        if (_adapters.ContainsKey(name))
        {
            throw new ArgumentException($"There is an adapter '{name}' already. Remove it first or take another name.");
        }
    }

    /// <summary>All adapters see a layer by one object: it knows the weights from before a merge of any of them.</summary>
    private T Shared<T>(T layer)
        where T : BaseLayer
    {
        _layers.TryAdd(layer.Path, layer);
        return (T)_layers[layer.Path];
    }

    private void Attach(Adapter adapter)
    {
        _adapters.Add(adapter.Name, adapter);
        foreach (var layer in adapter.Layers)
        {
            if (!_points.TryGetValue(layer.Path, out var point))
            {
                point = new AttachmentPoint(_layers[layer.Path], () => _enabled);
                _points.Add(layer.Path, point);
            }

            point.Add(adapter, layer);
        }
    }

    private Adapter Find(string name) => _adapters.TryGetValue(name, out var adapter)
        ? adapter
        : throw new ArgumentException(
            $"There is no adapter '{name}'; there {(_adapters.Count == 0 ? "are none" : $"are '{string.Join("', '", _adapters.Keys)}'")}.");

    private void SetTraining(bool training)
    {
        foreach (var layer in _adapters.Values.SelectMany(static adapter => adapter.Layers))
        {
            layer.Training = training;
        }
    }

    private void SetTrainable(IEnumerable<string> names, bool trainable)
    {
        foreach (var name in names)
        {
            // A model that was disposed before its adapters has nothing left to give back.
            if (BaseModel.get_parameter(name) is { IsInvalid: false } parameter)
            {
                parameter.requires_grad = trainable;
            }
        }
    }
}
