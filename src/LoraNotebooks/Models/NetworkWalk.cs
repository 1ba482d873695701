using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Models;

/// <summary>What an adapter does beside a layer.</summary>
/// <param name="Rank">r of the thin product that it adds to the output; 0 where it forms ΔW.</param>
/// <param name="WeightSize">The numbers of ΔW where it forms it, else 0.</param>
internal readonly record struct LayerCompanion(int Rank, long WeightSize);

/// <summary>What the tensors of a network's forward take, told from its configuration alone.</summary>
/// <param name="ledger">Where they are noted.</param>
internal abstract class NetworkWalk(TensorLedger ledger)
{
    private const int TensorsOfFormedUpdate = 3;

    /// <summary>The adapter's companion of a layer, by the layer's path. Default none has one.</summary>
    public Func<string, LayerCompanion?> Companion { get; init; } = static _ => null;

    /// <summary>Told the path of each layer with weights and the numbers of its output, in the order of the forward. Default nobody.</summary>
    public Action<string, double> LayerDone { get; init; } = static (_, _) => { };

    /// <summary>The ledger.</summary>
    protected TensorLedger Ledger { get; } = ledger;

    /// <summary>Group or layer norm: as many numbers as it reads.</summary>
    protected LedgerEntry Norm(string path, LedgerEntry x)
    {
        var y = Ledger.MakeSaving(x.Numbers, x);
        LayerDone(path, y.Numbers);
        return y;
    }

    /// <summary>An activation of one input, which its backward pass reads.</summary>
    protected LedgerEntry Activation(LedgerEntry x) => Ledger.MakeSaving(x.Numbers, x);

    /// <summary>A frozen linear layer; its backward pass reads the weight alone.</summary>
    /// <param name="path">The layer's path.</param>
    /// <param name="x">The input.</param>
    /// <param name="rows">How many vectors there are.</param>
    /// <param name="size">The size of an output.</param>
    protected LedgerEntry Linear(string path, LedgerEntry x, double rows, double size)
    {
        // The base's output stays until the caller's scope ends, also where an adapter's sum takes its place.
        var y = Ledger.Make(rows * size, x);
        LayerDone(path, y.Numbers);
        if (Companion(path) is not { } companion)
        {
            return y;
        }

        using var scope = Ledger.NewScope();
        if (companion.Rank == 0)
        {
            return scope.Out(WithFormedUpdate(x, y, companion.WeightSize));
        }

        // h = A·x, then y + s·B·h in one pass: into y where nothing is recorded yet, else into a new tensor.
        var h = Ledger.MakeTrained(rows * companion.Rank, x);
        if (y.NeedsGradient)
        {
            return scope.Out(Ledger.MakeTrained(y.Numbers, h));
        }

        Trained(y, h);
        return y;
    }

    /// <summary>A frozen convolution; its backward pass keeps the input, too, although only the weight is needed.</summary>
    /// <param name="path">The layer's path.</param>
    /// <param name="x">The input.</param>
    /// <param name="pixels">N·H·W of the output.</param>
    /// <param name="channels">The channels of the output.</param>
    protected LedgerEntry Convolution(string path, LedgerEntry x, double pixels, double channels)
    {
        var y = Ledger.MakeSaving(pixels * channels, x);
        LayerDone(path, y.Numbers);
        if (Companion(path) is not { } companion)
        {
            return y;
        }

        using var scope = Ledger.NewScope();
        if (companion.Rank == 0)
        {
            return scope.Out(WithFormedUpdate(x, y, companion.WeightSize));
        }

        var h = Ledger.MakeTrained(pixels * companion.Rank, x);
        Ledger.MakeTrained(y.Numbers, h);
        Trained(y);
        return y;
    }

    /// <summary>softmax(QKᵀ/√d)·V, see <see cref="ScaledDotProduct"/>.</summary>
    /// <param name="q">Q, of N·T vectors.</param>
    /// <param name="k">K, of N·S vectors.</param>
    /// <param name="v">V, likewise.</param>
    /// <param name="scores">N·heads·T·S.</param>
    /// <param name="heads">N·heads·T.</param>
    /// <param name="isFused">Whether the kernel is used that stores no scores.</param>
    protected LedgerEntry Attend(LedgerEntry q, LedgerEntry k, LedgerEntry v, double scores, double heads, bool isFused)
    {
        using var scope = Ledger.NewScope();
        if (isFused)
        {
            var attended = Ledger.MakeSaving(q.Numbers, q, k, v);
            var sums = Ledger.Make(heads * sizeof(float) / Ledger.NumberSize, q);
            if (attended.NeedsGradient)
            {
                Ledger.Save(attended, sums);
            }

            return scope.Out(attended);
        }

        var scaled = Ledger.Make(k.Numbers, k);
        var products = Ledger.MakeSaving(scores, q, scaled);
        var weights = Ledger.Make(scores, products);
        var sum = Ledger.MakeSaving(q.Numbers, weights, v);
        return scope.Out(Ledger.Make(q.Numbers, sum));
    }

    /// <summary>Whether the attention of these sizes stores no scores on a device.</summary>
    protected static bool IsFused(ScalarType type, DeviceType device, double scores) => ScaledDotProduct.IsFused(device, type, (long)scores);

    private LedgerEntry WithFormedUpdate(LedgerEntry x, LedgerEntry y, double weightSize)
    {
        var update = Ledger.MakeTrained(TensorsOfFormedUpdate * weightSize);
        var part = Ledger.MakeTrained(y.Numbers, x, update);
        return Ledger.Make(y.Numbers, y, part);
    }

    private void Trained(LedgerEntry y, params ReadOnlySpan<LedgerEntry> read)
    {
        if (Ledger.RecordsGradients)
        {
            y.NeedsGradient = true;
            Ledger.Save(read);
        }
    }
}
