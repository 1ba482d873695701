namespace LoraNotebooks.Foundation;

/// <summary>Shapes of tensors for people.</summary>
public static class Shapes
{
    /// <summary>A shape as PyTorch writes it: <c>[1, 4, 64, 64]</c>.</summary>
    /// <param name="shape">The sizes.</param>
    public static string Text(IReadOnlyList<long> shape) => $"[{string.Join(", ", shape)}]";
}
