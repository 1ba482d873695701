namespace LoraNotebooks.Tensors;

/// <summary>A model that ends in a layer from hidden states to answers, such as the logits of a vocabulary. What acts on "every linear layer" leaves that one out.</summary>
public interface IHasOutputHead
{
    /// <summary>The head's path in the model, or <see langword="null"/> if it has no layer of its own for that.</summary>
    string? OutputHead { get; }
}
