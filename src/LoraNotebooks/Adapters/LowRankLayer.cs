using LoraNotebooks.Tensors;
using static TorchSharp.torch;

namespace LoraNotebooks.Adapters;

/// <summary>An update whose ΔW is a product of small factors, scaled by s = α/r.</summary>
/// <param name="baseLayer">The layer.</param>
/// <param name="layout">How the update is laid out.</param>
public abstract class LowRankLayer(WeightLayer baseLayer, LayerLayout layout) : AdapterLayer(baseLayer.Path)
{
    /// <summary>r.</summary>
    public int Rank => Layout.Rank;

    /// <summary>α.</summary>
    public double Alpha => Layout.Alpha;

    /// <summary>s: α/r, or α/√r for rank-stabilized LoRA.</summary>
    public double Scale => Layout.Scale;

    /// <summary>How the update is laid out.</summary>
    public LayerLayout Layout { get; } = layout;

    /// <summary>The frozen layer.</summary>
    protected WeightLayer BaseLayer { get; } = baseLayer;

    /// <summary>ΔW.</summary>
    public abstract override Tensor WeightDelta();

    /// <summary>y + w·f(x; ΔW). A method that need not form ΔW has a cheaper way.</summary>
    public override Tensor Add(Tensor y, Tensor x, double weight)
    {
        using var scope = NewDisposeScope();
        var dropped = x.is_floating_point() ? Dropout(x) : x;
        return y.Plus(BaseLayer.Apply(dropped, WeightDelta().to(y.dtype)), times: weight).MoveToOuterDisposeScope();
    }

    /// <summary>Multiplies ΔW by a factor, in place; a method that honours <see cref="HonouredSettings.NormBound"/> can. Call it without gradients.</summary>
    /// <param name="factor">The factor.</param>
    /// <returns>Whether it can; by default not.</returns>
    public virtual bool ScaleUpdate(double factor) => false;

    /// <summary>The layer's input with some numbers zeroed, in training.</summary>
    protected internal virtual Tensor Dropout(Tensor x) => x;

    /// <summary>Registers factors that are drawn as a fresh linear layer is, U(−1/√n, 1/√n) with n the product of all sizes but the first.</summary>
    protected void RegisterDrawn(Generator generator, params ReadOnlySpan<(string Name, long[] Shape)> factors)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        foreach (var (name, shape) in factors)
        {
            RequireHeld(name, shape);
            var bound = 1 / Math.Sqrt(shape[1..].Aggregate(1L, static (product, size) => product * size));
            Register(name, empty(shape).uniform_(-bound, bound, generator), BaseLayer.Weight.device);
        }
    }

    /// <summary>Registers factors that begin at zero, so that the update begins as no change.</summary>
    protected void RegisterZero(params ReadOnlySpan<(string Name, long[] Shape)> factors)
    {
        using var scope = NewDisposeScope();
        foreach (var (name, shape) in factors)
        {
            RequireHeld(name, shape);
            Register(name, zeros(shape), BaseLayer.Weight.device);
        }
    }

    /// <summary>Refuses a factor of more numbers than the file has that tells its rank, before it is allocated.</summary>
    protected void RequireHeld(string name, long[] shape)
    {
        if (shape.Aggregate(1.0, static (product, size) => product * size) is var needed && needed > Layout.MostNumbers)
        {
            Dispose(); // Nobody else has the factors so far.
            throw new InvalidDataException(
                $"'{Path}.{name}' needs {needed:N0} numbers at rank {Rank}, {Shapes.Text(shape)}, and its file has only {Layout.MostNumbers:N0}: "
                + "expected weights that belong together; was it trained for another model?");
        }
    }

    /// <summary>Tucker's product: K[p, q, …] = Σᵢⱼ C[i, j, …]·P[i, p]·Q[j, q], the core C being [r, r, kh, kw].</summary>
    protected static Tensor Tucker(Tensor C, Tensor P, Tensor Q) => einsum("ijkl,ip,jq->pqkl", C, P, Q).contiguous();
}
