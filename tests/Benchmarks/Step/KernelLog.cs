using System.Diagnostics;
using LoraNotebooks.Models.Diffusion;
using LoraNotebooks.Tensors.Convolutions;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Benchmarks.Step;

/// <summary>Hooks the layers of a UNet: which kernels a pass needs, how often, and what each kind of layer takes within the pass.</summary>
internal sealed class KernelLog : IDisposable
{
    private readonly Dictionary<string, double> _seconds = [];
    private readonly Stack<(long Started, double Inner)> _open = [];
    private readonly List<Action> _removers = [];
    private readonly List<Kernel> _kernels = [];

    /// <summary>Hooks every layer.</summary>
    public KernelLog(Module network)
    {
        foreach (var module in network.modules())
        {
            switch (module)
            {
                case CheckedConv2d convolution:
                    Watch(convolution, (x, y) => Of(convolution, x, y));
                    break;
                case TorchSharp.Modules.Linear linear:
                    Watch(linear, (x, y) => new LinearKernel(y.numel() / y.size(-1), x.size(-1), y.size(-1), x.requires_grad));
                    break;
                case TorchSharp.Modules.GroupNorm or TorchSharp.Modules.LayerNorm:
                    Watch((Module<Tensor, Tensor>)module, static (_, _) => null);
                    break;
                case Attention attention:
                    var before = attention.register_forward_pre_hook((_, x, context) =>
                    {
                        Start();
                        return (x, context);
                    });
                    var after = attention.register_forward_hook((_, x, context, y) =>
                    {
                        // Inner sizes are those of the projections, which have been seen by now.
                        var inner = ((LinearKernel)_kernels.FindLast(static kernel => kernel is LinearKernel)!).Inputs;
                        End("attention", new AttentionKernel(y.size(0), attention.Heads, y.size(1), context.size(1), inner / attention.Heads, y.requires_grad));
                        return y;
                    });
                    _removers.AddRange([before.remove, after.remove]);
                    break;
            }
        }
    }

    /// <summary>The kernels of the passes so far, and how often each was needed.</summary>
    public IReadOnlyDictionary<Kernel, int> Kernels => _kernels.CountBy(static kernel => kernel).ToDictionary();

    /// <summary>What each kind of layer took itself, without the layers inside it.</summary>
    public IReadOnlyDictionary<string, double> Seconds => _seconds;

    public void Dispose() => _removers.ForEach(static remove => remove());

    private static ConvolutionKernel Of(CheckedConv2d convolution, Tensor x, Tensor y) => new(
        x.size(0), x.size(1), x.size(2), x.size(3), y.size(1), convolution.Weight.size(2), convolution.Geometry.Stride.Y, convolution.Geometry.Padding.Y, x.requires_grad);

    private void Watch(Module<Tensor, Tensor> module, Func<Tensor, Tensor, Kernel?> kernel)
    {
        var before = module.register_forward_pre_hook((_, x) =>
        {
            Start();
            return x;
        });
        var after = module.register_forward_hook((_, x, y) =>
        {
            var found = kernel(x, y);
            End(found?.Kind ?? "norms", found);
            return y;
        });
        _removers.AddRange([before.remove, after.remove]);
    }

    private void Start() => _open.Push((Stopwatch.GetTimestamp(), 0));

    private void End(string kind, Kernel? kernel)
    {
        var (started, inner) = _open.Pop();
        var whole = Stopwatch.GetElapsedTime(started).TotalSeconds;
        _seconds[kind] = _seconds.GetValueOrDefault(kind) + whole - inner;
        if (kernel is not null)
        {
            _kernels.Add(kernel);
        }

        if (_open.TryPop(out var outer))
        {
            _open.Push((outer.Started, outer.Inner + whole));
        }
    }
}
