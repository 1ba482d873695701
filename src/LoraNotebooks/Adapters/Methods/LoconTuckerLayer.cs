using LoraNotebooks.Tensors;
using static TorchSharp.torch;

namespace LoraNotebooks.Adapters.Methods;

/// <summary>
/// LoRA of a convolution whose kernel is in a core of its own: ΔW[o, i, …] = s·Σ B[o, p]·C[p, q, …]·A[q, i],
/// with A and B 1×1 and C of shape [r, r, kh, kw]; LyCORIS' LoCon with use_tucker (formerly use_cp).
/// </summary>
/// <remarks>Source: KohakuBlueleaf/LyCORIS, modules/locon.py.</remarks>
internal sealed class LoconTuckerLayer : LowRankLayer
{
    public LoconTuckerLayer(WeightLayer baseLayer, LayerLayout layout, Generator generator)
        : base(baseLayer, layout)
    {
        var (shape, r) = (baseLayer.Weight.shape, (long)Rank);
        RegisterDrawn(generator, ("lora_A.weight", [r, shape[1], 1, 1]), ("lora_mid.weight", [r, r, .. shape[2..]]));
        RegisterZero(("lora_B.weight", [shape[0], r, 1, 1]));
    }

    /// <summary>ΔW = s·B·C·A.</summary>
    public override Tensor WeightDelta()
    {
        using var scope = NewDisposeScope();
        var (A, B, C) = (Parameters["lora_A.weight"].flatten(1), Parameters["lora_B.weight"].flatten(1), Parameters["lora_mid.weight"]);
        return Tucker(C, B.t(), A).Times(Scale).MoveToOuterDisposeScope();
    }
}
