using System.Diagnostics;
using LoraNotebooks.Models.Diffusion;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Benchmarks;

/// <summary>Times the layers of a UNet through hooks, by kind, and counts the floating-point operations of its products.</summary>
internal sealed class ModuleProfile : IDisposable
{
    private readonly Dictionary<string, (double Seconds, double Flops)> _kinds = [];
    private readonly Stack<(long Started, double Inner)> _open = [];
    private readonly List<Action> _removers = [];

    /// <summary>Hooks every layer.</summary>
    public ModuleProfile(Module network)
    {
        foreach (var module in network.modules())
        {
            switch (module)
            {
                case TorchSharp.Modules.Conv2d convolution:
                    Watch(convolution, "convolutions", (x, y) => 2.0 * y.numel() * (convolution.weight!.numel() / convolution.weight.size(0)));
                    break;
                case TorchSharp.Modules.Linear linear:
                    Watch(linear, "linear layers", (x, y) => 2.0 * y.numel() * linear.weight!.size(1));
                    break;
                case TorchSharp.Modules.GroupNorm or TorchSharp.Modules.LayerNorm:
                    Watch((Module<Tensor, Tensor>)module, "norms", static (_, _) => 0);
                    break;
                case Attention attention:
                    var before = attention.register_forward_pre_hook((_, x, context) =>
                    {
                        Start();
                        return (x, context);
                    });
                    var after = attention.register_forward_hook((_, x, context, y) =>
                    {
                        // QKᵀ and the weighted sum of V: 2 · 2 · N · T · S · heads · d.
                        End("attention products, softmax", 4.0 * y.numel() * context.size(1));
                        return y;
                    });
                    _removers.AddRange([before.remove, after.remove]);
                    break;
            }
        }
    }

    /// <summary>Operations in all, a multiplication and an addition being two.</summary>
    public double Flops => _kinds.Values.Sum(static kind => kind.Flops);

    /// <summary>What each kind took itself, without the layers inside it.</summary>
    public IEnumerable<(string Kind, double Seconds, double Flops)> Kinds =>
        _kinds.OrderByDescending(static pair => pair.Value.Seconds).Select(static pair => (pair.Key, pair.Value.Seconds, pair.Value.Flops));

    public void Dispose() => _removers.ForEach(static remove => remove());

    private void Watch(Module<Tensor, Tensor> module, string kind, Func<Tensor, Tensor, double> flops)
    {
        var before = module.register_forward_pre_hook((_, x) =>
        {
            Start();
            return x;
        });
        var after = module.register_forward_hook((_, x, y) =>
        {
            End(kind, flops(x, y));
            return y;
        });
        _removers.AddRange([before.remove, after.remove]);
    }

    private void Start() => _open.Push((Stopwatch.GetTimestamp(), 0));

    private void End(string kind, double flops)
    {
        var (started, inner) = _open.Pop();
        var whole = Stopwatch.GetElapsedTime(started).TotalSeconds;
        var (seconds, operations) = _kinds.GetValueOrDefault(kind);
        _kinds[kind] = (seconds + whole - inner, operations + flops);
        if (_open.TryPop(out var outer))
        {
            _open.Push((outer.Started, outer.Inner + whole));
        }
    }
}
