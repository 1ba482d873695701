namespace LoraNotebooks.Hub;

/// <summary>Waits for a server no longer than <see cref="Longest"/>, and not when the caller cancels.</summary>
internal sealed class Silence : IDisposable
{
    /// <summary>The longest silence of a server, before or within an answer.</summary>
    public static readonly TimeSpan Longest = TimeSpan.FromSeconds(30);

    private readonly CancellationTokenSource _tooLong;
    private readonly CancellationTokenSource _either;

    public Silence(TimeProvider time, CancellationToken cancellation)
    {
        _tooLong = new CancellationTokenSource(Longest, time);
        _either = CancellationTokenSource.CreateLinkedTokenSource(_tooLong.Token, cancellation);
    }

    public CancellationToken Token => _either.Token;

    public void Dispose()
    {
        _either.Dispose();
        _tooLong.Dispose();
    }
}
