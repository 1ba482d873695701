namespace LoraNotebooks.Diffusion;

/// <summary>A generation came to numbers that are not finite, of which no picture can be made.</summary>
/// <param name="message">Where it happened and what to do.</param>
public sealed class NotFiniteException(string message) : InvalidOperationException(message);
