namespace LoraNotebooks.Tests.Tensors;

/// <summary>Threads that do nothing but collect garbage, until they are disposed of.</summary>
internal sealed class Collectors : IDisposable
{
    private readonly Thread[] threads;
    private volatile bool isOver;

    public Collectors(int count)
    {
        threads = [.. Enumerable.Range(0, count).Select(_ => new Thread(Collect) { IsBackground = true })];
        foreach (var thread in threads)
        {
            thread.Start();
        }
    }

    public void Dispose()
    {
        isOver = true;
        foreach (var thread in threads)
        {
            thread.Join();
        }
    }

    private void Collect()
    {
        while (!isOver)
        {
            GC.Collect(0); // the scalars in question are young
        }
    }
}
