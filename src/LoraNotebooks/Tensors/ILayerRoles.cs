namespace LoraNotebooks.Tensors;

/// <summary>What a model's layers are for, as far as adapters must know it and the layers' kinds do not tell.</summary>
public interface ILayerRoles
{
    /// <summary>
    /// The path of the layer from hidden states to answers, such as logits over a vocabulary, or <see langword="null"/> if there is none.
    /// "Every linear layer" leaves it out.
    /// </summary>
    string? OutputHead { get; }

    /// <summary>The row of an embedding's table that stands for padding and takes no gradient, or <see langword="null"/> if it has none.</summary>
    /// <param name="path">The embedding's path.</param>
    long? PaddingRow(string path);
}
