namespace LoraNotebooks.Foundation;

/// <summary>What is to be done when a stretch of code ends, mostly putting something back.</summary>
/// <param name="action">What.</param>
internal sealed class OnDispose(Action action) : IDisposable
{
    public void Dispose() => action();
}
