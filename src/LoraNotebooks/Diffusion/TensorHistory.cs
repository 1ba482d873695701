using LoraNotebooks.Tensors;
using static TorchSharp.torch;

namespace LoraNotebooks.Diffusion;

/// <summary>The last few tensors of a run that a sampler builds on. They outlive the step's scope, so they are copies that belong to the sampler.</summary>
/// <param name="capacity">How many are kept, 1 or more; the oldest is freed first.</param>
public sealed class TensorHistory(int capacity) : IDisposable
{
    private readonly Queue<Tensor> _tensors = new();

    /// <summary>How many there are.</summary>
    public int Count => _tensors.Count;

    /// <summary>The tensor that was added <paramref name="ago"/> additions before the last; it stays the history's, which frees it.</summary>
    /// <param name="ago">0 for the last one, up to <see cref="Count"/> − 1.</param>
    public Term this[int ago] => _tensors.ElementAt(_tensors.Count - 1 - ago);

    /// <summary>Keeps a copy.</summary>
    /// <param name="term">The tensor.</param>
    public void Add(Term term)
    {
        _tensors.Enqueue(term.Tensor.clone().DetachFromDisposeScope());
        if (_tensors.Count > capacity)
        {
            _tensors.Dequeue().Dispose();
        }
    }

    /// <summary>Frees all.</summary>
    public void Dispose()
    {
        while (_tensors.TryDequeue(out var tensor))
        {
            tensor.Dispose();
        }
    }
}
