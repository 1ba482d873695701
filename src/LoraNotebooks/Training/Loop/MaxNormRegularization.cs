using LoraNotebooks.Adapters;
using static TorchSharp.torch;

namespace LoraNotebooks.Training.Loop;

/// <summary>
/// Keeps each layer's ΔW small: where ‖ΔW‖ is above a bound m, A and B are both multiplied by √(m/‖ΔW‖), so that their product has the norm m
/// (Srivastava et al. 2014, "Dropout", bound each unit's weights so). Layers learn at different speeds; bounded ones add up better with other LoRAs.
/// </summary>
/// <remarks>Source: kohya-ss/sd-scripts, networks/lora.py, <c>apply_max_norm_regularization</c>.</remarks>
public static class MaxNormRegularization
{
    /// <summary>Bounds some layers, in place.</summary>
    /// <param name="layers">The layers of an adapter; those are bounded whose method can, see <see cref="LowRankLayer.ScaleUpdate"/>.</param>
    /// <param name="maxNorm">m, of the Frobenius norm at weight 1, that is with α/r.</param>
    /// <returns>The number of layers that were scaled down.</returns>
    public static int Apply(IEnumerable<AdapterLayer> layers, double maxNorm)
    {
        ArgumentNullException.ThrowIfNull(layers);
        using var noGradient = no_grad();
        var scaled = 0;
        foreach (var layer in layers.OfType<LowRankLayer>())
        {
            using var scope = NewDisposeScope();
            var norm = layer.WeightDelta().norm().item<float>();
            if (norm > maxNorm && layer.ScaleUpdate(maxNorm / norm))
            {
                scaled++;
            }
        }

        return scaled;
    }
}
