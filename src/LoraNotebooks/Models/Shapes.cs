using static TorchSharp.torch;

namespace LoraNotebooks.Models;

/// <summary>Shapes in error messages.</summary>
internal static class Shapes
{
    /// <summary>A tensor's shape, e.g. [1, 4, 64, 64].</summary>
    public static string Text(Tensor tensor) => Text((IReadOnlyList<long>)tensor.shape);

    /// <summary>A shape, e.g. [1, 4, 64, 64].</summary>
    public static string Text(IReadOnlyList<long> shape) => $"[{string.Join(", ", shape)}]";
}
