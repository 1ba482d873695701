using LoraNotebooks.Tensors;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace LoraNotebooks.Adapters;

/// <summary>Where adapters hang on one module of the base: a forward hook, whose return value takes the place of the module's output.</summary>
internal sealed class AttachmentPoint : IDisposable
{
    private readonly List<(Adapter Adapter, AdapterLayer Layer)> _parts = [];
    private readonly HookableModule<Func<Module<Tensor, Tensor>, Tensor, Tensor>, Func<Module<Tensor, Tensor>, Tensor, Tensor, Tensor>>.HookRemover _hook;
    private readonly Func<bool> _isEnabled;

    /// <summary>Hooks a layer.</summary>
    /// <param name="baseLayer">The layer.</param>
    /// <param name="isEnabled">Whether adapters act at all, asked at each forward.</param>
    public AttachmentPoint(BaseLayer baseLayer, Func<bool> isEnabled)
    {
        BaseLayer = baseLayer;
        _isEnabled = isEnabled;
        _hook = baseLayer.Module.register_forward_hook(Adapt);
    }

    public BaseLayer BaseLayer { get; }

    /// <summary>Whether a forward has come through here. It does not if the model runs the module's <c>forward</c> in place of its <c>call</c>.</summary>
    public bool WasReached { get; set; }

    public bool IsEmpty => _parts.Count == 0;

    public void Add(Adapter adapter, AdapterLayer layer) => _parts.Add((adapter, layer));

    public void Remove(Adapter adapter) => _parts.RemoveAll(part => part.Adapter == adapter);

    /// <summary>Σ w·ΔW and Σ w·Δb over some adapters; <see langword="null"/> where none has a part.</summary>
    public (Tensor? Weight, Tensor? Bias) Deltas(IReadOnlyCollection<Adapter> adapters)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        Tensor? weight = null, bias = null;
        foreach (var (adapter, layer) in _parts.Where(part => adapters.Contains(part.Adapter)))
        {
            weight = Sum(weight, layer.WeightDelta(), adapter.Weight);
            bias = Sum(bias, layer.BiasDelta(), adapter.Weight);
        }

        return (weight?.MoveToOuterDisposeScope(), bias?.MoveToOuterDisposeScope());
    }

    public void Dispose()
    {
        _hook.remove();
        BaseLayer.Dispose();
    }

    /// <summary>f(x; W) + b + Σ w·(each adapter's part).</summary>
    private Tensor Adapt(Module<Tensor, Tensor> module, Tensor x, Tensor y)
    {
        WasReached = true;
        if (!_isEnabled())
        {
            return y;
        }

        foreach (var (adapter, layer) in _parts)
        {
            if (!adapter.IsMerged && adapter.Weight != 0)
            {
                y = layer.Add(y, x, adapter.Weight);
            }
        }

        return y;
    }

    private static Tensor? Sum(Tensor? sum, Tensor? delta, double weight) =>
        delta is null ? sum : sum is null ? delta.Times(weight) : sum.Plus(delta.Times(weight));
}
