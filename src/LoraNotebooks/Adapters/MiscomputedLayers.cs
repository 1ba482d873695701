using LoraNotebooks.Tensors;
using LoraNotebooks.Tensors.Convolutions;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace LoraNotebooks.Adapters;

/// <summary>
/// Layers of a model of someone else's that libtorch computes wrong on this processor. An adapter's own part is right beside them; the layers
/// themselves run where nothing can be put in their place, so the user is told.
/// </summary>
internal static class MiscomputedLayers
{
    /// <summary>One line that names the layers and the remedy; <see langword="null"/> if there are none.</summary>
    /// <param name="modules">The model's modules by path.</param>
    public static string? Message(IReadOnlyDictionary<string, nn.Module> modules)
    {
        string[] wrong = [.. modules.Where(static pair => pair.Value is Conv2d layer && IsWrong(layer)).Select(static pair => pair.Key)];
        if (wrong.Length == 0)
        {
            return null;
        }

        return $"libtorch computes {Listing.Count(wrong.Length, "convolution")} of this model wrong on this processor: {Listing.Inline(wrong)}. "
            + "Adapters are right beside them, the model's own part is not: "
            + $"start the process with {NativeSettings.InstructionVariable}=SSE41, or set that variable in the first cell, before any tensor is made.";
    }

    private static bool IsWrong(Conv2d layer)
    {
        var weight = layer.weight!;
        return CheckedConvolution.IsWrongNatively(
            layer.in_channels, layer.out_channels, (weight.size(2), weight.size(3)), Conv2dLayer.GeometryOf(layer), weight.dtype);
    }
}
