using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace LoraNotebooks.Tests.Adapters;

/// <summary>A network with one layer of each kind that adapters change, and a norm.</summary>
internal sealed class TinyNetwork : Module<Tensor, Tensor, Tensor>
{
    private readonly Module<Tensor, Tensor> token;
    private readonly Module<Tensor, Tensor> to_q;
    private readonly Module<Tensor, Tensor> to_out;
    private readonly Module<Tensor, Tensor> conv;
    private readonly Module<Tensor, Tensor> norm;
    private readonly bool _callsToOut;

    /// <param name="conv">The convolution, from 4 channels to any number; by default 3×3 with stride 2.</param>
    /// <param name="callsToOut">Whether to_out is run by call, as hooks need it, or by forward.</param>
    public TinyNetwork(Module<Tensor, Tensor>? conv = null, bool callsToOut = true)
        : base(nameof(TinyNetwork))
    {
        token = Embedding(9, 6);
        to_q = Linear(6, 8, hasBias: false);
        to_out = Linear(8, 4);
        this.conv = conv ?? Conv2d(4, 6, 3, stride: 2, padding: 1);
        norm = GroupNorm(2, this.conv.get_parameter("weight")!.size(0));
        _callsToOut = callsToOut;
        RegisterComponents();
        using var generator = new Generator(3);
        using var noGrad = no_grad();
        foreach (var parameter in parameters())
        {
            parameter.normal_(0, 0.4, generator);
        }
    }

    public static Tensor Ids => tensor(new long[] { 1, 4, 2, 8 }, [2, 2]);

    public static Tensor Image => linspace(-1, 1, 2 * 4 * 6 * 6).view(2, 4, 6, 6).sin();

    /// <param name="ids">[N, T].</param>
    /// <param name="image">[N, 4, H, W].</param>
    public override Tensor forward(Tensor ids, Tensor image)
    {
        using var scope = NewDisposeScope();
        var q = functional.silu(to_q.call(token.call(ids)));
        var scale = (_callsToOut ? to_out.call(q) : to_out.forward(q)).mean([1]).unsqueeze(-1).unsqueeze(-1);
        return norm.call(conv.call(image * scale)).MoveToOuterDisposeScope();
    }

    public Tensor Run() => call(Ids, Image);
}
