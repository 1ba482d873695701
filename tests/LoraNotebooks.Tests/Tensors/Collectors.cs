namespace LoraNotebooks.Tests.Tensors;

/// <summary>Threads that do nothing but collect garbage, until they are disposed of.</summary>
internal sealed class Collectors : IDisposable
{
    private readonly Thread[] _threads;
    private volatile bool _isOver;

    public Collectors(int count)
    {
        _threads = [.. Enumerable.Range(0, count).Select(_ => new Thread(Collect) { IsBackground = true })];
        foreach (var thread in _threads)
        {
            thread.Start();
        }
    }

    public void Dispose()
    {
        _isOver = true;
        foreach (var thread in _threads)
        {
            thread.Join();
        }
    }

    private void Collect()
    {
        while (!_isOver)
        {
            GC.Collect(0); // the scalars in question are young
        }
    }
}
